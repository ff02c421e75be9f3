"""Areas of interest: one grid over polygons, and where it is on the globe.

The grid lies over the polygons' bounding box with its corner at whole multiples of the pixel size, so that whatever is
fetched of an area, today or later, from one catalog or another, has the same pixels.

An area across the antimeridian is two polygons in longitude and latitude, as GeoJSON has it (RFC 7946, 3.1.9).
"""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import array_bounds
from rasterio.warp import transform

from rtslib.data.grids import Grid
from rtslib.data.vectors import read_polygons
from rtslib.errors import ConfigError, DataError, one_line

#: Pixels of a file from which on a wrong pixel size is likelier than an area of that size.
MOST_PIXELS = 10**10


def grid_over(aoi: Path, crs: str, pixel_size: float) -> Grid:
    """Return the grid over the polygons of a file.

    Args:
        aoi: vector file of polygons.
        crs: of the grid, projected; "" takes the UTM zone of the area's middle.
        pixel_size: map units of `crs`, above 0.

    Raises:
        ConfigError: no such CRS, one in degrees, a pixel size that gives no or too many pixels, or an area for which no
            UTM zone can be told.
        DataError: the file cannot be read, or holds no area in that CRS.
    """
    if not (pixel_size > 0 and np.isfinite(pixel_size)):
        raise ConfigError(f"--pixel-size {pixel_size}: give the side of a pixel in map units, above 0")
    system = _system(crs) if crs else _utm(read_polygons(aoi, "EPSG:4326"), aoi)
    left, bottom, right, top = read_polygons(aoi, system).total_bounds / pixel_size
    if not np.isfinite([left, bottom, right, top]).all() or left >= right or bottom >= top:
        raise DataError(aoi, f"no area in {system}", "polygons with one", "take a CRS made for the place")
    rounding = 1e-6  # px that the way through the CRS may add
    col, row = np.floor(left + rounding), np.ceil(top - rounding)
    width, height = np.ceil(right - rounding) - col, row - np.floor(bottom + rounding)
    if max(right - left, top - bottom) < 1:
        raise ConfigError(f"--pixel-size {pixel_size:g} makes one pixel of all of {aoi}: take smaller pixels")
    if width * height > MOST_PIXELS:
        raise ConfigError(f"--pixel-size {pixel_size:g} makes {width:g} x {height:g} px of {aoi}: take larger pixels")
    at = Affine(pixel_size, 0, col * pixel_size, 0, -pixel_size, row * pixel_size)
    return Grid(system, at, int(max(height, 1)), int(max(width, 1)))


def _system(crs: str) -> rasterio.CRS:
    try:
        with rasterio.Env():  # where PROJ's own words would go to stderr
            system = rasterio.CRS.from_user_input(crs)
    except CRSError as e:
        raise ConfigError(f"--crs {crs!r} is none ({one_line(e)}): give one such as EPSG:3413") from e
    if not system.is_projected:
        raise ConfigError(f"--crs {crs} is not projected: give one in metres, such as EPSG:3413 or a UTM zone")
    return system


def _utm(area: gpd.GeoDataFrame, aoi: Path) -> rasterio.CRS:
    """Return the UTM zone of the middle of an area in longitude and latitude."""
    west, south, east, north = area.total_bounds
    if not np.isfinite([west, south, east, north]).all():
        raise DataError(aoi, "no polygon", "at least one")
    if east - west > 180 or east > 180 or west < -180:
        raise ConfigError(f"{aoi} lies across 180 degrees: give --crs, such as EPSG:3413")
    try:
        return rasterio.CRS.from_epsg(area.estimate_utm_crs().to_epsg())
    except RuntimeError:
        raise ConfigError(f"{aoi} lies beyond all UTM zones: give --crs, such as EPSG:3413") from None


def outline(grid: Grid) -> shapely.Geometry:
    """Return a grid's outline in longitude and latitude, in two parts where it crosses the antimeridian.

    Raises:
        DataError: it holds a pole, or has no place on the globe.
    """
    box = shapely.box(*array_bounds(grid.height, grid.width, grid.transform))
    edge = shapely.segmentize(box.exterior, box.length / 200)
    x, y = shapely.get_coordinates(edge).T
    try:
        lon, lat = np.array(transform(grid.crs, "EPSG:4326", x, y))
    except (RasterioError, CPLE_BaseError):
        lon = lat = np.full(1, np.nan)
    expected = "one on the globe, without a pole"
    if not np.isfinite([lon, lat]).all():
        raise DataError("area of interest", f"a corner that has no place on the globe from {grid.crs}", expected)
    lon = np.unwrap(lon, period=360)
    if abs(lon[-1] - lon[0]) > 180:
        raise DataError("area of interest", "a pole in it", expected, "fetch it in parts")
    lon -= 360 * np.floor((lon.min() + 180) / 360)
    around = shapely.make_valid(shapely.polygons(np.column_stack([lon, lat])))
    east = shapely.transform(around & shapely.box(180, -90, 540, 90), lambda at: at - (360, 0))
    pieces = shapely.get_parts(shapely.get_parts([around & shapely.box(-180, -90, 180, 90), east]))
    return shapely.union_all([p for p in pieces if p.area])  # what only touches 180 degrees is a line
