"""Numbers of a raster: how large they are, how many mean nothing, and which look as if they did.

A large raster is read at every n-th row and column, so that at most about `MOST` pixels a band are looked at.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio

from rtslib.data.layers import Layer, mask_bands, read_raw

#: Most pixels a band that are looked at.
MOST = 4_000_000
#: Numbers that makers of rasters write where there is nothing.
FILLERS = np.array([-9999, -99999, -32768, -32767, np.finfo(np.float32).min, np.finfo(np.float32).max], np.float64)


class Numbers(NamedTuple):
    """Of one band, as stored.

    Attributes:
        low, high, most: least, largest valid number, and that which 99 % are below; None if none is valid.
        void, nan, filler: shares of pixels (0-1) that are void, that are NaN and those of `FILLERS` without being void.
        mask, labels: whether it is a mask of the others, or holds only 0 and 1, as integers.
        step: of how many rows, and columns, one was read.
    """

    low: float | None
    high: float | None
    most: float | None
    void: float
    nan: float
    filler: float
    mask: bool
    labels: bool
    step: int


def raw_layers(file: rasterio.DatasetReader, path: Path) -> list[Layer]:
    """Return all bands of an open raster, named or not, as they are stored, with the mask that they have.

    Raises:
        DataError: the pixels cannot be read.
    """
    masks = mask_bands(file, path)
    return [Layer("", path, k, 1, 0, masks[0] if masks and k not in masks else 0) for k in file.indexes]


def look(file: rasterio.DatasetReader, layers: Sequence[Layer]) -> list[Numbers]:
    """Look at bands of an open raster. Raises rasterio's RasterioError where pixels cannot be read."""
    step = max(1, math.ceil(math.sqrt(file.height * file.width / MOST)))
    shape = (math.ceil(file.height / step), math.ceil(file.width / step))
    masks = {layer.alpha for layer in layers}
    return [_numbers(*read_raw(file, layer, None, shape), layer.index in masks, step) for layer in layers]


def _numbers(values: np.ndarray, valid: np.ndarray, mask: bool, step: int) -> Numbers:
    values = np.abs(values) if np.iscomplexobj(values) else values
    nan = np.isnan(values)
    good = values[valid & ~nan]
    fillers = np.isin(good.astype(np.float64), FILLERS).sum() / nan.size
    labels = values.dtype.kind in "iu" and bool(np.isin(good, (0, 1)).all())
    low, high, most = (
        map(float, (good.min(), good.max(), np.percentile(good[np.isfinite(good)], 99))) if good.size else (None,) * 3
    )
    return Numbers(low, high, most, float(1 - valid.mean()), float((nan & valid).mean()), float(fillers), mask, labels,
                   step)  # fmt: skip
