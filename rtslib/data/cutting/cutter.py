"""Cutter: a request into a folder of chips, place by place, so that memory is that of one chip whatever the mosaic.

Each chip is written and noted in `rows.jsonl`, with which a stopped cut goes on; `request.json` says what was asked
for. Groups and tables come last, and only then is the folder a chip set. It then holds, beside its layout's files
(`folders`),

    chips.csv       each chip: id, group, middle (map units, degrees), CRS, bounds, date of its images, share of valid
                    pixels of each modality, slumps, how many of them are cut, m2 of slump; kind (`places`), first pixel
    instances.csv   each slump on each chip: number in the instances raster, row of the truth, px, m2, whether cut
    chips.gpkg      the chips' outlines, for QGIS
    manifest.json   what was asked for, what came of it, versions
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio.features
import shapely
from affine import Affine

from rtslib.bands import available_modalities
from rtslib.data.cutting.burning import burn
from rtslib.data.cutting.folders import INSTANCES, PIXELS, write_chip, write_tables
from rtslib.data.cutting.origins import Origin, find_origins, under
from rtslib.data.cutting.places import SLUMPS, Place, ground_boxes, lay_places
from rtslib.data.cutting.request import SOURCE, Request
from rtslib.data.cutting.sites import name_groups
from rtslib.data.ground import measure
from rtslib.data.inputs import differences
from rtslib.data.masks import MIN_PIXELS, encode
from rtslib.data.opening import STOPPED
from rtslib.errors import DataError, OutputError
from rtslib.files import read_json, whole, write_json
from rtslib.provenance import commit, versions

ASKED, ROWS, OUTLINES, MANIFEST = STOPPED, "rows.jsonl", "chips.gpkg", "manifest.json"
#: Why a place became no chip, and how that is said.
NO_DATA, TOO_SMALL, NO_COLOUR = "no_data", "only_small_pieces", "void_colour"
SAID = {
    NO_DATA: "without data", TOO_SMALL: f"with pieces of slumps under {MIN_PIXELS} px alone",
    NO_COLOUR: "that lack colour somewhere, for which this layout has no nodata",
}  # fmt: skip

#: Called with (places done, places in all) after each.
Progress = Callable[[int, int], None]


def cut_chips(request: Request, out: str | Path, resume: bool = False, progress: Progress | None = None) -> dict:
    """Cut a chip set.

    Args:
        request: what to cut.
        out: folder to make, new or empty; or one of a stopped cut, with `resume`.
        resume: go on with it; only for the same request.
        progress: see `Progress`.

    Returns:
        Counts: `chips`, `with_slumps`, `beside`, `away`, `slumps` (on chips), `cut`, `groups`, `off_chips` (slumps of
        the truth on no chip), and of places left out, `no_data`, `only_small_pieces`, `void_colour` (see `_cut_one`).

    Raises:
        ConfigError, DataError: as `Request.check`, `lay_places`; a raster cannot be read, or no place has data.
        OutputError: `out` holds something else, cannot be resumed, or cannot be written.
    """
    out = Path(out)
    request.check()
    places, origins, mark = lay_places(request), find_origins(request.region), request.mark()
    _claim(out, mark, resume)
    done = {row["chip"]: row for row in _read_rows(out / ROWS)}
    try:
        with open(out / ROWS, "a", encoding="utf-8") as file:
            tree = shapely.STRtree(request.truth.geometry.values)
            for count, place in enumerate(places, start=1):
                if place.name not in done:
                    row = done[place.name] = _cut_one(request, place, tree, origins, out)
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                if progress is not None:
                    progress(count, len(places))
    except Exception as e:
        if not done:
            _discard(out)  # nothing to go on with
        if isinstance(e, OSError):
            raise OutputError(f"cannot write {out / ROWS}: {e.strerror or e}: choose a place with room") from e
        raise
    rows = [row for place in places if "skipped" not in (row := done[place.name])]
    skipped = Counter(row["skipped"] for row in done.values() if "skipped" in row)
    if not rows:
        _discard(out)
        found = " and ".join(f"{n} places {SAID[reason]}" for reason, n in skipped.items())
        raise DataError(
            ", ".join(map(str, request.region.files)),
            f"no chip, but {found}",
            "data where slumps are, in smaller pixels",
        )
    counts = _finish(request, rows, out)
    counts |= skipped
    write_json(out / MANIFEST, {**commit(), "request": mark, "counts": counts, "versions": versions()})
    for name in (ROWS, ASKED):
        (out / name).unlink()
    return counts


def _cut_one(request: Request, place: Place, tree: shapely.STRtree, origins: list[Origin], out: Path) -> dict[str, Any]:
    """Read, burn and write one chip; returns its row.

    A place becomes no chip, and its row says why, if it has no data, if it meets slumps but shows only pieces too small
    for an instance, or, in the challenge's layout, where colour has no nodata, if some of its colour is void.
    """
    region, layout = request.region, request.options.layout
    (box,) = ground_boxes(request, np.array([(place.row, place.column)]))
    transform = region.transform @ Affine.translation(place.column, place.row)
    values = region.read(window=place.window)
    ground = box
    if request.area is not None and not request.area.covers(box):
        ground = request.area.intersection(box)
        values[:, rasterio.features.geometry_mask([request.area], values.shape[1:], transform)] = np.nan
    known = ~np.isnan(values)
    valid = known.any(axis=0)
    slumps = sorted(tree.query(ground, predicate="intersects").tolist())
    labels, found = burn(slumps, [tree.geometries[k] for k in slumps], transform, ground, valid)
    row: dict[str, Any] = {"chip": place.name}
    if not valid.any():
        return row | {"skipped": NO_DATA}
    if place.kind == SLUMPS and not found:
        return row | {"skipped": TOO_SMALL}
    colour = [b in ("red", "green", "blue") for b in region.bands]
    if layout == "challenge" and not known[colour].all():
        return row | {"skipped": NO_COLOUR}
    here = under(origins, box.centroid.x, box.centroid.y)
    date = ",".join(sorted({o.date for o in here if o.date}))
    write_chip(out, layout, place.name, region.bands, values, labels, (region.crs, transform), date)
    rles = [encode(labels == b.number) for b in found] if layout == "challenge" else []
    cover = {m: float(known[[region.bands.index(b) for b in bands]].all(axis=0).mean())
             for m, bands in available_modalities(region.bands).items()}  # fmt: skip
    return row | {
        "row": place.row, "column": place.column, "kind": place.kind,
        "square": list(place.square), "origin": here[0].name if here else "", "date": date, "cover": cover,
        "found": [[b.number, b.slump, b.pixels, b.cut] for b in found], "rles": rles,
    }  # fmt: skip


def _finish(request: Request, rows: list[dict[str, Any]], out: Path) -> dict[str, int]:
    """Group the chips and write all tables; returns the counts."""
    options, corners = request.options, np.array([(r["row"], r["column"]) for r in rows])
    boxes = ground_boxes(request, corners)
    frame = gpd.GeoDataFrame(geometry=boxes, crs=request.region.crs)
    pixel_m2 = measure(frame)[0] / options.size**2
    slumps = [[slump for _, slump, _, _ in r["found"]] for r in rows]
    squares = options.field is None and options.group_by != SOURCE
    ends = np.column_stack([corners, corners + options.size])
    groups = name_groups(ends, _sites(request, rows, boxes), slumps, kept_whole=not squares)
    pixels = np.array([sum(f[2] for f in r["found"]) for r in rows])
    middle = shapely.centroid(boxes)
    degrees = gpd.GeoSeries(middle, crs=request.region.crs).to_crs("EPSG:4326")
    bounds = dict(zip(("left", "bottom", "right", "top"), shapely.bounds(boxes).T))
    table = pd.DataFrame({
        "chip": [r["chip"] for r in rows], "group": groups, "crs": request.region.crs.to_string(),
        "x": shapely.get_x(middle), "y": shapely.get_y(middle), "lon": degrees.x, "lat": degrees.y, **bounds,
        "size": options.size, "row": corners[:, 0], "column": corners[:, 1], "kind": [r["kind"] for r in rows],
        "date": [r["date"] for r in rows], **{f"cover_{m}": [r["cover"][m] for r in rows] for m in rows[0]["cover"]},
        "slumps": [len(s) for s in slumps], "cut": [sum(f[3] for f in r["found"]) for r in rows],
        "m2": (pixels * pixel_m2).round(1),
    })  # fmt: skip
    instances = pd.DataFrame(
        [(r["chip"], n, slump, px, round(px * m2, 1), cut)
         for r, m2 in zip(rows, pixel_m2) for n, slump, px, cut in r["found"]],
        columns=["chip", "instance", "slump", "pixels", "m2", "cut"],
    )  # fmt: skip
    with whole(out / OUTLINES) as part:
        frame.assign(**table[["chip", "group", "kind", "date", "slumps", "cut", "m2"]]).to_file(
            part, layer="chips", driver="GPKG"
        )
    write_tables(out, options.layout, table, instances, {r["chip"]: r["rles"] for r in rows})
    kinds = Counter(table["kind"])
    return {"chips": len(rows), "with_slumps": kinds[SLUMPS], "beside": kinds["beside"], "away": kinds["away"],
            "slumps": len(instances), "cut": int(instances["cut"].sum()), "groups": len(set(groups)),
            "off_chips": len(request.truth) - instances["slump"].nunique()}  # fmt: skip


def _sites(request: Request, rows: list[dict[str, Any]], boxes: np.ndarray) -> list[list[str]]:
    """Return the names of the sites that each chip lies in, as `Request.options.group_by` has them."""
    if request.options.group_by == SOURCE:
        return [[row["origin"] or SOURCE] for row in rows]
    if request.options.field is None:
        return [["square-{:03d}-{:03d}".format(*row["square"])] for row in rows]
    values = request.truth[request.options.field].astype(str)
    nearest = shapely.STRtree(request.truth.geometry.values).nearest(boxes)
    return [sorted({values[f[1]] for f in row["found"]} or {values[k]}) for row, k in zip(rows, nearest)]


def _claim(out: Path, mark: dict[str, Any], resume: bool) -> None:
    """Make the folder ready, or refuse it."""
    asked = out / ASKED
    if asked.exists() and not resume:
        raise OutputError(
            f"{out} holds chips whose cutting was stopped: resume it (--resume), or choose another folder"
        )
    if asked.exists():
        if changed := differences(read_json(asked), mark):
            raise OutputError(f"{out} cannot be resumed, as {', '.join(changed)} changed since it was started: cut "
                              "with what it was started with, or choose another folder")  # fmt: skip
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already: choose a new or empty folder")
    write_json(asked, mark)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Return what is noted of the chips that are done, without a line that was being written; it is cut off."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n")]
    path.write_text("".join(kept), encoding="utf-8")
    return [json.loads(line) for line in kept]


def _discard(out: Path) -> None:
    """Remove what a cut left that came to nothing."""
    for name in (PIXELS, INSTANCES, "train"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (ROWS, ASKED):
        (out / name).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()
