"""Warping: one band of a raster read on another grid, with its validity.

A *layer* is one band of one source (`rtslib.data.region`). On the source's own grid it is read as it is. On any other
it is warped: bilinearly, and with a wider kernel where the source is finer, so that it averages instead of picking.
Each band is warped by itself, since GDAL's warper has one mask for all bands of a file. A pixel is valid if the source
has a valid one under its centre; scale and offset are applied afterwards.

Values do not depend on the window that is read: GDAL warps whole blocks of a fixed layout and keeps them, and the
kernel is the same in all of them. Datasets stay open, for each process and thread by itself.

Source: GDAL warper (GDALWarpOptions: XSCALE, nodata, alpha) and virtual format.
"""

import math
import os
import threading
from functools import lru_cache
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.transform import array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds

from rtslib.bands import BANDS
from rtslib.data.grids import Grid, read_grid
from rtslib.data.layers import Layer, physical, read_raw
from rtslib.errors import DataError, one_line

#: What warped coordinates may be off, px of the source. It cannot be 0: rasterio 1.4 then sets no transformer.
TOLERANCE = 1e-3
#: Points along each edge of an extent as it is brought into another CRS: under 1 m off at 60 degrees of longitude.
EDGE_POINTS = 1000
#: Datasets kept open in each thread.
OPEN_DATASETS = 32

Box = tuple[float, float, float, float]


