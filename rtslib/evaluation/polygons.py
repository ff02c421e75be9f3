"""Map scores: how well mapped polygons match the known ones, counted on the ground and not on chips.

A detection is *right* (a true positive) if its IoU with a known slump reaches a threshold, and that slump
is not taken by a better detection; matching is greedy by score, as in COCO. Precision is the share of
right detections, recall the share of known slumps that were found, F1 their harmonic mean. A wrong detection
that reaches the threshold with a slump that a better one took is a *duplicate*: the slump was mapped twice.

Source of the matching rule: Lin et al. 2014 (COCO), with polygons in place of masks.
"""

from dataclasses import dataclass

import geopandas as gpd
import shapely

from rtslib.data.projecting import project
from rtslib.errors import ConfigError


@dataclass(frozen=True)
class MapScore:
    """Counts and shares of one matching.

    Attributes:
        iou: the threshold.
        tp, fp, fn: right detections, wrong detections, missed slumps.
        precision, recall, f1: 0-1; None where there is nothing to divide by.
        pairs: (row position in `pred`, row position in `truth`, IoU) of the right detections.
        duplicates: the same of wrong detections that reach the threshold with a slump that was taken, and that slump.
    """

    iou: float
    tp: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None
    f1: float | None
    pairs: tuple[tuple[int, int, float], ...]
    duplicates: tuple[tuple[int, int, float], ...] = ()


def match_polygons(pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, iou: float = 0.5) -> MapScore:
    """Match mapped slumps to known ones, greedily by score, one to one.

    Args:
        pred: polygons with a column `score`.
        truth: polygons in any CRS; brought into that of `pred`.
        iou: least intersection over union, in (0, 1].

    Raises:
        ConfigError: `iou` out of range.
    """
    if not 0 < iou <= 1:
        raise ConfigError(f"iou={iou}: take a threshold above 0, up to 1")
    found, known = pred.geometry.values, project(truth, pred.crs, "known slumps").geometry.values
    tree = shapely.STRtree(known)
    free = set(range(len(known)))
    pairs, again = [], []
    for p in (-pred["score"].to_numpy()).argsort(kind="stable").tolist():
        scored = [(overlap(found[p], known[t]), -t) for t in tree.query(found[p]).tolist()]
        reached = [s for s in scored if s[0] >= iou]
        best, t = max((s for s in reached if -s[1] in free), default=(0.0, 0))
        if best:
            free.remove(-t)
            pairs.append((p, -t, best))
        elif reached:
            best, t = max(reached)
            again.append((p, -t, best))
    tp, fp, fn = len(pairs), len(found) - len(pairs), len(free)
    return MapScore(
        iou, tp, fp, fn,
        precision=tp / (tp + fp) if tp + fp else None,
        recall=tp / (tp + fn) if tp + fn else None,
        f1=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        pairs=tuple(pairs), duplicates=tuple(again),
    )  # fmt: skip


def overlap(a: shapely.Geometry, b: shapely.Geometry) -> float:
    """Return intersection over union of two polygons in one CRS, 0-1."""
    both = a.intersection(b).area
    return both / (a.area + b.area - both) if both else 0.0
