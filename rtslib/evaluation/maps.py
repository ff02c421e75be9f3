"""Map evaluation: a finished map against known slumps, on the ground and not on chips.

Everything is judged in an equal-area CRS, after windows were joined. At each IoU threshold
(`rtslib.evaluation.polygons`): precision, recall, F1, duplicates, and *AP*, the area under the curve of precision over
recall as detections are added by score; it is COCO's, interpolated at 101 recalls. It counts all detections given, so
that maps with different thresholds can be compared by it where their `candidates.gpkg` are given; everything else
counts those that a map shows. At IoU 0.5 also

- *outline error*: distances in metres from points every metre or so along the outline (holes too) of a right
  detection to that of its slump, and back; long outlines weigh more. Lengths in this CRS are off by up to 1.5 % at 70
  degrees north (`rtslib.data.ground`);
- *area bias*: (mapped - known) / known, the mean over right detections, and of the totals of the map;
- *95 % intervals*, by bootstrap over spatial blocks: neighbours share weather, image and terrain, so whole squares are
  drawn with replacement. A matched detection goes with the block of its slump, all else with its own. Squares where
  there is neither slump nor detection do not count. Few blocks give intervals that are too narrow.

Source: Lin et al. 2014 (COCO) for matching and AP; Roberts et al. 2017, Ecography 40, 913-929, for spatial blocks;
Efron and Tibshirani 1993, ch. 13, for the interval.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rtslib.data.ground import equal_area_crs
from rtslib.data.projecting import project
from rtslib.data.vectors import read_polygons
from rtslib.errors import ConfigError, DataError
from rtslib.evaluation.bootstrap import DRAWS, Hits, average_precision, draw_weights, interval
from rtslib.evaluation.polygons import MapScore, match_polygons

IOUS = (0.3, 0.5, 0.75)
#: Where outlines, areas and intervals are judged, and where a detection counts as a duplicate.
MAIN_IOU, DUPLICATE_IOU = 0.5, 0.3
#: Size classes: name, from (m2), below (m2). At 2,000 m2 a square slump is 15 pixels of 3 m (PlanetScope) a side but
#: 4.5 of 10 m (Sentinel-2), where outlines are mostly pixel edges; from 2 ha on a slump stands out in both.
SIZES = (("small", 0.0, 2_000.0), ("medium", 2_000.0, 20_000.0), ("large", 20_000.0, np.inf))
#: What the bootstrap gives an interval of.
MEASURES = ("precision", "recall", "f1", "ap")


def read_map(path: str | Path) -> gpd.GeoDataFrame:
    """Read mapped slumps, in the CRS of the file.

    Returns:
        Valid polygons with the file's columns, among them `score`, float64 0-1; index from 0.

    Raises:
        DataError: as `rtslib.data.vectors.read_polygons`; no column `score`, or one with values outside 0-1.
    """
    return _scored(read_polygons(path, None), path)


def evaluate_map(
    pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, ious: Sequence[float] = IOUS, block_m: float = 1000.0,
    step_m: float = 1.0, draws: int = DRAWS, seed: int = 0, least: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Compare mapped polygons with known ones.

    Args:
        pred: valid polygons with `score` 0-1, in any CRS; truth: valid polygons in any CRS.
        ious: thresholds, each in (0, 1].
        block_m: side of the bootstrap's squares, m; more than the distance over which errors resemble each other.
        step_m: distance of points along outlines, m; it has nothing to do with pixels.
        draws, seed: of the bootstrap.
        least: score from which the map shows a detection; those below count for average precision alone.

    Returns:
        What JSON can hold, None where there is nothing to divide by: `crs`, `detections`, `known` (counts), `by_iou`
        (a list, see `_at_iou`), `duplicates` (at IoU 0.3), `boundary`, `area` and `intervals` (at IoU 0.5).

    Raises:
        ConfigError: `ious`, `block_m`, `step_m` or `draws` out of range.
        DataError: no `score` or one outside 0-1; polygons without CRS.
    """
    for name, value in (("block_m", block_m), ("step_m", step_m), ("draws", draws)):
        if not 0 < value < np.inf:
            raise ConfigError(f"{name}={value}: take a number above 0")
    every, truth = _on_ground(_scored(pred, "map"), truth)
    pred = every[every["score"] >= least].reset_index(drop=True)
    scores = {iou: match_polygons(pred, truth, iou) for iou in (*ious, MAIN_IOU, DUPLICATE_IOU)}
    ranked = {iou: match_polygons(every, truth, iou) for iou in (*ious, MAIN_IOU)}
    main, again = scores[MAIN_IOU], len(scores[DUPLICATE_IOU].duplicates)
    return {
        "crs": str(pred.crs), "detections": len(pred), "known": len(truth),
        "by_iou": [{**_at_iou(scores[iou], pred, truth), "ap": _ap(ranked[iou], every, truth)} for iou in ious],
        "duplicates": {"iou": DUPLICATE_IOU, "count": again, "share": again / len(pred) if len(pred) else None},
        "boundary": {"iou": MAIN_IOU, "pairs": main.tp, "step_m": step_m, **_boundary(main, pred, truth, step_m)},
        "area": {"iou": MAIN_IOU, "pairs": main.tp, **_area(main, pred, truth)},
        "intervals": {"iou": MAIN_IOU, "block_m": block_m, "draws": draws,
                      **_intervals((main, ranked[MAIN_IOU]), (pred, every), truth, block_m, draws, seed)},
    }  # fmt: skip


