"""Grids: where the pixels of a raster lie. Two rasters are *co-registered* if they have one grid.

Source: GDAL raster data model (affine geotransform, pixel corners).
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from rtslib.data.crs import horizontal, same_crs
from rtslib.errors import DataError, one_line

#: Two grids are one if their corners differ by less than this part of a pixel.
GRID_TOLERANCE = 0.01


@dataclass(frozen=True)
class Grid:
    """The raster geometry of a file; `height` and `width` in px. A vertical CRS is left out (`rtslib.data.crs`)."""

    crs: CRS
    transform: Affine
    height: int
    width: int


def open_raster(path: Path | str) -> rasterio.DatasetReader:
    """Open a raster for reading. Raises DataError when it is missing or none that GDAL knows."""
    if not Path(path).is_file():
        raise DataError(path, "a folder" if Path(path).is_dir() else "no such file", "a GeoTIFF")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # read_grid says it as an error
            return rasterio.open(path)
    except RasterioError as e:
        raise DataError(path, f"no readable raster: {one_line(e)}", "a GeoTIFF") from e


def rename(files: Iterable[Path]) -> str:
    """Return what to do where files are looked for by `*.tif`, and some have an ending much like it; else ""."""
    return "names have to end in .tif" if any(f.suffix.lower() in (".tif", ".tiff") for f in files) else ""


def check_bands(file: rasterio.DatasetReader) -> None:
    """Raise DataError for what holds other rasters but no band of its own, such as NetCDF."""
    if not file.count:
        inner = ", ".join(file.subdatasets[:5]) or "none"
        found = f"a container without bands of its own (datasets in it: {inner})"
        raise DataError(file.name, found, "a raster", "take one out with gdal_translate")


def north_up(transform: Affine) -> bool:
    """Tell whether rows run from north to south, and columns from west to east."""
    return not (transform.b or transform.d) and transform.a > 0 > transform.e


def read_grid(file: rasterio.DatasetReader) -> Grid:
    """Return the grid of an open raster.

    Raises:
        DataError: a container of rasters; no CRS, or none on Earth; rotated, not north up.
    """
    t = file.transform
    check_bands(file)
    if file.crs is None:
        points = file.gcps[0]
        found = "ground control points in place of a grid" if points else "no CRS"
        raise DataError(file.name, found, "a raster with a CRS", "warp it with gdalwarp" if points else "")
    if t.b or t.d:
        raise DataError(file.name, "a rotated grid", "a north-up grid", "warp it with gdalwarp")
    if t.a <= 0 or t.e >= 0:
        found = f"pixels of {t.a:g} x {t.e:g} map units, so rows or columns that run the other way"
        raise DataError(file.name, found, "a north-up grid", "warp it with gdalwarp")
    return Grid(horizontal(file.crs, file.name), t, file.height, file.width)


def check_same_grid(path: Path | str, grid: Grid, first_path: Path | str, first: Grid) -> None:
    """Raise DataError unless `grid` is `first`: same size, CRS, and corners within 1 % of a pixel."""
    if (grid.height, grid.width) != (first.height, first.width):
        expected = f"{first.height} x {first.width} px as {first_path}"
        raise DataError(path, f"{grid.height} x {grid.width} px", expected)
    if not same_crs(grid.crs, first.crs):
        raise DataError(path, f"CRS {grid.crs}", f"{first.crs} as {first_path}")
    a, b = grid.transform, first.transform
    across = [(a.c - b.c + end * (a.a - b.a)) / b.a for end in (0, grid.width)]
    down = [(a.f - b.f + end * (a.e - b.e)) / b.e for end in (0, grid.height)]
    shift = max(map(abs, across + down))
    if shift > GRID_TOLERANCE:
        found = f"a grid {shift:.3g} px off {first_path}"
        raise DataError(path, found, "aligned grids", "warp both to one grid")


def pixel_size(grid: Grid) -> tuple[float, float]:
    """Return (width, height) of a pixel in metres; `grid.crs` has to be projected."""
    metres = grid.crs.linear_units_factor[1]
    return grid.transform.a * metres, -grid.transform.e * metres
