"""A vector file: layers, geometry types, count, CRS, area, columns, and what is odd about them."""

import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely

from rtslib.data.diagnosis.findings import Findings, place
from rtslib.data.ground import measure
from rtslib.data.vectors import read_polygons, why
from rtslib.errors import DataError, one_line

#: Least area of a slump that is not said to be tiny, m2: ten pixels of 3 m.
TINY_M2 = 90.0
_SURFACES = {"Polygon", "MultiPolygon"}


def diagnose_vector(path: Path) -> Findings:
    """Look at all layers of a vector file.

    Raises:
        DataError: it cannot be opened.
    """
    found = Findings(path)
    try:
        layers = pyogrio.list_layers(path)
    except Exception as e:  # of GDAL, by way of pyogrio
        raise DataError(path, f"no readable vector file ({why(e, path)})", "a vector file") from e
    spatial = [str(name) for name, kind in layers if kind is not None]
    tables = [str(name) for name, kind in layers if kind is None]
    found.facts.append(f"a vector file, layers: {', '.join(spatial) or 'none with geometries'}")
    if tables:
        found.facts.append(f"tables without geometries: {', '.join(tables)}")
    if len(spatial) > 1:
        found.odd.append("several layers: commands need the name of one (--layer, --aoi-layer), or a file with one")
    for name in spatial:
        _layer(path, name, found)
    if not spatial:
        found.uses.append("none: there is nothing to draw")
    return found


def _layer(path: Path, name: str, found: Findings) -> None:
    """Look at one layer."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = gpd.read_file(path, layer=name)
    except Exception as e:  # of GDAL, GEOS or Python, as the file has it
        found.faults.append(str(DataError(f"{path}, layer {name}", f"no readable rows ({one_line(e)})", "polygons")))
        return
    found.odd += [
        f"{name}: GDAL says: {str(w.message).splitlines()[0][:200]}" for w in caught if w.category is RuntimeWarning
    ]
    shapes = np.asarray(frame.geometry.values)
    missing = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    kinds, counts = np.unique(frame.geom_type[~missing].to_numpy(str), return_counts=True)
    said = ", ".join(f"{n} {kind}" for kind, n in zip(kinds, counts)) or "no rows"
    columns = ", ".join(str(c) for c in frame.columns if c != frame.geometry.name) or "none"
    crs = "no CRS" if frame.crs is None else f"CRS {frame.crs.to_string() if frame.crs.to_epsg() else frame.crs.name}"
    found.facts.append(f"{name}: {said}; {crs}; columns: {columns}")
    _shapes(name, frame[~missing], found)
    if missing.any():
        found.odd.append(f"{name}: {int(missing.sum())} rows without geometry, the first is row {_row(missing)}")
    _uses(path, name, set(kinds), "score" in frame.columns, frame.crs is not None, found)


def _shapes(name: str, frame: gpd.GeoDataFrame, found: Findings) -> None:
    """Say where the shapes are, how large, and what is wrong with them."""
    shapes = np.asarray(frame.geometry.values)
    bad = ~shapely.is_valid(shapes)
    if bad.any():
        reason = shapely.is_valid_reason(shapes[bad][0])
        found.odd.append(f"{name}: {int(bad.sum())} invalid geometries, the first in row {_row(bad)}: {reason}")
    twice = len(shapes) - len(set(shapely.to_wkb(shapely.normalize(shapely.force_2d(shapes)))))
    if twice:
        found.odd.append(f"{name}: {twice} geometries are there already, drawn or copied twice")
    if shapely.has_z(shapes).any():
        found.odd.append(f"{name}: heights in the geometries, which are not used")
    if frame.crs is None:
        found.odd.append(f"{name}: no CRS (a shapefile has it in its .prj): set it in QGIS and save")
        return
    if not len(frame):
        return
    try:
        box = tuple(frame.to_crs("EPSG:4326").total_bounds)
    except Exception as e:  # of PROJ, by way of pyproj
        found.odd.append(f"{name}: no place on Earth by its CRS ({one_line(e)})")
        return
    if frame.crs.is_geographic and np.abs(frame.total_bounds[1::2]).max() > 90 or not np.isfinite(box).all():
        found.odd.append(f"{name}: coordinates {frame.total_bounds.tolist()} are outside its CRS: swapped, or metres?")
        return
    found.facts.append(f"{name}: around {place(box)}")
    if box[2] - box[0] > 180:
        found.odd.append(f"{name}: from {box[0]:.1f} to {box[2]:.1f} degrees of longitude: does it cross 180?")
    surfaces = frame[frame.geom_type.isin(_SURFACES)]
    if len(surfaces):
        _areas(name, surfaces, found)


def _areas(name: str, surfaces: gpd.GeoDataFrame, found: Findings) -> None:
    """Say areas on the ground."""
    area, _ = measure(surfaces.set_geometry(shapely.make_valid(np.asarray(surfaces.geometry.values))))
    found.facts.append(
        f"{name}: {area.sum() / 1e4:.2f} ha in all; {np.median(area):.0f} m2 in the median, "
        f"{area.min():.0f} to {area.max():.0f} m2"
    )
    if (tiny := int((area < TINY_M2).sum())) and tiny < len(area):
        found.odd.append(f"{name}: {tiny} polygons of less than {TINY_M2:.0f} m2")
    elif tiny:
        found.odd.append(f"{name}: all polygons are of less than {TINY_M2:.0f} m2: is the CRS the right one?")


def _uses(path: Path, name: str, kinds: set[str], scored: bool, placed: bool, found: Findings) -> None:
    """Say which command takes the layer."""
    if not placed or not kinds or kinds - _SURFACES:
        lacking = "it has a CRS" if not placed else "it has polygons" if not kinds else "there are polygons alone"
        found.uses.append(f"{name}: none before {lacking}")
        return
    try:
        read_polygons(path, None, name)
    except DataError as e:
        found.uses.append(f"{name}: none, as {e}")
        return
    if scored:
        found.uses.append(f"{name}: evaluate --map {path} --truth FILE, as a map with scores")
    found.uses.append(f"{name}: chips or evaluate --truth {path}, as known slumps; map --aoi {path}, as an area")


def _row(wrong: np.ndarray) -> int:
    """Return the number of the first row, from 1."""
    return int(np.flatnonzero(wrong)[0]) + 1