def as_rows(result: dict[str, Any]) -> pd.DataFrame:
    """Return what `evaluate_map` gave as a table, one row an IoU.

    Returns:
        Counts and shares as in `by_iou`, those of size classes as `recall_small`, `known_small` and so on; shares are
        float, NaN where there is nothing to divide by.
    """
    rows = []
    for row in result["by_iou"]:
        sizes = {f"{k}_{size}": v for size, part in row["sizes"].items() for k, v in part.items()}
        rows.append({**{k: v for k, v in row.items() if k != "sizes"}, **sizes})
    table = pd.DataFrame(rows)
    return table.astype({c: float for c in table if c.startswith(MEASURES)})


def as_text(result: dict[str, Any]) -> str:
    """Return what `evaluate_map` gave as lines for the command line."""
    table, shares = as_rows(result), [f"{k}_{s}" for k in ("precision", "recall") for s, _, _ in SIZES]
    all_sizes, by_size = table[["iou", "right", "wrong", "missed", "duplicates", *MEASURES]], table[["iou", *shares]]
    spread, edge, area = result["intervals"], result["boundary"], result["area"]
    limits = ", ".join(f"{m} {_said(spread[m], ' to ')}" for m in MEASURES)
    again = result["duplicates"]
    sizes = ", ".join(f"{n} {f'from {low:,.0f} m2' if low else f'below {high:,.0f} m2'}" for n, low, high in SIZES)
    return "\n".join([
        f"{result['detections']} detections, {result['known']} known slumps, in {result['crs']}",
        all_sizes.to_string(index=False, float_format="{:.3g}".format, na_rep="-"),
        f"by size ({sizes}):",
        by_size.to_string(index=False, float_format="{:.3g}".format, na_rep="-"),
        f"at IoU {spread['iou']:g}, 95 % over {spread['blocks']} blocks of {spread['block_m']:g} m: {limits}",
        f"outlines of {edge['pairs']} right detections: median error {_said(edge['median_m'])} m, "
        f"95th percentile {_said(edge['p95_m'])} m",
        f"area: {area['mapped_m2'] / 1e4:.2f} ha mapped, {area['known_m2'] / 1e4:.2f} ha known, bias "
        f"{_said(area['total_bias'])}; of right detections {_said(area['pair_bias'])}",
        f"duplicates at IoU {again['iou']:g}: {again['count']}",
    ])  # fmt: skip


def _said(value: float | list[float] | None, between: str = "") -> str:
    if value is None:
        return "-"
    return between.join(f"{v:.3g}" for v in (value if isinstance(value, list) else [value]))


