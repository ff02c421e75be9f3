"""Regions: any rasters of one place, each on its own grid, read as named bands on ONE grid.

A *region* is what `rtslib.data.rasters.Stack` is for co-registered files, for any that GDAL opens (GeoTIFF, COG, VRT; a
path, a URL, `/vsicurl/...`) and of any CRS, resolution, nodata and extent. A *source* is one of them, with names for
its bands. The grid is that of one source, or one over all of them in a CRS of choice. A source on the very grid is
read as it is; any other is warped to it bilinearly, and what it does not cover is nodata. NDVI, NDWI, relative
elevation and shaded relief are derived where no source has them, or in the way of a model's chips (`deriving`).
Nothing is held but the window being read and GDAL's block cache, so that the size of a mosaic does not matter.

Headers are checked when a region is opened, values when they are read (`rtslib.data.warp`). A window gives what reading
the whole and cutting would give, since derived bands read a margin.

Sources: GDAL raster data model (scale, offset, masks); `rtslib.data.derive` for derived bands.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import array_bounds

from rtslib.bands import BANDS
from rtslib.data.crs import horizontal
from rtslib.data.grids import Grid, check_same_grid, open_raster, read_grid
from rtslib.data.layers import SKIP, Layer, check_once, file_layers
from rtslib.data.rasters import Stack, derivable
from rtslib.data.warp import box_in, overlap, read_layer, turned
from rtslib.errors import ConfigError, DataError, one_line

#: Times that the grid's pixels may be finer than those of the finest source, and coarser than those of the coarsest.
FINER, COARSER = 10_000, 1000
#: What to do about a source's names.
NAMES = "name the bands, - skips one: PATH=red,-,nir"


@dataclass(frozen=True)
class Source:
    """A raster: what GDAL opens, and a name for each of its bands (`-` skips one); () takes their descriptions."""

    path: str
    bands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Region(Stack):
    """Rasters as named bands on one grid; made by `open_region`, and used as a `Stack` is. Can be pickled.

    Pixels that a source does not cover are NaN.

    Attributes:
        layers: the bands of the sources, in their order.
        derived: names of the bands computed from them.
        grid: the one that all are read on.
        warped: paths of the sources that are not on it.
    """

    layers: tuple[Layer, ...]
    warped: tuple[str, ...] = ()

    def _read_layers(
        self, layers: Sequence[Any], ranges: tuple[tuple[int, int], tuple[int, int]]
    ) -> dict[str, np.ndarray]:
        return {layer.name: read_layer(layer, self.grid, layer.path in self.warped, ranges) for layer in layers}


def parse_source(text: str) -> Source:
    """Read `PATH` or `PATH=red,green,blue,-,nir`; an "=" in a URL that no names follow belongs to the URL.

    Raises:
        ConfigError: what follows the last "=" is meant as names, but has one that `rtslib.bands.BANDS` has not.
    """
    path, equals, tail = text.rpartition("=")
    names = tuple(tail.split(","))
    known = [n in BANDS or n == SKIP for n in names]
    if equals and all(known):
        return Source(path, names)
    meant = os.path.exists(path) or (not _remote(text) and not os.path.exists(text))
    if equals and (meant or any(n in BANDS for n in names)):
        wrong = names[known.index(False)]
        raise ConfigError(f"source {text!r} names a band {wrong!r}: take {', '.join(BANDS)}, or - to skip one")
    return Source(text)


def open_region(
    sources: Sequence[Source | str], reference: int | None = 0, crs: object = None, pixel_size: float | None = None
) -> Region:
    """Open rasters as one region; reads headers only.

    Args:
        sources: the rasters, or texts for `parse_source`.
        reference: number of the source whose grid is taken, from 0; unused with `crs` and `pixel_size`.
        crs: CRS of the grid, whatever rasterio takes for one; goes with `pixel_size`.
        pixel_size: side of a pixel in map units of `crs`. The grid then covers all sources, north up, with its
            corner at whole multiples of this.

    Raises:
        ConfigError: no grid is chosen, `crs` or `pixel_size` is no such thing or lacks the other, `reference` is out
            of range, or a text names an unknown band.
        DataError: no source; one that is missing or no raster; no CRS; a grid that is rotated or not north up; a band
            unnamed, unknown or repeated; names more or fewer than bands; a complex dtype; a broken scale; an alpha
            band taken for data; a source outside the grid; terrain to be derived without pixels in metres, or on
            such of more than 50 m.
    """
    if not sources:
        raise DataError("region", "no source", "at least one raster")
    given = [parse_source(s) if isinstance(s, str) else s for s in sources]
    chosen = _check_choice(len(given), reference, crs, pixel_size)
    layers, grids = [], []
    for source in given:
        with _open(source.path) as file:
            grids.append(read_grid(file))
            layers += file_layers(file, source.path, source.bands, NAMES)
    check_once(layers, "skip one with -")
    paths = [s.path for s in given]
    grid = grids[reference] if chosen is None else _cover(grids, paths, chosen, pixel_size)
    warped = tuple(path for path, g in zip(paths, grids) if not _same(g, grid))
    for path, g in zip(paths, grids):
        if path in warped:
            _check_overlap(path, g, grid)
    derived = derivable(layers, grid, "give crs and pixel_size in metres, or supply these bands")
    return Region(tuple(layers), derived, grid, warped)


def _check_choice(count: int, reference: int | None, crs: object, pixel_size: float | None) -> CRS | None:
    """Return the CRS that was asked for, None where a source gives the grid. Raises ConfigError."""
    if (crs is None) != (pixel_size is None):
        raise ConfigError(f"crs={crs} and pixel_size={pixel_size} make no grid: give both, or neither")
    if crs is None:
        if reference is None or not 0 <= reference < count:
            raise ConfigError(f"reference={reference} is none of {count} sources, which count from 0: take one, or crs")
        return None
    if not (pixel_size > 0 and math.isfinite(pixel_size)):
        raise ConfigError(f"pixel_size={pixel_size}: give the side of a pixel in map units of {crs}, above 0")
    try:
        with rasterio.Env():  # where PROJ's own words would go to stderr
            return horizontal(CRS.from_user_input(crs), f"crs={crs}")
    except CRSError as e:
        raise ConfigError(f"crs={crs!r} is none ({one_line(e)}): give one such as EPSG:3413") from e


def _remote(path: str) -> bool:
    return "://" in path or path.startswith("/vsi")


def _open(path: str) -> rasterio.DatasetReader:
    """Open what GDAL can, path or URL. Raises DataError."""
    if not _remote(path):
        return open_raster(Path(path))
    try:
        return rasterio.open(path)
    except RasterioError as e:
        raise DataError(path, f"no readable raster: {one_line(e)}", "one that GDAL opens") from e


def _same(a: Grid, b: Grid) -> bool:
    try:
        check_same_grid("a", a, "b", b)
    except DataError:
        return False
    return True


def _cover(grids: Sequence[Grid], paths: Sequence[str], crs: CRS, size: float) -> Grid:
    """Return the north-up grid over all extents, its corner at whole multiples of the pixel size."""
    found = [box_in(g, crs, p) for g, p in zip(grids, paths)]
    boxes = np.array([turned(b, found[0]) for b in found] if crs.is_geographic else found)
    _check_size(boxes, grids, crs, size)
    boxes /= size
    rounding = 1e-6  # px that the way through the CRS may add
    left, bottom = np.floor(boxes[:, :2].min(axis=0) + rounding).astype(int).tolist()
    right, top = np.ceil(boxes[:, 2:].max(axis=0) - rounding).astype(int).tolist()
    corner = Affine(size, 0, left * size, 0, -size, top * size)
    return Grid(crs, corner, max(top - bottom, 1), max(right - left, 1))


def _check_size(boxes: np.ndarray, grids: Sequence[Grid], crs: CRS, size: float) -> None:
    """Refuse pixels that make no grid, or one far coarser than any source. Raises ConfigError."""
    unit = "degrees" if crs.is_geographic else crs.linear_units
    width, height = (float(boxes[:, 2 + k].max() - boxes[:, k].min()) / size for k in (0, 1))
    own = [(b[2] - b[0]) / g.width for b, g in zip(boxes, grids)]
    if max(width, height) > 2**31 - 1 or size * FINER < min(own):  # GDAL counts in 32 bit
        found = f"{width:,.0f} x {height:,.0f} px, about {width * height / 256**2:,.0f} windows of 256 px"
        fix = f"the finest source has pixels of {min(own):.3g}"
        raise ConfigError(f"pixel_size={size:g} ({unit} of {crs}) makes a grid of {found}: take a larger one, {fix}")
    if size > COARSER * max(own):
        fix = f"the coarsest source has pixels of {max(own):.3g}"
        raise ConfigError(f"pixel_size={size:g} ({unit} of {crs}) leaves nothing to see: take a smaller one, {fix}")


def _check_overlap(path: str, source: Grid, grid: Grid) -> None:
    left, bottom, right, top = overlap(path, source, grid)
    if left >= right or bottom >= top:
        bounds = ", ".join(f"{v:g}" for v in array_bounds(grid.height, grid.width, grid.transform))
        raise DataError(path, "no part of it on the region's grid", f"one in {bounds}, {grid.crs}", "leave it out")
