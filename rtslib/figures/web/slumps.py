"""Slumps as the map page knows them: GeoJSON in EPSG:4326 with everything that is known of each.

A detection is a *hit* if it matches a known slump (IoU 0.5 or more, one to one, best score first:
`rtslib.evaluation.polygons`), else a *false alarm*; a known slump that no detection matches is *missed*.
"""

from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from rtslib.data.ground import measure
from rtslib.data.projecting import about, project
from rtslib.evaluation.polygons import MapScore, match_polygons
from rtslib.figures.mercator import LON_LAT

Features = dict[str, Any]


def detections_as_features(
    frame: gpd.GeoDataFrame, truth: gpd.GeoDataFrame | None = None, middle: float = 0.0
) -> Features:
    """Return detections as a FeatureCollection.

    Args:
        frame: polygons in any CRS with `score`; other columns of `rtslib.mapping.polygons.to_polygons` are shown if
            there.
        truth: known slumps in any CRS, if known.
        middle: longitude about which they are to lie, as the pictures do; beyond 180 it goes on.

    Returns:
        Coordinates to 1e-6 degrees. Properties: `n` (number from 0, also the feature's id), `id` (text), `score`,
        `area` (m2), `perimeter` (m), `point` ([lon, lat] inside), `valid` ([modality, share] pairs), `modalities`
        (text), `seen` (how many modalities have data), `windows`, `edge`, `nodata`, and with `truth` `verdict` and
        `match`.
    """
    found = _features(frame, middle)
    valid = [c for c in frame.columns if c.startswith("valid_")]
    matched = match_polygons(frame, truth) if truth is not None else None
    for n, properties in enumerate(f["properties"] for f in found["features"]):
        row = frame.iloc[n]
        modalities = str(row.get("modalities", ""))
        properties |= {
            "score": round(float(row["score"]), 4), "modalities": modalities.replace("+", ", "),
            "seen": len(modalities.split("+")) if modalities else 0,
            "valid": [[c.removeprefix("valid_"), round(float(row[c]), 3)] for c in valid],
            "windows": int(row.get("windows", 0)) or "", "edge": bool(row.get("touches_edge", False)),
            "nodata": bool(row.get("touches_nodata", False)), "verdict": "", "match": "",
        }  # fmt: skip
    if matched is not None:
        _judge(found, matched, _names(truth))
    return found


def truth_as_features(truth: gpd.GeoDataFrame, detections: gpd.GeoDataFrame, middle: float = 0.0) -> Features:
    """Return known slumps, in any CRS, as a FeatureCollection as that of detections.

    Properties: `n`, `id`, `area`, `perimeter`, `point`, `verdict` ("found" or "missed") and `match`.
    """
    found, names = _features(truth, middle), _names(detections)
    for feature in found["features"]:
        feature["properties"] |= {"verdict": "missed", "match": ""}
    for p, t, iou in match_polygons(detections, truth).pairs:
        found["features"][t]["properties"] |= {"verdict": "found", "match": f"detection {names[p]}, IoU {iou:.2f}"}
    return found


def _judge(found: Features, matched: MapScore, names: list[str]) -> None:
    """Say of each detection whether it is right, and of which known slump."""
    for feature in found["features"]:
        feature["properties"]["verdict"] = "false alarm"
    for p, t, iou in matched.duplicates:
        found["features"][p]["properties"]["match"] = f"known slump {names[t]} once more, IoU {iou:.2f}"
    for p, t, iou in matched.pairs:
        found["features"][p]["properties"] |= {"verdict": "hit", "match": f"known slump {names[t]}, IoU {iou:.2f}"}


def _features(frame: gpd.GeoDataFrame, middle: float) -> Features:
    """Return what detections and known slumps have in common."""
    areas, perimeters = measure(frame)
    there = about(project(frame, LON_LAT), middle).geometry
    points = shapely.get_coordinates(there.representative_point()).round(6).tolist()
    shapes = shapely.transform(there.values, lambda c: np.round(c, 6))
    return {"type": "FeatureCollection", "features": [
        {"type": "Feature", "id": n, "geometry": shape.__geo_interface__,
         "properties": {"n": n, "id": name, "area": round(area, 1), "perimeter": round(perimeter, 1), "point": point}}
        for n, (name, area, perimeter, point, shape)
        in enumerate(zip(_names(frame), areas.tolist(), perimeters.tolist(), points, shapes, strict=True))
    ]}  # fmt: skip


def _names(frame: gpd.GeoDataFrame) -> list[str]:
    """Return the ids as texts; row numbers from 1 where there is none."""
    return [str(v) for v in (frame["id"] if "id" in frame else range(1, len(frame) + 1))]