def _scored(frame: gpd.GeoDataFrame, where: object) -> gpd.GeoDataFrame:
    """Return the frame with `score` as float64, or refuse it."""
    if "score" not in frame:
        raise DataError(where, f"columns {', '.join(map(str, frame.columns))}", "a column `score`, 0 to 1")
    score = pd.to_numeric(frame["score"], errors="coerce").to_numpy(dtype=float)
    bad = np.flatnonzero(~((score >= 0) & (score <= 1)))
    if len(bad):
        raise DataError(f"{where}, row {bad[0] + 1}", f"score {frame['score'].iloc[bad[0]]}", "a number from 0 to 1")
    return frame.assign(score=score)


def _on_ground(pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Bring both into the equal-area CRS of their place, as polygons only. Raises DataError."""
    for name, frame in (("map", pred), ("known slumps", truth)):
        if frame.crs is None:
            raise DataError(name, "no CRS", "polygons with a CRS")
    place = truth if len(truth) else pred
    west, south, east, north = place.total_bounds if len(place) else (0.0, 0.0, 0.0, 0.0)
    crs = equal_area_crs(place.crs, (west + east) / 2, (south + north) / 2) if len(place) else "EPSG:6931"
    return _polygons(project(pred, crs, "map"), "map"), _polygons(project(truth, crs, "known slumps"), "known slumps")


def _polygons(frame: gpd.GeoDataFrame, where: str) -> gpd.GeoDataFrame:
    """Return valid polygons with an index from 0; lines and points that mending left over are dropped."""
    shapes = shapely.make_valid(np.asarray(frame.geometry.values))
    for k in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = shapely.get_parts(shapes[k])
        shapes[k] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    flat = np.flatnonzero(~(shapely.area(shapes) > 0))
    if len(flat):
        raise DataError(f"{where}, row {flat[0] + 1}", "a polygon without area", "slumps that cover ground")
    return frame.reset_index(drop=True).set_geometry(shapes, crs=frame.crs)


def _hits(score: MapScore, pred: gpd.GeoDataFrame, unit: np.ndarray, known: np.ndarray) -> Hits:
    """Return detections, best first, as the bootstrap takes them; `unit` int (n,), `known` int (m,): block of each."""
    right = np.zeros(len(pred), dtype=bool)
    right[[p for p, _, _ in score.pairs]] = True
    order = np.argsort(-pred["score"].to_numpy(), kind="stable")
    count = np.bincount(known, minlength=int(max(unit.max(initial=0), known.max(initial=0))) + 1)
    return Hits(pred["score"].to_numpy()[order], right[order], np.zeros(len(pred), int), unit[order], count)


def _at_iou(score: MapScore, pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame) -> dict[str, Any]:
    """Return counts and shares at one threshold.

    Keys `iou`, `right`, `wrong`, `missed`, `duplicates` (counts), `precision`, `recall`, `f1` (0-1), and `sizes`: for
    each class `known`, `found`, `recall` (by the area of the slump), `detections`, `right`, `precision` (by the area of
    the detection).
    """
    sizes = {}
    mapped, known = pred.area.to_numpy(), truth.area.to_numpy()
    right, found = ([pair[k] for pair in score.pairs] for k in (0, 1))
    for name, low, high in SIZES:
        n, m = (int(((a >= low) & (a < high)).sum()) for a in (known, mapped))
        hit, ok = (int(((a >= low) & (a < high)).sum()) for a in (known[found], mapped[right]))
        sizes[name] = {"known": n, "found": hit, "recall": hit / n if n else None,
                       "detections": m, "right": ok, "precision": ok / m if m else None}  # fmt: skip
    return {
        "iou": score.iou, "right": score.tp, "wrong": score.fp, "missed": score.fn, "duplicates": len(score.duplicates),
        "precision": score.precision, "recall": score.recall, "f1": score.f1, "sizes": sizes,
    }  # fmt: skip


def _ap(score: MapScore, pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame) -> float | None:
    """Return average precision, 0-1; None without known slumps."""
    ap = average_precision(_hits(score, pred, np.zeros(len(pred), dtype=int), np.zeros(len(truth), dtype=int)))
    return ap if np.isfinite(ap) else None


def _along(outline: shapely.Geometry, step: float) -> np.ndarray:
    """Return points evenly along each ring of an outline, at most `step` apart: shapely points (n,)."""
    points = []
    for ring in shapely.get_parts(outline):
        n = int(np.ceil(ring.length / step))
        points.append(shapely.line_interpolate_point(ring, (np.arange(n) + 0.5) * ring.length / n))
    return np.concatenate(points)


def _boundary(score: MapScore, pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, step: float) -> dict[str, float | None]:
    """Return the median and 95th percentile of distances between outlines, both ways, over all pairs; m."""
    distances = []
    for p, t, _ in score.pairs:
        a, b = pred.geometry.iloc[p].boundary, truth.geometry.iloc[t].boundary
        distances += [shapely.distance(_along(a, step), b), shapely.distance(_along(b, step), a)]
    if not distances:
        return {"median_m": None, "p95_m": None}
    median, most = np.quantile(np.concatenate(distances), [0.5, 0.95])
    return {"median_m": float(median), "p95_m": float(most)}


def _area(score: MapScore, pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame) -> dict[str, float | None]:
    """Return areas of the map and of the known slumps, m2, and their relative difference."""
    mapped, known = pred.area.to_numpy(), truth.area.to_numpy()
    pairs = [(mapped[p] - known[t]) / known[t] for p, t, _ in score.pairs]
    total = float(known.sum())
    return {
        "mapped_m2": float(mapped.sum()), "known_m2": total,
        "total_bias": (float(mapped.sum()) - total) / total if total else None,
        "pair_bias": float(np.mean(pairs)) if pairs else None,
    }  # fmt: skip


def _blocks(
    score: MapScore, pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, side: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the block of each detection and of each slump, int (n,) and (m,), from 0."""
    points = np.concatenate([f.geometry.representative_point().values for f in (pred, truth)])
    square = np.floor(np.stack([shapely.get_x(points), shapely.get_y(points)], axis=1) / side).astype(np.int64)
    for p, t, _ in score.pairs:
        square[p] = square[len(pred) + t]
    _, unit = np.unique(square, axis=0, return_inverse=True)
    return unit.ravel()[: len(pred)], unit.ravel()[len(pred) :]


def _intervals(
    scores: tuple[MapScore, MapScore], preds: tuple[gpd.GeoDataFrame, gpd.GeoDataFrame], truth: gpd.GeoDataFrame,
    side: float, draws: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return the number of blocks and the 2.5 and 97.5 % quantiles of each measure; None with fewer than two blocks.

    Of the two maps, the one shown gives precision, recall and F1, the other average precision.
    """
    hits, ranked = (_hits(s, p, *_blocks(s, p, truth, side)) for s, p in zip(scores, preds, strict=True))
    blocks = len(hits.instances) if len(preds[0]) + len(truth) else 0
    if blocks < 2:
        return {"blocks": blocks, **dict.fromkeys(MEASURES)}
    right, found = (np.bincount(hits.unit, w, minlength=blocks) for w in (hits.right, None))
    weights = draw_weights(blocks, draws, seed)
    tp, mapped, known = weights @ right, weights @ found, weights @ hits.instances
    with np.errstate(invalid="ignore"):  # a draw without detections has no precision
        values = {"precision": tp / mapped, "recall": tp / known, "f1": 2 * tp / (mapped + known)}
    of_all = draw_weights(len(ranked.instances), draws, seed)  # candidates may lie in more blocks
    values["ap"] = np.array([average_precision(ranked, w) for w in of_all])
    limits = {m: list(interval(v)) for m, v in values.items()}
    return {"blocks": blocks, **{m: v if np.isfinite(v).all() else None for m, v in limits.items()}}
