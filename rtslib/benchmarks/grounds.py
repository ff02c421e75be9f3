"""Benchmarks on new grounds: what one map cannot tell, many do.

Each *ground* is a piece of the embedded landscape that nothing was trained on (`rtslib.synthetic.scene`), a site of
its own. `python -m rtslib benchmark grounds RUN OUT` maps some and writes `OUT/tables/windows.csv` (size of a window
against time and average precision), `swallow.csv` (how sure a blob must be to take in what lies inside it) and
`totals.csv` (whether the truth lies in the intervals of `totals.json`, on at least 20 grounds).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from rtslib.data.ground import measure
from rtslib.data.scenes import Scene, open_scene
from rtslib.evaluation.maps import as_rows, evaluate_map, read_map
from rtslib.files import read_json, save_table
from rtslib.mapping import seams
from rtslib.mapping.ground import ground_totals, in_m2, map_ledger
from rtslib.mapping.judging import run_blocks
from rtslib.mapping.maps import CANDIDATES, MANIFEST, TOTALS, map_region
from rtslib.mapping.plan import Options, plan
from rtslib.mapping.polygons import to_polygons
from rtslib.mapping.shards import read_shard
from rtslib.models.model import Model
from rtslib.study.manifest import say_how
from rtslib.study.redraw import draw_all
from rtslib.synthetic.scene import write_scene
from rtslib.synthetic.terrain import PIXEL_M
from rtslib.training.evidence import calibrated_ledger, shown_from
from rtslib.training.runs import Run
from rtslib.training.weights import load_onto_device

SIDE = 768  # of a ground, px
#: Seeds of the grounds of each question; none is used twice, and seed 0 is the scene of notebook 05.
WINDOW_GROUNDS, SWALLOW_GROUNDS, TOTALS_GROUNDS = range(100, 103), range(200, 206), range(300, 324)
KNOWN_GROUNDS = range(400, 406)  # whose maps give the ledger of `totals_table`
WINDOWS = (128, 192, 224, 256, 320, 384, 512)
SWALLOWS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.1)


@contextmanager
def ground(seed: int, side: int = SIDE) -> Iterator[Scene]:
    """Make a ground that is gone afterwards."""
    with TemporaryDirectory() as folder:
        yield open_scene(write_scene(Path(folder) / "scene", side, seed))


def window_table(
    run: Run, windows: Sequence[int] = WINDOWS, grounds: Sequence[int] = WINDOW_GROUNDS, side: int = SIDE
) -> pd.DataFrame:
    """Map grounds with windows of several sizes, each overlapping by a half.

    Returns:
        Columns window (px), ground (seed), windows (number), seconds (of the model), ap (at IoU 0.5, of all
        candidates).
    """
    model, rows = load_onto_device(run), []
    for seed in grounds:
        with ground(seed, side) as scene, TemporaryDirectory() as out:
            for window in windows:
                options = Options(window, window // 2, batch_size=max(1, 4 * 256**2 // window**2))
                found = map_region(model, run.config, scene.stack, out, options=options, overwrite=True)
                row = {"window": window, "ground": seed, "windows": found.attrs["counts"]["windows"]}
                seconds = read_json(Path(out) / MANIFEST)["seconds"]["model"]
                rows.append({**row, "seconds": seconds, "ap": _at_half(read_map(Path(out) / CANDIDATES), scene)["ap"]})
    return pd.DataFrame(rows)


def swallow_table(
    run: Run, shares: Sequence[float] = SWALLOWS, grounds: Sequence[int] = SWALLOW_GROUNDS, side: int = SIDE
) -> pd.DataFrame:
    """Join the pieces of grounds by several shares of `rtslib.mapping.seams.SWALLOW`.

    Returns:
        Columns swallow, ground (seed), ap (at IoU 0.5, of all candidates), f1, right, wrong (of what a map shows).
    """
    model, rows = load_onto_device(run), []
    least = shown_from(run)[0]
    for seed in grounds:
        with ground(seed, side) as scene:
            pieces, todo = _pieces(model, run, scene)
            for share in shares:
                slumps, _ = seams.merge(pieces, swallow=share)
                at = _at_half(to_polygons(slumps, todo, {}), scene, least)
                rows.append({"swallow": share, "ground": seed, **{k: at[k] for k in ("ap", "f1", "right", "wrong")}})
    return pd.DataFrame(rows)


def totals_table(
    run: Run, grounds: Sequence[int] = TOTALS_GROUNDS, known: Sequence[int] = KNOWN_GROUNDS, side: int = SIDE
) -> pd.DataFrame:
    """Map grounds and compare their totals with the truth, by the ledger of maps of known ground and by the run's own.

    Returns:
        Two rows a ground: ground (seed), ledger (map or chips), known_count, known_area_m2, count_inside and
        area_inside (whether the truth lies in the interval), and what `totals.json` says.
    """
    model, rows = load_onto_device(run), []
    options = replace(Options(), score=shown_from(run)[0], overlap=128)
    ledgers, own = {"map": _known(model, run, known, options, side)}, calibrated_ledger(run)
    if own is not None:
        ledgers["chips"] = in_m2(own, PIXEL_M**2)
    for seed in grounds:
        with ground(seed, side) as scene, TemporaryDirectory() as out:
            found = map_region(model, run.config, scene.stack, out, options=options)
            truth = len(scene.truth), float(measure(scene.truth)[0].sum())
            said, scores, areas = read_json(Path(out) / TOTALS), found["score"].to_numpy(), found["area_m2"].to_numpy()
            for name, ledger in ledgers.items():
                totals = {**said, **ground_totals(scores, areas, ledger, options.score)}
                rows.append({"ground": seed, "ledger": name, **_inside(totals, *truth), **totals})
    return pd.DataFrame(rows)


def _known(model: Model, run: Run, grounds: Sequence[int], options: Options, side: int) -> pd.DataFrame:
    """Map known grounds and return their ledgers as one."""
    parts = []
    for seed in grounds:
        with ground(seed, side) as scene, TemporaryDirectory() as out:
            map_region(model, run.config, scene.stack, out, options=options)
            rows = map_ledger(read_map(Path(out) / CANDIDATES), scene.truth)
            parts.append(rows.assign(group=str(seed), chip=str(seed) + " " + rows["chip"]))
    return pd.concat(parts, ignore_index=True)


def measure_grounds(run: str | Path, out: str | Path) -> None:
    """Write the three tables, charts and manifest, and say what they say.

    Raises:
        DataError, WeightsError: not a finished run.
    """
    tables, made = Path(out) / "tables", Run(Path(run))
    for name, make in (("swallow", swallow_table), ("windows", window_table), ("totals", totals_table)):
        start = time.monotonic()
        table = save_table(make(made), tables / f"{name}.csv")
        print(f"{name}, {time.monotonic() - start:.0f} s")
        keys = {"swallow": "swallow", "windows": "window"}
        shown = table if name in keys else table[["ledger", "count_inside", "area_inside"]]
        print(shown.groupby(keys.get(name, "ledger")).mean().to_string(), flush=True)
    draw_all(out)
    say_how(out, made)


def _pieces(model: Model, run: Run, scene: Scene) -> tuple[list[seams.Piece], Any]:
    """Judge a ground and return the pieces of its windows, before they are joined, and the plan."""
    todo = plan(run.config, scene.stack, Options(overlap=128))
    with TemporaryDirectory() as shards:
        run_blocks(model, todo, todo.blocks, shards, lambda marker: None)
        return [p for block in todo.blocks for p in read_shard(Path(shards), block.index)], todo


def _at_half(pred: Any, scene: Scene, least: float = 0.0) -> dict[str, Any]:
    return as_rows(evaluate_map(pred, scene.truth, ious=(0.5,), draws=2, least=least)).iloc[0].to_dict()


def _inside(said: dict[str, Any], count: int, area: float) -> dict[str, Any]:
    """Compare what a map says of its ground with the truth; False where it says nothing."""

    def holds(truth: float, low: float | None, high: float | None) -> bool:
        return low is not None and high is not None and low <= truth <= high

    return {
        "known_count": count, "known_area_m2": area,
        "count_inside": holds(count, said["ground_count_low"], said["ground_count_high"]),
        "area_inside": holds(area, said["ground_area_low"], said["ground_area_high"]),
    }  # fmt: skip
