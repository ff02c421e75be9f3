"""Benchmarks of mapping: memory against area, how busy the model is, speed-up with workers, quality of a large map.

`python -m rtslib benchmark maps RUN SCENE OUT` writes `OUT/tables/memory.csv`, `workers.csv` and `evaluation.csv`.
SCENE is a large scene with `truth.gpkg`; maps of its upper left quarter and sixteenth are measured beside that of the
whole, which is then judged. Each measurement is a process of its own, so that its peak memory is its own.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import rasterio
from rasterio.windows import Window

from rtslib.benchmarks.processes import apart
from rtslib.data.scenes import open_scene
from rtslib.errors import DataError, RtsError
from rtslib.evaluation.maps import as_rows, as_text, evaluate_map, read_map
from rtslib.files import read_json, save_table
from rtslib.mapping.maps import CANDIDATES, MANIFEST, map_region
from rtslib.mapping.plan import Options
from rtslib.mapping.spreading import FromRun, Spread
from rtslib.study.manifest import say_how
from rtslib.study.redraw import draw_all
from rtslib.training.evidence import shown_from
from rtslib.training.memory import peak_mib
from rtslib.training.runs import Run

#: Of memory and quality: windows that hold a large slump whole, and as many pixels a batch as by default.
WIDE = Options(window=512, overlap=128, batch_size=1, block=2)
#: Of workers: half of both sides, with many blocks to share out, as a region has; the start of workers counts.
SHARED = Options(block=2)


def crop_scene(scene: str | Path, part: int, out: str | Path) -> Path:
    """Write the upper left 1 / part of both sides of a scene's rasters, strip by strip.

    Args:
        scene: folder of GeoTIFFs on one grid.
        part: 1 or more.
        out: folder to make.

    Raises:
        DataError: as `rtslib.data.scenes.open_scene`.
    """
    out = Path(out)
    out.mkdir(parents=True)
    for path in map(Path, open_scene(scene).stack.files):
        with rasterio.open(path) as source:
            height, width = source.height // part, source.width // part
            profile = {**source.profile, "height": height, "width": width}
            with rasterio.open(out / path.name, "w", **profile) as target:
                for row in range(0, height, 256):
                    strip = Window(0, row, width, min(256, height - row))
                    target.write(source.read(window=strip), window=strip)
                for name in ("descriptions", "units", "scales", "offsets"):
                    setattr(target, name, getattr(source, name))
    return out


def measure_map(
    run: str | Path, scene: str | Path, out: str | Path, options: Options = WIDE, workers: int = 0
) -> dict[str, float]:
    """Map a scene in a process of its own.

    Args:
        run: folder of a finished run.
        scene: folder of GeoTIFFs.
        out: folder of the map.
        options: of the map.
        workers: processes with one thread each; 0: in that process, with all cores.

    Returns:
        `seconds` of the map alone, a cluster's start included; `model_share` of them (0-1; of all workers together);
        `peak_mib` of the process; `windows`; `slumps`.

    Raises:
        RtsError: the process failed; says how.
    """
    given = {"run": str(run), "scene": str(scene), "out": str(out), "workers": workers, "options": asdict(options)}
    try:
        return apart("rtslib.benchmarks.maps:map_once", given)
    except RtsError as e:
        raise RtsError(f"mapping {scene} to measure it failed: {e}") from None


def map_once(given: dict[str, Any]) -> None:
    """Map once in this process and print what `measure_map` returns as JSON; `given` holds its arguments."""
    run, out, workers = Run(Path(given["run"]).resolve()), Path(given["out"]), given["workers"]
    load = FromRun(str(run), run.digest)
    model = Spread(load, workers, threads=1) if workers else load()
    start = time.monotonic()
    found = map_region(model, run.config, open_scene(given["scene"]).stack, out, options=Options(**given["options"]))
    seconds = time.monotonic() - start
    spent = read_json(out / MANIFEST)["seconds"]
    said = {"seconds": seconds, "model_share": spent["model"] / spent["wall"], "peak_mib": peak_mib(),
            "windows": found.attrs["counts"]["windows"], "slumps": len(found)}  # fmt: skip
    print(json.dumps(said))


def memory_table(
    run: str | Path, scene: str | Path, out: str | Path, parts: Sequence[int] = (4, 2, 1), options: Options = WIDE
) -> pd.DataFrame:
    """Measure maps of parts of a scene, the smallest first.

    Args:
        run, scene, options: as for `measure_map`.
        out: folder for the maps, by the part's number.
        parts: see `crop_scene`.

    Returns:
        Columns side (px), area (times the first one's), those of `measure_map`, and growth (of the peak over the
        first one's).

    Raises:
        DataError, RtsError: as `crop_scene` and `measure_map`.
    """
    rows = []
    for part in parts:
        with TemporaryDirectory() as folder:
            place = crop_scene(scene, part, Path(folder) / "scene")
            side = open_scene(place).stack.width
            rows.append({"side": side, **measure_map(run, place, Path(out) / str(part), options)})
    table = pd.DataFrame(rows)
    table.insert(1, "area", (table["side"] / table["side"].iloc[0]) ** 2)
    return table.assign(growth=table["peak_mib"] / table["peak_mib"].iloc[0] - 1)


def worker_table(
    run: str | Path, scene: str | Path, part: int = 2, counts: Sequence[int] = (1, 2), options: Options = SHARED
) -> pd.DataFrame:
    """Measure maps of a part of a scene with workers of one thread.

    Args:
        run, scene, options: as for `measure_map`.
        part: see `crop_scene`.
        counts: of workers.

    Returns:
        Columns workers, windows, seconds, and speed_up over the first.

    Raises:
        DataError, RtsError: as `crop_scene` and `measure_map`.
    """
    with TemporaryDirectory() as folder:
        place = crop_scene(scene, part, Path(folder) / "scene")
        rows = [{"workers": n, **measure_map(run, place, Path(folder) / str(n), options, n)} for n in counts]
    table = pd.DataFrame(rows)[["workers", "windows", "seconds"]]
    return table.assign(speed_up=table["seconds"].iloc[0] / table["seconds"])


def measure_all(run: str | Path, scene: str | Path, out: str | Path) -> None:
    """Measure, judge, and write tables, charts and manifest.

    Raises:
        DataError: the scene's slumps are not known; or as the functions above.
        RtsError: as those.
    """
    tables, truth = Path(out) / "tables", open_scene(scene).truth
    if truth is None:
        raise DataError(scene, "no truth.gpkg", "known slumps to judge the map by")
    with TemporaryDirectory() as maps:
        print(save_table(memory_table(run, scene, maps), tables / "memory.csv").to_string(), flush=True)
        judged = evaluate_map(read_map(Path(maps) / "1" / CANDIDATES), truth, least=shown_from(Run(Path(run)))[0])
    print(as_text(judged), flush=True)
    save_table(as_rows(judged), tables / "evaluation.csv")
    print(save_table(worker_table(run, scene), tables / "workers.csv").to_string())
    draw_all(out)
    say_how(out, Run(Path(run)))
