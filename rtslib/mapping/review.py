"""Review: a queue in which a person says of each mapped slump whether it is one.

`review.gpkg` holds the detections, the most uncertain (score nearest to 0.5) first, in the layer `review`:

    rank               from 1, the order to look at them
    id, score, area_m2 as in the map
    accepted           true, false, or NULL for undecided; a GeoPackage BOOLEAN, which QGIS edits as such
    comment, reviewer  text, free

Deleting a row decides nothing: it is back the next time. A map made anew keeps what was typed: a new detection takes
it over from the old one that it overlaps best, at IoU 0.5 or more, one to one; what finds no detection stays in the
layer `orphaned`, and so does a slump that the reviewer drew (it has no `id`). Outlines are those of the new map.

Source of the ranking: Lewis and Gale 1994, "A sequential algorithm for training text classifiers" (uncertainty
sampling); of the interval: Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
"""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.stats import binomtest

from rtslib.data.projecting import project
from rtslib.data.vectors import read_polygons
from rtslib.errors import DataError, OutputError
from rtslib.evaluation.polygons import overlap
from rtslib.files import whole
from rtslib.mapping.styles import add_style

#: The file in a map's folder, its layers, and the least IoU at which a decision passes from one outline to another.
REVIEW = "review.gpkg"
REVIEW_LAYER, ORPHANED_LAYER, SAME_IOU = "review", "orphaned", 0.5
OF_MAP, OF_REVIEWER = ("id", "score", "area_m2"), ("accepted", "comment", "reviewer")
#: How a table program may have stored `accepted`.
_ANSWERS = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False,
            "": None, "nan": None, "none": None, "<na>": None}  # fmt: skip


def write_review(
    detections: gpd.GeoDataFrame, path: str | Path, previous: str | Path | None = None
) -> gpd.GeoDataFrame:
    """Write the queue, whole or not at all, and keep decisions of an earlier one.

    Args:
        detections: polygons with `id`, `score` (0-1) and `area_m2`, as from `rtslib.mapping.polygons.to_polygons`.
        path: of the GeoPackage; where it exists, its decisions are kept.
        previous: take them from this file instead; then `path` must not exist.

    Returns:
        What was written to the layer `review`, as `read_review` gives it.

    Raises:
        DataError: a column of `detections` is missing, or the earlier file is none (see `read_review`).
        OutputError: `path` and `previous` both hold decisions, another program has `path` open, or it cannot be
            written.
    """
    path, before = Path(path), None
    _need(detections, OF_MAP, "map")
    if previous is not None and path.exists() and Path(previous).resolve() != path.resolve():
        raise OutputError(f"{path} exists and may hold decisions: give no `previous`, or another path")
    _refuse_open(path)
    if previous is not None or path.exists():
        before = _all_rows(Path(previous or path), detections.crs)
    frame, orphaned = _ranked(detections), None
    if before is not None:
        pairs = _matched(frame, before)
        for name in OF_REVIEWER:
            values = frame[name].copy()
            values.iloc[[n for n, _ in pairs]] = before[name].iloc[[o for _, o in pairs]].array
            frame[name] = values
        orphaned = before[_touched(before) & ~before.index.isin([o for _, o in pairs])]
    _save(frame, orphaned, path)
    return frame


def save_review(review: gpd.GeoDataFrame, path: str | Path) -> None:
    """Write a review that was changed back to its file, whole or not at all; the layer `orphaned` stays as it is.

    Args:
        review: as from `read_review` of `path`.
        path: of the GeoPackage.

    Raises:
        DataError: the file there is no review. OutputError: another program has it open, or it cannot be written.
    """
    path = Path(path)
    _refuse_open(path)
    _save(review, _orphaned(path), path)


def read_review(path: str | Path) -> gpd.GeoDataFrame:
    """Read the layer `review`.

    Returns:
        Valid polygons in the file's CRS with `rank`, `id` (Int64, missing for a slump that a reviewer drew), `score`,
        `area_m2`, `accepted` (nullable boolean: True, False, missing), `comment`, `reviewer` (str, empty if none).

    Raises:
        DataError: no such file or layer, a missing column, something other than polygons, or an `accepted` that
            is no yes or no.
    """
    frame = _read_layer(Path(path), REVIEW_LAYER)
    _need(frame, ("rank",), path)
    return frame[["rank", *OF_MAP, *OF_REVIEWER, "geometry"]]


def precision_so_far(review: gpd.GeoDataFrame) -> dict[str, Any]:
    """Return the share of accepted detections among those that were decided.

    It is the precision of the part that was looked at. As the most uncertain come first, that of the whole map is
    likely higher until all are decided. Slumps that a reviewer drew are no detections and do not count.

    Args:
        review: as from `read_review`.

    Returns:
        `reviewed`, `accepted` (counts), `precision` (0-1), and `low`, `high` of its 95 % Wilson interval; the last
        three None where nothing was decided.
    """
    decided = review.loc[review["id"].notna(), "accepted"].dropna()
    n, k = len(decided), int(decided.sum())
    if not n:
        return {"reviewed": 0, "accepted": 0, "precision": None, "low": None, "high": None}
    limits = binomtest(k, n).proportion_ci(method="wilson")
    return {"reviewed": n, "accepted": k, "precision": k / n, "low": float(limits.low), "high": float(limits.high)}