def read_layer(layer: Layer, grid: Grid, warped: bool, ranges: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """Read a part of one band on a grid.

    Args:
        layer: which band of which source.
        grid: to read on; the source's own unless `warped`.
        warped: whether the source is on another grid.
        ranges: (first, end) row and (first, end) column, px, inside `grid`.

    Returns:
        float32 (h, w) in physical units, NaN = nodata, or not covered by the source.

    Raises:
        DataError: the source cannot be read, holds a value outside its band's range, or NaN where it may have none.
    """
    try:
        first, *turns = _handles.get(
            os.getpid(), _stamp(layer.path), layer if warped else layer.path, grid if warped else None
        )
        if warped:
            values, valid = first.read(1, window=ranges), first.read(2, window=ranges) > 0
            for file in turns:
                more = ~valid & (file.read(2, window=ranges) > 0)
                values, valid = np.where(more, file.read(1, window=ranges), values), valid | more
        else:
            values, valid = read_raw(first, layer, ranges)
    except (RasterioError, CPLE_BaseError) as e:
        raise DataError(layer.path, f"unreadable pixels: {one_line(e)}", "a whole raster") from e
    if warped:  # in float64 a mean of ones may be 1 + 2e-16, out of range
        values = np.where(valid, values, 0).astype(np.float32)
    return physical(layer, values, valid)


def box_in(grid: Grid, crs: CRS, path: Path | str) -> Box:
    """Return a grid's (left, bottom, right, top) in another CRS, map units of it; in degrees on beyond 180.

    Raises:
        DataError: it cannot be mapped there, or lies across an edge of that CRS.
    """
    bounds = array_bounds(grid.height, grid.width, grid.transform)
    try:
        box = bounds if crs == grid.crs else transform_bounds(grid.crs, crs, *bounds, densify_pts=EDGE_POINTS)
    except (RasterioError, CPLE_BaseError):
        box = (math.inf,) * 4
    if crs.is_geographic and box[0] > box[2]:  # what GDAL says of one across 180 degrees
        box = (box[0], box[1], box[2] + 360, box[3])
    if not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
        found = f"an extent that has no place in {crs}, or one across its edge"
        raise DataError(path, found, "one that can be mapped", "take a projected CRS made for the place")
    return box


def overlap(path: Path | str, source: Grid, grid: Grid) -> Box:
    """Return the overlap of a source with the region's grid, in the region's CRS; empty if right <= left or so."""
    b = array_bounds(grid.height, grid.width, grid.transform)
    a = box_in(source, grid.crs, path)
    a = turned(a, b) if grid.crs.is_geographic else a
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def turned(box: Box, other: Box) -> Box:
    """Return a box in degrees, turned by whole circles to lie about another: 181 for -179."""
    by = 360 * round((other[0] + other[2] - box[0] - box[2]) / 720)
    return box[0] + by, box[1], box[2] + by, box[3]


def _stamp(path: Path | str) -> tuple[int, int] | None:
    """Size and time of a local file, so that one that was replaced is opened anew; None for others."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


class _Handles(threading.local):
    """Open datasets of one thread, as GDAL's must not be shared; keys hold the process id, for those that fork."""

    def __init__(self) -> None:
        self.get = lru_cache(OPEN_DATASETS)(_handle)


def _handle(
    process: int, stamp: object, what: Layer | str, grid: Grid | None
) -> tuple[rasterio.DatasetReader | WarpedVRT, ...]:
    """Open a source as it is (a path), or one band of it warped to a grid (a layer): band 1 values, band 2 validity.

    A source in degrees is opened once for each turn of it that meets the grid (`_turns`).
    """
    if isinstance(what, str):
        return (rasterio.open(what),)
    with rasterio.open(what.path) as file:
        source = read_grid(file)
        scale = _kernel_scale(source, what.path, grid)
        nodata = what.nodata
        if nodata is None and what.alpha:
            nodata = file.nodatavals[what.index - 1]
        xml = _one_band(file, what)
    if nodata is None and BANDS[what.name].may_be_nan:
        nodata = math.nan  # such NaN is a void, which must not spread to what is averaged with it
    return tuple(
        WarpedVRT(
            rasterio.open(xml), src_crs=source.crs, src_transform=Affine.translation(by, 0) @ source.transform,
            src_nodata=nodata, nodata=None, add_alpha=True, crs=grid.crs, transform=grid.transform, height=grid.height,
            width=grid.width, dtype="float64", resampling=Resampling.bilinear, tolerance=TOLERANCE, XSCALE=scale[0],
            YSCALE=scale[1],
        )
        for by in _turns(source, grid)
    )  # fmt: skip


def _turns(source: Grid, grid: Grid) -> list[float]:
    """Return by how many degrees a source is moved to lie on a grid: whole circles, several where it meets it so.

    PROJ brings map units to longitudes from -180 to 180, and moves none between two CRSs in degrees.
    """
    if not source.crs.is_geographic:
        return [0.0]
    west, _, east, _ = array_bounds(source.height, source.width, source.transform)
    ends = (-180.0, 180.0)
    if grid.crs.is_geographic:
        ends = array_bounds(grid.height, grid.width, grid.transform)[::2]
    rounding = 1e-9  # degrees
    return [by for by in (0.0, -360.0, 360.0, -720.0, 720.0)
            if min(east + by, ends[1]) - max(west + by, ends[0]) > rounding] or [0.0]  # fmt: skip


def _one_band(file: rasterio.DatasetReader, layer: Layer) -> str:
    """Return a VRT of one band and its validity: GDAL's warper takes one mask for all bands of a file."""
    name = escape(file.files[0])
    source = (
        '<SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename><SourceBand>{}</SourceBand></SimpleSource>'
    )
    values, mask = (source.format(name, k) for k in (layer.index, layer.alpha or f"mask,{layer.index}"))
    masked = bool(layer.alpha) or MaskFlags.alpha not in file.mask_flag_enums[layer.index - 1]
    mask = f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>' if masked else ""
    return (
        f'<VRTDataset rasterXSize="{file.width}" rasterYSize="{file.height}">'
        f"<GeoTransform>{', '.join(map(repr, file.transform.to_gdal()))}</GeoTransform>"
        f'<VRTRasterBand dataType="Float64" band="1">{values}</VRTRasterBand>'
        f"{mask}</VRTDataset>"
    )


def _kernel_scale(source: Grid, path: Path | str, grid: Grid) -> tuple[float, float]:
    """Return the region's pixels per source pixel along x and y of the source, at most 1.

    GDAL would take it from each block's outline, so that averaging would change along a coast; this is that at the
    middle of the overlap.
    """
    left, bottom, right, top = overlap(path, source, grid)
    x, y, (dx, dy) = (left + right) / 2, (bottom + top) / 2, (grid.transform.a, -grid.transform.e)
    columns, rows = ~source.transform @ np.array(transform(grid.crs, source.crs, [x, x + dx, x], [y, y, y + dy]))
    return tuple(1 / max(np.hypot(v[1] - v[0], v[2] - v[0]), 1) for v in (columns, rows))


_handles = _Handles()
