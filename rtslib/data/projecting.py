"""Projecting: polygons from one CRS into another along their edges, also across 180 degrees.

An edge that is straight in one CRS is curved in another: the side of a box along 70 degrees north is an arc in a polar
CRS. To *densify* is to put vertices along edges before they are moved, so that what is moved is the edge and not its
ends alone. Vertices stand at most `STEP_DEGREES` or `STEP_METRES` apart, which leaves less than 0.1 m at 60 degrees.

Longitudes jump by 360 degrees at the *antimeridian*. An edge between longitudes more than 180 degrees apart is taken to
cross it the short way, unless an end lies at 180 degrees itself, as in a box around the pole. Polygons brought into
longitude and latitude go on beyond 180 (181 instead of -179), so that each stays in one piece.

Source: RFC 7946 (GeoJSON), sections 3.1.1 (edges are straight in longitude and latitude) and 3.1.9 (antimeridian).
"""

import math

import geopandas as gpd
import numpy as np
import shapely

from rtslib.data.crs import as_crs
from rtslib.errors import DataError

#: Vertices along an edge, at most so far apart; but no more than `MOST` along the longer side of a polygon.
STEP_DEGREES, STEP_METRES, MOST = 0.01, 1000.0, 40_000


def project(frame: gpd.GeoDataFrame, crs: object, where: object = "polygons") -> gpd.GeoDataFrame:
    """Bring polygons into a CRS along their edges.

    Args:
        frame: polygons with a CRS and finite coordinates.
        crs: to bring them into, whatever pyproj takes for one.
        where: file that they are of, for errors.

    Returns:
        The same rows. In the CRS that they have already, they are as they were; in another one of longitude and
        latitude they may go beyond 180.

    Raises:
        DataError: a polygon has no place in `crs`.
    """
    target = as_crs(crs)
    if len(frame) == 0:
        return frame.to_crs(target)
    if frame.crs == target:
        return frame.set_geometry(unwrap(frame.geometry.values), crs=target) if target.is_geographic else frame
    moved = frame.to_crs(target)
    if (large := _large(frame, moved)).any():  # of a small one the edges are straight enough, also at the very pole
        parts = frame[large].set_geometry(densify(frame.geometry.values[large], frame.crs), crs=frame.crs)
        shapes = np.array(moved.geometry.values, dtype=object)
        shapes[large] = parts.to_crs(target).geometry.values
        moved = moved.set_geometry(shapes, crs=target)
    lost = np.flatnonzero(~np.isfinite(moved.geometry.bounds.to_numpy()).all(axis=1))
    if len(lost):
        found = f"a polygon that has no place in {target.to_string()}"
        raise DataError(f"{where}, row {lost[0] + 1}", found, "one near the map", "look whether its CRS is right")
    if target.is_geographic:
        moved = moved.set_geometry(unwrap(moved.geometry.values, drawn=False), crs=target)
    return moved


def _large(frame: gpd.GeoDataFrame, moved: gpd.GeoDataFrame) -> np.ndarray:
    """Return bool (n,): which polygons are wider than `STEP_METRES`, in the CRS of either that has metres; else all."""
    flat = next((f for f in (frame, moved) if f.crs.is_projected), None)
    if flat is None:
        return np.ones(len(frame), dtype=bool)
    boxes = flat.geometry.bounds.to_numpy()
    with np.errstate(invalid="ignore"):  # inf - inf of one that has no place there
        sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return ~(sides * flat.crs.axis_info[0].unit_conversion_factor <= STEP_METRES)


def densify(shapes: np.ndarray, crs: object) -> np.ndarray:
    """Return polygons (n,) with vertices along their edges, edges of a geographic CRS unwrapped at 180 degrees."""
    crs = as_crs(crs)
    if crs.is_geographic:
        shapes, step = unwrap(shapes), STEP_DEGREES
    else:
        step = STEP_METRES / crs.axis_info[0].unit_conversion_factor
    boxes = shapely.bounds(shapes)
    longest = np.nan_to_num(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]))
    return shapely.segmentize(shapes, np.maximum(step, longest / MOST))


def crossing(shapes: np.ndarray, drawn: bool = True) -> np.ndarray:
    """Return bool (n,): which polygons in degrees have an edge that is taken to cross 180 degrees the short way.

    Args:
        shapes: polygons (n,).
        drawn: by someone, so that an edge with an end at 180 itself may go round the world; else brought from a CRS.
    """
    points, of = shapely.get_coordinates(shapes, return_index=True)
    far = (np.abs(np.diff(points[:, 0])) > 180) & (of[:-1] == of[1:])
    if drawn:
        ends = np.isclose(np.abs(points[:, 0]), 180, rtol=0, atol=1e-9)
        far &= ~(ends[:-1] | ends[1:])
    found = np.zeros(len(shapes), dtype=bool)
    found[of[:-1][far]] = True
    return found


def unwrap(shapes: np.ndarray, drawn: bool = True) -> np.ndarray:
    """Return polygons (n,) in degrees with every edge across 180 in one piece: longitudes go on beyond it."""
    shapes = np.array(shapes, dtype=object)
    for k in np.flatnonzero(crossing(shapes, drawn)):
        parts = [_unwrapped(part) for part in shapely.get_parts(shapes[k])]
        shapes[k] = shapely.union_all(shapely.make_valid(np.array(parts, dtype=object)))
    return shapes


def _unwrapped(polygon: shapely.Polygon) -> shapely.Polygon:
    """Let longitudes of one polygon go on beyond 180; holes lie with the outline, one round a pole reaches it."""
    rings: list[np.ndarray] = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = shapely.get_coordinates(ring)
        points[:, 0] = np.unwrap(points[:, 0], period=360)
        points[:, 0] -= 360 * np.round((points[:, 0].mean() - (rings[0][:, 0].mean() if rings else 180)) / 360)
        (first, _), (last, pole) = points[0], (points[-1, 0], math.copysign(90, points[:, 1].mean()))
        if abs(last - first) > 180:
            points = np.vstack([points, [(last, pole), (first, pole)], points[:1]])
        rings.append(points)
    return shapely.Polygon(rings[0], rings[1:])


def about(frame: gpd.GeoDataFrame, x: float) -> gpd.GeoDataFrame:
    """Return polygons turned by whole circles to lie about a longitude, as 181 for -179; no other CRS is changed."""
    if frame.empty or not frame.crs.is_geographic:
        return frame
    shapes = frame.geometry.values
    boxes = shapely.bounds(shapes)
    turns = 360 * np.round(((boxes[:, 0] + boxes[:, 2]) / 2 - x) / 360)
    out = np.array(shapes, dtype=object)
    for k in np.flatnonzero(turns):
        out[k] = shapely.transform(out[k], lambda p, by=turns[k]: p - (by, 0))
    return frame.set_geometry(out, crs=frame.crs)
