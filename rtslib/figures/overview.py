"""Overviews: a scene as a picture small enough for a screen, in true colour or as shaded relief.

An *overview* is a block average of the bands at a whole-number reduction, read tile by tile, so that no
full raster is held. A *stretch* turns its physical values into brightness between the 1st and the 99th
percentile, the same for all three colours so that hues stay. Nodata stays empty (NaN, then transparent).

Pictures are for looking at; nothing is measured on them.
"""

import math
from collections.abc import Sequence

import numpy as np
from affine import Affine
from rasterio.windows import Window

from rtslib.data.rasters import Stack

#: Kinds of picture: name -> the bands it needs, in the order red, green, blue; or one for grey.
PICTURES: dict[str, tuple[str, ...]] = {"True colour": ("red", "green", "blue"), "Shaded relief": ("shaded_relief",)}


def pictures(stack: Stack) -> dict[str, tuple[str, ...]]:
    """Return the kinds of picture that a scene has the bands for, in the order of `PICTURES`."""
    return {name: bands for name, bands in PICTURES.items() if set(bands) <= set(stack.bands)}


def read_overview(stack: Stack, bands: Sequence[str], longest: int = 1600) -> tuple[np.ndarray, Affine]:
    """Read bands reduced to at most `longest` px a side.

    Returns:
        float32 (B, h, w), the mean of the valid pixels of each block, NaN where there is none; and its
        pixel to map transform. Blocks at the right and lower edge may be cut off.
    """
    k = math.ceil(max(stack.height, stack.width) / longest)
    height, width = max(stack.height // k, 1), max(stack.width // k, 1)
    out = np.empty((len(bands), height, width), dtype=np.float32)
    step = max(512 // k, 1)  # a tile, not a strip: what is held does not grow with the width
    for r in range(0, height, step):
        for c in range(0, width, step):
            h, w = min(step, height - r), min(step, width - c)
            full = stack.read(bands, Window(c * k, r * k, min(w * k, stack.width), min(h * k, stack.height)))
            out[:, r : r + h, c : c + w] = _block_mean(full, k)
    return out, stack.transform @ Affine.scale(k)


def _block_mean(values: np.ndarray, k: int) -> np.ndarray:
    """Return the means (B, h, w) of the valid values of k x k blocks of (B, h k, w k); NaN if none."""
    if k == 1:
        return values
    b, h, w = values.shape
    blocks = values[:, : h // k * k, : w // k * k].reshape(b, h // k, k, w // k, k)
    ok = np.isfinite(blocks)
    n = ok.sum(axis=(2, 4))
    total = np.where(ok, blocks, 0).sum(axis=(2, 4))
    return np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(np.float32)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Return the 1st and 99th percentile of the finite values; (0, 1) if there is none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (1, 99))
    return float(low), float(high) if high > low else float(low) + 1


def to_rgba(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stretch values to brightness.

    Args:
        values: float32 (3, h, w) for colour or (1, h, w) for grey, NaN = nodata.
        low, high: values that become black and white.

    Returns:
        uint8 (h, w, 4); alpha 0, and black, where any band has no data.
    """
    ok = np.isfinite(values).all(axis=0)
    bright = np.clip((np.where(ok, values, low) - low) / (high - low), 0, 1)
    rgb = np.broadcast_to((bright * 255).round().astype(np.uint8), (3, *ok.shape))
    return np.dstack([*(rgb * ok), np.where(ok, 255, 0).astype(np.uint8)])
