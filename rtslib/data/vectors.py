"""Vectors: polygons that people drew, read from any file that GDAL opens and checked row by row.

A *vector file* holds one or more *layers*; a layer holds *rows*, each one geometry with attributes, in one CRS. Rows
count from 1, as QGIS shows them. Whatever is wrong with a file is said with its row: other libraries believe what they
read, or fail in words of their own. *Truth* is a layer of known slumps; one that was drawn or copied several times
(IoU from `SAME` on) counts once.

Sources: OGR simple features; RFC 7946 for GeoJSON, which is in longitude and latitude unless it names its CRS.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from pyproj.exceptions import CRSError

from rtslib.data.crs import earthly
from rtslib.data.projecting import crossing, project
from rtslib.errors import DataError, one_line

#: IoU from which two known slumps are one that was drawn twice.
SAME = 0.9
POLYGONS = ("Polygon", "MultiPolygon")
ANEW = "open it in QGIS and save it anew as GeoPackage"


def read_polygons(
    path: str | Path, crs: object, layer: str | None = None, where: str | None = None
) -> gpd.GeoDataFrame:
    """Read one layer of a vector file as valid polygons, with an index from 0.

    Args:
        path: what GDAL opens.
        crs: to bring them into, along their edges (`rtslib.data.projecting.project`); None leaves them in the file's.
        layer: its name; None takes the only one that has geometries.
        where: SQL condition on its rows (OGR SQL), such as "year = 2023"; None takes all.

    Returns:
        The rows with their columns, polygons in two dimensions; `frame.attrs["notes"]` (list of str) says what was
        odd.

    Raises:
        DataError: no file, or none that can be read; several layers and none chosen; a condition that is none; no CRS,
            an unknown one, or one that is not on Earth; a row whose geometry is missing, broken, without area, no
            polygon, or outside its CRS.
    """
    layer = _layer(path, layer)
    frame, notes = _read(path, layer, where)
    _check_crs(path, frame)
    _check_rows(path, frame)
    if frame.crs.is_geographic and (rows := np.flatnonzero(crossing(frame.geometry.values))).size:
        said = f"{path}, row {rows[0] + 1}: an edge across 180 degrees is taken the short way"
        notes.append(said + (f" ({rows.size} rows)" if rows.size > 1 else ""))
    mended = project(frame, crs if crs is not None else frame.crs, path)
    shapes = _surfaces(shapely.make_valid(np.asarray(mended.geometry.values)))
    frame = mended.set_geometry(shapes, crs=mended.crs).reset_index(drop=True)
    frame.attrs["notes"] = notes
    return frame


def read_truth(path: str | Path, crs: object, layer: str | None = None, where: str | None = None) -> gpd.GeoDataFrame:
    """Read known slumps as `read_polygons` does, each once: of those that share `SAME` or more, the first row stays.

    Raises:
        DataError: as `read_polygons`.
    """
    frame = read_polygons(path, crs, layer, where)
    again = duplicates(frame.geometry.values)
    kept = frame[~again].reset_index(drop=True)
    kept.attrs["notes"] = list(frame.attrs["notes"])
    if (several := np.flatnonzero(shapely.get_num_geometries(frame.geometry.values) > 1)).size:
        kept.attrs["notes"].append(
            f"{path}: {several.size} rows hold several polygons each, such as row {several[0] + 1}, and count as one "
            "slump each; if they are several, take them apart (QGIS: Multipart to singleparts)"
        )
    if again.any():
        row = int(np.flatnonzero(again)[0]) + 1
        kept.attrs["notes"].append(
            f"{path}: {int(again.sum())} of {len(frame)} slumps are there already (IoU from {SAME:g}, such as row "
            f"{row}) and are left out"
        )
    return kept


def read_area(path: str | Path, crs: object, layer: str | None = None) -> tuple[shapely.Geometry, list[str]]:
    """Read an area of interest: the union of a layer's polygons in `crs`, and notes on what was odd.

    In degrees the area is there three times, a whole circle to the west and to the east as well, so that it meets a
    grid that goes on beyond 180.

    Raises:
        DataError: as `read_polygons`, or no polygon.
    """
    frame = read_polygons(path, crs, layer)
    if frame.empty:
        raise DataError(path, "no polygon", "an area of interest")
    area = frame.geometry.union_all()
    if frame.crs.is_geographic:
        area = shapely.union_all([shapely.transform(area, lambda p, by=by: p + (by, 0)) for by in (-360, 0, 360)])
    return area, frame.attrs["notes"]


def duplicates(shapes: np.ndarray) -> np.ndarray:
    """Return bool (n,): which polygons share an IoU of `SAME` or more with an earlier one that is none itself."""
    shapes = np.asarray(shapes)
    left, right = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = np.stack([left, right])[:, left < right]
    areas = shapely.area(shapes)
    size = areas[pairs]
    pairs = pairs[:, size.min(axis=0) >= SAME * size.max(axis=0)]  # IoU is at most this: most need no overlay
    both = shapely.area(shapely.intersection(shapes[pairs[0]], shapes[pairs[1]]))
    pairs = pairs[:, both >= SAME * (areas[pairs].sum(axis=0) - both)]
    again = np.zeros(len(shapes), dtype=bool)
    for first, second in sorted(pairs.T.tolist()):
        again[second] |= not again[first]
    return again


def layer_names(path: str | Path) -> list[str]:
    """Return the names of the layers of a vector file that have geometries. Raises DataError if it is none."""
    import pyogrio

    with _said(path):
        if "://" not in str(path) and not str(path).startswith("/vsi"):
            _check_file(Path(path))
        return [name for name, kind in pyogrio.list_layers(path) if kind is not None]


def _layer(path: str | Path, layer: str | None) -> str | None:
    """Return the name of the layer to read. Raises DataError."""
    spatial = layer_names(path)
    if layer is not None:
        if layer not in spatial:
            raise DataError(path, f"no layer {layer!r} with geometries", f"one of {', '.join(map(repr, spatial))}")
        return layer
    if len(spatial) > 1:
        found = f"{len(spatial)} layers ({', '.join(map(repr, spatial))})"
        raise DataError(path, found, "one", "name it: --layer, for an area of interest --aoi-layer")
    return spatial[0] if spatial else None


def _check_file(path: Path) -> None:
    """Refuse what is none, and a GeoJSON in an unknown CRS, which GDAL takes for longitude and latitude."""
    if not path.exists():
        raise DataError(path, "no such file", "a vector file, such as GeoPackage or GeoJSON")
    if path.is_dir():
        return
    size = path.stat().st_size
    if not size:
        raise DataError(path, "an empty file", "a vector file with polygons")
    if path.suffix.lower() in (".geojson", ".json"):
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(4096)
            file.seek(max(size - 4096, 0))
            tail = file.read()
        named = re.search(r'"crs"\s*:\s*\{[^{}]*"properties"\s*:\s*\{\s*"name"\s*:\s*("[^"]*")', head + tail)
        if named and not _known(name := json.loads(named[1])):
            raise DataError(path, f"the unknown CRS {name!r}", "one such as EPSG:4326", ANEW)


def _known(crs: str) -> bool:
    try:
        return bool(pyproj.CRS.from_user_input(crs))
    except CRSError:
        return False


def _read(path: str | Path, layer: str | None, where: str | None) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Read rows as they are, with what GDAL warned of. Raises DataError with the row that cannot be read."""
    try:
        with warnings.catch_warnings(record=True) as caught, np.errstate(invalid="ignore"):
            warnings.simplefilter("always")
            frame = gpd.read_file(path, layer=layer, where=where)
    except Exception as e:  # of pyogrio, shapely, pyproj, or Python's for text that is not in its encoding
        if where is not None and _readable(path, layer, 1):
            found = f"no rows where {where!r} can be asked for ({one_line(e)})"
            raise DataError(path, found, "a condition on its columns in SQL") from e
        row = _first_unreadable(path, layer)
        at = f"{path}, row {row}" if row else str(path)
        if isinstance(e, UnicodeDecodeError):
            fix = "mend or delete the .cpg file beside it, or save it anew as GeoPackage"
            raise DataError(at, "text in another encoding than the file says", "readable attributes", fix) from e
        raise DataError(at, f"no readable geometry: {why(e, path)}", "polygons", ANEW) from e
    notes = [f"{path}: {' '.join(str(w.message).split())}" for w in caught if issubclass(w.category, RuntimeWarning)]
    notes = [n if len(n) < 300 else n[:300] + " ..." for n in dict.fromkeys(notes) if "from_wkb" not in n]
    if not isinstance(frame, gpd.GeoDataFrame):
        raise DataError(path, f"a table without geometries ({', '.join(map(str, frame.columns))})", "polygons")
    return frame, notes


