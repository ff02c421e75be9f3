"""Mapping: a trained model over a whole region, window by window, into polygons on the ground.

Each window is read, judged and forgotten (`rtslib.mapping.judging`); what stays are its detections, as cropped masks in
scene pixels, on disk by blocks of windows (`rtslib.mapping.shards`). After the last block they are joined across seams
(`rtslib.mapping.seams`), outlined and measured (`rtslib.mapping.polygons`). A map's folder then holds

    detections.gpkg, detections.parquet   the slumps (`rtslib.mapping.polygons.write_polygons`)
    review.gpkg                           the same, ranked for a reviewer (`rtslib.mapping.review`)
    candidates.gpkg                       what is less sure too, from `Options.keep` on, to measure average precision by
    totals.json                           count and area with their uncertainty (`rtslib.mapping.totals`, `.ground`)
    probability.tif                       if asked for (`rtslib.mapping.probability`)
    manifest.json                         what made it: plan, model, versions, what happened, hashes

A map that was stopped leaves `plan.json` and `shards/`, with which it goes on; both are gone when it is finished.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rtslib.config import Config
from rtslib.data.inputs import differences
from rtslib.data.rasters import Stack
from rtslib.errors import DataError, OutputError
from rtslib.files import read_json, sha256, write_json
from rtslib.mapping import seams
from rtslib.mapping.ground import ground_totals, in_m2
from rtslib.mapping.judging import run_blocks
from rtslib.mapping.plan import Options, Plan, fingerprint, plan
from rtslib.mapping.polygons import MAP_FILE, to_polygons, write_geopackage, write_polygons
from rtslib.mapping.probability import PROBABILITY_FILE, write_probability
from rtslib.mapping.review import REVIEW, write_review
from rtslib.mapping.shards import finished, read_shard
from rtslib.mapping.spreading import Spread
from rtslib.mapping.totals import TOTALS, totals
from rtslib.models.model import Model
from rtslib.provenance import commit, hardware, versions

PLAN_FILE, SHARDS, MANIFEST, CANDIDATES = "plan.json", "shards", "manifest.json", "candidates.gpkg"

#: Called with (windows done, windows in all) after each block.
Progress = Callable[[int, int], None]

#: What is made of a map: an earlier one's would contradict the new one beside it.
REVIEWED, ARTS = "reviewed.gpkg", "arts.gpkg"
MADE_OF_MAP = (REVIEWED, ARTS, "map.html", "map.png", PROBABILITY_FILE)
#: Said in `totals.json` where the ledger is a run's own.
WHY_NO_AREA = (
    "known only by a ledger of a mapped ground (evaluate --map --ledger, then map --ledger): that of a run is of chips,"
    " whose slumps are smaller than the chips"
)


def map_region(
    model: Model | Spread, config: Config, region: Stack, out: str | Path, *, options: Options = Options(),
    area: shapely.Geometry | None = None, provenance: Mapping[str, str] | None = None, overwrite: bool = False,
    resume: bool = False, progress: Progress | None = None, ledger: pd.DataFrame | None = None,
) -> gpd.GeoDataFrame:  # fmt: skip
    """Map the slumps of a region and write the folder `out`, each file whole or not at all.

    Args:
        model: a detector in evaluation mode, which runs on the device of its parameters; or a
            `rtslib.mapping.spreading.Spread`, which does the blocks in other processes.
        config: the model's config; `config.modalities` says which bands are read. That of a run, but for `tta`, which
            is set if the model is turned (`rtslib.models.tta`) though the run is not.
        region: rasters on one grid (`rtslib.data.region.open_region`, `rtslib.data.rasters.open_stack`).
        out: folder of the map.
        options: window, overlap, score and so on.
        area: area of interest in the region's CRS.
        provenance: `run_id`, `model_sha256`, `image_date`, as far as known.
        overwrite: replace a map that is there; decisions of its reviewer are kept.
        resume: go on with a map that was stopped.
        progress: see `Progress`.
        ledger: what the model finds and misses on known ground, calibrated: of the run's validation side
            (`rtslib.training.evidence`) or, better, of a map (`rtslib.mapping.ground.map_ledger`); with it the totals
            are those of the ground, not of the map alone.

    Returns:
        What was written, as `rtslib.mapping.polygons.to_polygons` has it; `frame.attrs["counts"]` says how many windows
        there were, how many were skipped, how many pieces were joined and how many duplicates dropped.

    Raises:
        ConfigError: a band that the region lacks. MissingModalityError: the model needs a modality that it lacks.
        DataError: a raster is broken, no window has a valid pixel, or the area of interest lies elsewhere.
        WeightsError: the model gives scores that are not finite.
        OutputError: a map is there, it cannot be resumed, or the folder cannot be written.
    """
    out, provenance, start = Path(out), dict(provenance or {}), time.monotonic()
    todo = plan(config, region, options, area)
    model_is = {k: v for k, v in provenance.items() if k != "image_date"}
    mark = fingerprint(todo, {**model_is, "config_sha256": config.digest, "tta": config.tta})
    shards = _claim(out, mark, overwrite, resume)
    try:
        markers, new = _done(model, todo, shards, progress)
    except Exception:
        if all(finished(shards, block.index) is None for block in todo.blocks):
            _discard(out)  # nothing to go on with
        raise
    skipped = sum(m["skipped"] for m in markers)
    if skipped == todo.windows:
        _discard(out)
        raise DataError(", ".join(map(str, region.files)), "no valid pixel in any window", "rasters with data there")
    pieces = [piece for block in todo.blocks for piece in read_shard(shards, block.index)]
    slumps, duplicates = seams.merge(pieces)
    every = to_polygons(slumps, todo, provenance)
    frame = every[every["score"] >= options.score]
    counts = {"windows": todo.windows, "skipped": skipped, "pieces": len(pieces), "duplicates": duplicates,
              "blocks": len(markers), "blocks_resumed": len(markers) - len(new)}  # fmt: skip
    seconds = {"wall": time.monotonic() - start, "model": sum(m["model_seconds"] for m in new)}
    said = {"plan": mark, "counts": counts, "seconds": seconds}
    _write(frame, every, todo, shards, out, said, _totals(frame, todo, ledger))
    _discard(out)
    frame.attrs["counts"] = counts
    return frame


def _done(
    model: Model | Spread, todo: Plan, shards: Path, progress: Progress | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Do the blocks that are not on disk; returns the markers of all blocks, and of those done now."""
    there = {b.index: m for b in todo.blocks if (m := finished(shards, b.index)) is not None}
    new: list[dict[str, Any]] = []

    def note(marker: dict[str, Any]) -> None:
        new.append(marker)
        if progress is not None:
            progress(sum(m["windows"] for m in (*there.values(), *new)), todo.windows)

    run = model if isinstance(model, Spread) else partial(run_blocks, model)
    run(todo, [b for b in todo.blocks if b.index not in there], shards, note)
    return [*there.values(), *new], new


