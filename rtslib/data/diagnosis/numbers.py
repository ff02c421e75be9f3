"""Numbers of a raster: how large they are, how many mean nothing, and which look as if they did.

A large raster is read at every n-th row and column, so that at most about `MOST` pixels a band are looked at.
"""

import math
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

#: Most pixels a band that are looked at.
MOST = 4_000_000
#: Numbers that makers of rasters write where there is nothing.
FILLERS = np.array([-9999, -99999, -32768, -32767, np.finfo(np.float32).min, np.finfo(np.float32).max], np.float64)
#: Side of the squares in which a border is looked for, px that were read.
CORNER = 8


class Numbers(NamedTuple):
    """Of one band, as stored.

    Attributes:
        low, high: least and largest valid number; None if none is valid.
        void, nan, filler: shares of pixels (0-1) that are void, that are NaN and those of `FILLERS` without being void.
        mask, labels: whether there are only 0 and the full value, or only 0 and 1, as integers.
        corners: the one valid number of each corner square; None where it has several.
        step: of how many rows, and columns, one was read.
    """

    low: float | None
    high: float | None
    void: float
    nan: float
    filler: float
    mask: bool
    labels: bool
    corners: tuple[float | None, ...]
    step: int


def look(file: rasterio.DatasetReader) -> list[Numbers]:
    """Look at every band of an open raster. Raises rasterio's RasterioError where pixels cannot be read."""
    step = max(1, math.ceil(math.sqrt(file.height * file.width / MOST)))
    shape = (math.ceil(file.height / step), math.ceil(file.width / step))
    return [_numbers(file, k, shape, step) for k in file.indexes]


def border(numbers: list[Numbers]) -> tuple[float, ...] | None:
    """Return the numbers, one a band, of a corner in which no band varies, though they do elsewhere; else None."""
    if all(band.low == band.high for band in numbers):
        return None
    for corner in zip(*(band.corners for band in numbers)):
        known = tuple(value for value in corner if value is not None)
        if len(known) == len(numbers):
            return known
    return None


def _numbers(file: rasterio.DatasetReader, k: int, shape: tuple[int, int], step: int) -> Numbers:
    values = file.read(k, out_shape=shape)
    values = np.abs(values) if np.iscomplexobj(values) else values
    alpha = file.colorinterp[k - 1] == ColorInterp.alpha
    valid = np.ones(shape, bool) if alpha else file.read_masks(k, out_shape=shape) > 0
    nan = np.isnan(values)
    good = values[valid & ~nan]
    whole = values.dtype.kind in "iu"
    full = np.iinfo(values.dtype).max if whole else 1
    fillers = np.isin(good.astype(np.float64), FILLERS).sum() / nan.size
    return Numbers(
        float(good.min()) if good.size else None, float(good.max()) if good.size else None,
        float(1 - valid.mean()), float((nan & valid).mean()), float(fillers),
        bool(np.isin(good, (0, full)).all()), whole and bool(np.isin(good, (0, 1)).all()),
        tuple(_only(values[at], valid[at]) for at in _corners(*shape)), step,
    )  # fmt: skip


def _corners(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return the squares in the corners of an array that is large enough to have any."""
    if min(height, width) < 4 * CORNER:
        return []
    ends = (slice(None, CORNER), slice(-CORNER, None))
    return [(rows, columns) for rows in ends for columns in ends]


def _only(values: np.ndarray, valid: np.ndarray) -> float | None:
    return float(values.flat[0]) if valid.all() and (values == values.flat[0]).all() else None
