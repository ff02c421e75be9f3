"""Augmentation: what of a training chip is shown, and how it is turned and lit, from a random source alone.

The eight flips and quarter turns of the square (dihedral group D4), as aerial imagery has no up; photometric jitter
on the true-colour bands, as seasons and sensors differ; a random crop, where slumps are small and chips are large.
Shaded relief shows the sun from the north-west and a turned one does not; that is accepted, since slumps face any
way and a fixed sun would tie their look to their aspect.
"""

import numpy as np

from rtslib.data.masks import MIN_PIXELS

#: Bands that photometric jitter touches, and its half widths around 1.
IMAGERY = ("red", "green", "blue")
BRIGHTNESS, CONTRAST = 0.1, 0.2


def crop_window(masks: np.ndarray, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Choose rows and columns of a random crop; two in three hold a random pixel of a random instance.

    Args:
        masks: bool (N, H, W).
        side: px; a chip that is smaller is taken whole along that axis.
    """
    shape = masks.shape[1:]
    seen = np.argwhere(masks[int(rng.integers(len(masks)))]) if len(masks) and rng.random() < 2 / 3 else ()
    at = seen[int(rng.integers(len(seen)))] if len(seen) else None
    out = []
    for axis, length in enumerate(shape):
        first, last = 0, max(0, length - side)
        if at is not None:
            first, last = max(0, int(at[axis]) - side + 1), min(last, int(at[axis]))
        start = int(rng.integers(first, last + 1))
        out.append(slice(start, min(start + side, length)))
    return out[0], out[1]


def cropped(pixels: np.ndarray, masks: np.ndarray, window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Cut a chip; what is left of an instance must have `MIN_PIXELS`, as labels have."""
    masks = masks[:, *window]
    return pixels[:, *window], masks[masks.sum((1, 2)) >= MIN_PIXELS]


def turned(array: np.ndarray, turns: int, flip: bool) -> np.ndarray:
    """Copy (..., H, W) turned counter-clockwise by quarter turns, then mirrored left to right if `flip`."""
    out = np.rot90(array, turns, axes=(-2, -1))
    return np.array(out[..., ::-1] if flip else out, order="C")


def jittered(imagery: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale the brightness and contrast of bands around their means, all bands alike so that hue stays.

    Args:
        imagery: float32 (B, H, W), NaN = nodata, any unit.
        rng: source of the two factors, uniform in 1 +- `BRIGHTNESS` and 1 +- `CONTRAST`.

    Returns:
        float32 (B, H, W); NaN stays NaN.
    """
    brightness = np.float32(rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS))
    contrast = np.float32(rng.uniform(1 - CONTRAST, 1 + CONTRAST))
    finite = np.isfinite(imagery)
    count = np.maximum(finite.sum(axis=(1, 2), keepdims=True), 1)
    mean = (np.where(finite, imagery, 0).sum(axis=(1, 2), keepdims=True) / count).astype(np.float32)
    return (imagery - mean) * contrast + mean * brightness