def _claim(out: Path, mark: dict[str, Any], overwrite: bool, resume: bool) -> Path:
    """Make the folder ready, or refuse it; returns the folder of the shards."""
    started, result, shards = out / PLAN_FILE, out / MAP_FILE, out / SHARDS
    if resume and overwrite:
        raise OutputError(f"{out}: resume goes on with a map, overwrite begins anew: choose one")
    if started.exists() and resume:
        changed = differences(read_json(started), mark)
        if changed:
            raise OutputError(
                f"{out} cannot be resumed, as {', '.join(changed)} changed since it was started: map with what it was "
                "started with, or overwrite it (--overwrite)"
            )
    elif started.exists() and not overwrite:
        raise OutputError(f"{out} holds a map that was stopped: resume it (--resume), or overwrite it (--overwrite)")
    elif result.exists() and not overwrite:
        raise OutputError(f"{result} exists: choose another folder, or overwrite it (--overwrite)")
    if not (resume and started.exists()) and out.is_dir():
        _discard(out)  # shards without a plan mean nothing
    write_json(started, mark)
    try:
        shards.mkdir(exist_ok=True)
    except OSError as e:
        raise OutputError(f"cannot write {shards}: {e.strerror}: choose a writable place with room") from e
    return shards


def _discard(out: Path) -> None:
    """Remove what a stopped map left, the plan last."""
    shutil.rmtree(out / SHARDS, ignore_errors=True)
    (out / PLAN_FILE).unlink(missing_ok=True)


def _totals(frame: gpd.GeoDataFrame, todo: Plan, ledger: pd.DataFrame | None) -> dict[str, Any]:
    """Return the totals of the map and, with a ledger, of its ground."""
    scores, areas = frame["score"].to_numpy(), frame["area_m2"].to_numpy()
    found: dict[str, Any] = totals(scores, areas)
    if ledger is None:
        return found
    of_chips = "area_m2" not in ledger
    if of_chips:  # a pixel's area on the ground, as that of the polygons is
        pixel = float(np.median(areas / frame.area)) if len(frame) else 1.0
        ledger = in_m2(ledger, pixel * abs(todo.region.transform.a * todo.region.transform.e))
    found |= ground_totals(scores, areas, ledger, todo.options.score)
    if of_chips:  # its areas do not carry over (results/corrections.md)
        found |= {k: None for k in (*(k for k in found if k.startswith("ground_area")), "area_ratio")}
        found["ground_area_unknown"] = WHY_NO_AREA
    return found


def _write(
    frame: gpd.GeoDataFrame, every: gpd.GeoDataFrame, todo: Plan, shards: Path, out: Path, said: dict[str, Any],
    counted: dict[str, Any],
) -> None:  # fmt: skip
    """Write all results but the shards, the manifest last."""
    write_review(frame, out / REVIEW)  # first, as it refuses where a reviewer has it open
    for name in MADE_OF_MAP:
        (out / name).unlink(missing_ok=True)
    files = [*write_polygons(frame, out), CANDIDATES, TOTALS]
    write_geopackage(every, out / CANDIDATES)
    write_json(out / TOTALS, counted)
    if todo.options.probability:
        write_probability(todo, shards, out / PROBABILITY_FILE)
        files.append(PROBABILITY_FILE)
    hashes = {name: sha256(out / name) for name in files}
    write_json(out / MANIFEST, {**commit(), **said, "versions": versions(), "hardware": hardware(), "outputs": hashes})