def apply_review(detections: gpd.GeoDataFrame, review: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the detections without those that were rejected.

    A detection belongs to the row of the review that it overlaps best, at IoU 0.5 or more, one to one, of equal
    overlaps to the one of the same `id`. Undecided ones stay, and so do those that the review does not know.

    Args:
        detections: polygons with `id`; review: as from `read_review`, in any CRS.

    Returns:
        Rows of `detections`, with an index from 0.

    Raises:
        DataError: no column `id`.
    """
    _need(detections, ("id",), "map")
    old = project(review, detections.crs).reset_index(drop=True)
    rejected = (~old["accepted"]).fillna(False).to_numpy(dtype=bool)
    keep = np.ones(len(detections), dtype=bool)
    keep[[n for n, o in _matched(detections, old) if rejected[o]]] = False
    return detections[keep].reset_index(drop=True)


def _refuse_open(path: Path) -> None:
    """Refuse to write a file that another program works on."""
    journal = path.with_name(path.name + "-wal")
    if journal.exists() and journal.stat().st_size:
        raise OutputError(f"{path} is open in another program ({journal.name}): close it there, and write again")


def _save(frame: gpd.GeoDataFrame, orphaned: gpd.GeoDataFrame | None, path: Path) -> None:
    """Write both layers, whole or not at all."""
    with whole(path) as part:
        for layer, rows in ((REVIEW_LAYER, frame), (ORPHANED_LAYER, orphaned)):
            if rows is not None and (len(rows) or layer == REVIEW_LAYER):
                rows.to_file(part, layer=layer, driver="GPKG", geometry_type="MultiPolygon", promote_to_multi=True)
        add_style(part, REVIEW_LAYER, frame["score"].dropna().to_numpy())


def _orphaned(path: Path) -> gpd.GeoDataFrame | None:
    """Read the layer `orphaned`, None where there is none. Raises DataError."""
    import pyogrio

    return _read_layer(path, ORPHANED_LAYER) if ORPHANED_LAYER in pyogrio.list_layers(path)[:, 0] else None


def _ranked(detections: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the queue with nothing decided; of equally uncertain ones, the smaller `id` first."""
    frame = detections[[*OF_MAP, "geometry"]].sort_values("id", kind="stable")
    doubt = (frame["score"] - 0.5).abs().round(9).to_numpy()
    frame = frame.iloc[np.argsort(doubt, kind="stable")].reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    frame["id"] = frame["id"].astype("Int64")
    frame["accepted"] = pd.array([None] * len(frame), dtype="boolean")
    frame["comment"] = frame["reviewer"] = pd.Series([""] * len(frame), dtype=object)
    return frame[["rank", *OF_MAP, *OF_REVIEWER, "geometry"]]


def _all_rows(path: Path, crs: object) -> gpd.GeoDataFrame:
    """Read both layers into one frame, in `crs`. Raises DataError."""
    layers = [layer for layer in (_read_layer(path, REVIEW_LAYER), _orphaned(path)) if layer is not None]
    layers = [project(layer[[*OF_MAP, *OF_REVIEWER, "geometry"]], crs) for layer in layers]
    return gpd.GeoDataFrame(pd.concat(layers, ignore_index=True), crs=crs)


def _read_layer(path: Path, layer: str) -> gpd.GeoDataFrame:
    """Read and check one layer. Raises DataError."""
    frame = read_polygons(path, None, layer)
    _need(frame, (*OF_MAP, *OF_REVIEWER), path)
    frame["id"] = frame["id"].astype("Int64")
    frame["accepted"] = pd.array([_answer(v, path, k) for k, v in enumerate(frame["accepted"], 1)], dtype="boolean")
    for name in ("comment", "reviewer"):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
    return frame


def _answer(value: object, path: Path, row: int) -> bool | None:
    """Return what a cell of `accepted` says; None if nothing. Raises DataError."""
    said = "" if value is None else str(value).strip().lower()
    if said not in _ANSWERS:
        raise DataError(f"{path}, row {row}", f"accepted {value!r}", "true, false or nothing")
    return _ANSWERS[said]


def _touched(frame: gpd.GeoDataFrame) -> pd.Series:
    """Whether a reviewer left something in a row: a decision, a text, or the row itself."""
    typed = (frame["comment"] != "") | (frame["reviewer"] != "")
    return frame["accepted"].notna() | typed | frame["id"].isna()


def _matched(new: gpd.GeoDataFrame, old: gpd.GeoDataFrame) -> list[tuple[int, int]]:
    """Pair rows of both (positions), best overlap first, of equals the same `id`."""
    a, b = new.geometry.values, old.geometry.values
    pairs = []
    for n, o in zip(*shapely.STRtree(b).query(a).tolist(), strict=True):
        iou = overlap(a[n], b[o])
        if iou >= SAME_IOU:
            same = old["id"].iloc[o] is not pd.NA and old["id"].iloc[o] == new["id"].iloc[n]
            pairs.append((-round(iou, 6), not same, n, o))
    taken: tuple[set, set] = (set(), set())
    found = []
    for *_, n, o in sorted(pairs):
        if n not in taken[0] and o not in taken[1]:
            taken[0].add(n)
            taken[1].add(o)
            found.append((n, o))
    return found


def _need(frame: gpd.GeoDataFrame, columns: tuple[str, ...], where: object) -> None:
    """Refuse a frame that lacks columns."""
    lacking = [c for c in columns if c not in frame]
    if lacking:
        raise DataError(where, f"no column {', '.join(lacking)}", f"columns {', '.join(columns)}")