def _first_unreadable(path: str | Path, layer: str | None) -> int:
    """Return the number of the first row, from 1, that cannot be read; 0 where that cannot be said."""
    import pyogrio

    try:
        good, bad = 0, int(pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"])
    except Exception:  # not even counted
        return 0
    if bad < 1 or _readable(path, layer, bad):
        return 0
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _readable(path, layer, middle) else (good, middle)
    return bad


def _readable(path: str | Path, layer: str | None, rows: int) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gpd.read_file(path, layer=layer, rows=rows)
    except Exception:  # as in `_read`
        return False
    return True


@contextmanager
def _said(path: str | Path) -> Iterator[None]:
    """Turn what GDAL raises for a file into one line."""
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except (DataSourceError, DataLayerError) as e:
        fix = "all files of a shapefile (.shp .shx .dbf .prj) belong together" if ".shx" in str(e) else ANEW
        raise DataError(path, f"no readable vector file: {why(e, path)}", "GeoPackage, GeoJSON, shapefile", fix) from e


def why(error: BaseException, path: str | Path) -> str:
    """Return another library's reason, without its advice to programmers."""
    return one_line(error).split("; It might help")[0].replace(f"'{path}' ", "")[:200].rstrip(".")


def _check_crs(path: str | Path, frame: gpd.GeoDataFrame) -> None:
    if frame.crs is None:
        fix = "set it in QGIS (Layer, Set Layer CRS) and save it; a shapefile needs its .prj"
        raise DataError(path, "no CRS, or an unknown one", "polygons with a CRS", fix)
    if not earthly(frame.crs):
        found = f"the CRS {frame.crs.name!r} ({frame.crs.type_name}), which has no place on Earth"
        raise DataError(path, found, "longitude and latitude, or a projected CRS", "reproject or georeference it")


def _check_rows(path: str | Path, frame: gpd.GeoDataFrame) -> None:
    """Refuse rows whose geometry is missing, no polygon, not finite, or outside its CRS."""
    shapes = frame.geometry
    checks: list[tuple[Any, str, str]] = [
        (shapes.isna() | shapes.is_empty, "no geometry", "delete the row, or draw it"),
        (~shapes.geom_type.isin(POLYGONS), "{kind}", "draw outlines, or leave the row out"),
        (~_finite(shapes), "a coordinate that is no number", ANEW),
    ]
    checks.append((~_covers(shapes), "a polygon without area", "delete it, or draw it anew"))
    if frame.crs.is_geographic:
        beyond = (shapes.bounds[["miny", "maxy"]].abs() > 90 + 1e-6).any(axis=1)
        beyond |= (shapes.bounds[["minx", "maxx"]].abs() > 540).any(axis=1)
        fix = "are latitude and longitude swapped, or is it in metres of another CRS?"
        checks.append((beyond, f"coordinates outside {frame.crs.name} (degrees): {{bounds}}", fix))
    for wrong, found, fix in checks:
        if (rows := np.flatnonzero(wrong)).size:
            shape = shapes.iloc[rows[0]]
            kind = f"a {shape.geom_type}" if shape is not None else ""
            bounds = ", ".join(f"{v:g}" for v in shape.bounds) if shape is not None else ""
            more = f" (and {rows.size - 1} more)" if rows.size > 1 else ""
            found = found.format(kind=kind, bounds=bounds) + more
            raise DataError(f"{path}, row {rows[0] + 1}", found, "a polygon", fix)


def _finite(shapes: gpd.GeoSeries) -> np.ndarray:
    """Return bool (n,): which shapes have numbers as coordinates."""
    points, of = shapely.get_coordinates(shapes.values, return_index=True)
    fine = np.ones(len(shapes), dtype=bool)
    fine[of[~np.isfinite(points).all(axis=1)]] = False
    return fine


def _covers(shapes: gpd.GeoSeries) -> np.ndarray:
    """Return bool (n,): which polygons have an area; the halves of a bow tie add up to none before it is mended."""
    wide = np.nan_to_num(shapely.area(shapes.values)) > 0
    thin = ~(wide | shapes.isna().to_numpy()) & _finite(shapes)
    wide[thin] = shapely.area(shapely.make_valid(shapes.values[thin])) > 0
    return wide


def _surfaces(shapes: np.ndarray) -> np.ndarray:
    """Return polygons (n,) in two dimensions, without the lines and points that mending left over."""
    shapes = shapely.force_2d(shapes)
    for k in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = shapely.get_parts(shapes[k])
        shapes[k] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return shapes
