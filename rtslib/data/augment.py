"""Augmentation: what of a training chip is shown, and how it is sized, turned and lit, from a random source alone.

The eight flips and quarter turns of the square (dihedral group D4), as aerial imagery has no up; photometric jitter
on the true-colour bands, as seasons and sensors differ; a random crop, where slumps are small and chips are large; a
random scale, since slumps are of any size. Slumps of other chips: `rtslib.data.paste`.

Shaded relief shows the sun from the north-west and a turned one does not; that is accepted, since slumps face any
way and a fixed sun would tie their look to their aspect. A resized chip keeps the values of all its bands, also of
those that depend on scale (slope, shaded relief, relative elevation): what is shown is the same ground seen with
larger or smaller pixels, not steeper or flatter ground. That makes the scale jitter of Ghiasi et al. 2021 (arXiv
2012.07177) one of pixel size alone.
"""

import numpy as np
import torch
from torch.nn import functional as F

from rtslib.data.masks import MIN_PIXELS

#: Bands that photometric jitter touches, and its half widths around 1 (the knob `jitter` multiplies them).
IMAGERY = ("red", "green", "blue")
BRIGHTNESS, CONTRAST = 0.1, 0.2


def crop_window(masks: np.ndarray, side: int, rng: np.random.Generator, slumps: float = 2 / 3) -> tuple[slice, slice]:
    """Choose rows and columns of a random crop; most hold a random pixel of a random instance.

    Args:
        masks: bool (N, H, W).
        side: px; a chip that is smaller is taken whole along that axis.
        rng: source of the choice.
        slumps: share of crops that are to hold such a pixel.
    """
    at: np.ndarray | None = None
    if len(masks) and rng.random() < slumps:
        seen = np.argwhere(masks[int(rng.integers(len(masks)))])
        at = seen[int(rng.integers(len(seen)))] if len(seen) else None
    out = []
    for axis, length in enumerate(masks.shape[1:]):
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


def zoom_factor(jitter: float, rng: np.random.Generator) -> float:
    """Draw a factor log-uniformly from [1 - jitter, 1 / (1 - jitter)]; `jitter` is at least 0 and below 1."""
    reach = -np.log1p(-jitter)
    return float(np.exp(rng.uniform(-reach, reach)))


def framed(
    pixels: np.ndarray, masks: np.ndarray, crop: int, zoom: float, rng: np.random.Generator, slumps: float = 2 / 3,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Cut a chip by `crop_window` and resize what is cut; where either is done, what is left has `MIN_PIXELS`.

    Args:
        pixels: float32 (B, H, W), NaN = nodata.
        masks: bool (N, H, W).
        crop: px a side of the result, whatever the zoom: the window is `crop / zoom` px. A chip smaller than the
            window is taken whole along that axis and stays smaller than `crop`. 0: the whole chip.
        zoom: factor, positive; 1: as it is.
        rng, slumps: of `crop_window`.

    Returns:
        float32 (B, h, w) and bool (n, h, w); may be views of what was given.
    """
    if zoom == 1:
        return cropped(pixels, masks, crop_window(masks, crop, rng, slumps)) if crop else (pixels, masks)
    side = max(1, round(crop / zoom))
    if crop:
        window = crop_window(masks, side, rng, slumps)
        pixels, masks = pixels[:, *window], masks[:, *window]
    h, w = (crop if crop and n == side else max(1, round(n * zoom)) for n in pixels.shape[1:])
    masks = resized_masks(masks[masks.any((1, 2))], (h, w))
    return resized(pixels, (h, w)), masks[masks.sum((1, 2)) >= MIN_PIXELS]


def resized(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize bands bilinearly, with a wider kernel where they shrink; nodata does not bleed.

    Args:
        pixels: float32 (B, H, W), NaN = nodata.
        shape: (h, w) px.

    Returns:
        float32 (B, h, w): the weighted mean of the valid pixels; NaN where they have less than half of the weight.
    """
    if pixels.shape[1:] == shape:
        return pixels
    void = ~np.isfinite(pixels)
    gaps = np.flatnonzero(void.any(axis=(1, 2)))
    if not len(gaps):
        return _interpolated(pixels, shape)
    out = _interpolated(np.where(void, np.float32(0), pixels), shape)
    weight = _interpolated((~void[gaps]).astype(np.float32), shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        out[gaps] = np.where(weight >= 0.5, out[gaps] / weight, np.nan)
    return out


def resized_masks(masks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize masks, bool (N, H, W), to bool (N, h, w): True where the instance has half of the weight or more."""
    if not len(masks) or masks.shape[1:] == shape:
        return np.zeros((0, *shape), dtype=bool) if not len(masks) else masks
    return _interpolated(masks.astype(np.float32), shape) >= 0.5


def _interpolated(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize float32 (C, H, W) bilinearly: weighted means of one kernel, the same for all channels."""
    x, shrinks = torch.from_numpy(np.ascontiguousarray(array))[None], shape[0] < array.shape[1]
    return F.interpolate(x, size=shape, mode="bilinear", antialias=shrinks)[0].numpy()


def turned(array: np.ndarray, turns: int, flip: bool) -> np.ndarray:
    """Copy (..., H, W) turned counter-clockwise by quarter turns, then mirrored left to right if `flip`."""
    out = np.rot90(array, turns, axes=(-2, -1))
    return np.array(out[..., ::-1] if flip else out, order="C")


def jittered(imagery: np.ndarray, rng: np.random.Generator, jitter: float = 1.0, hue: float = 0.0) -> np.ndarray:
    """Scale the brightness and contrast of bands around their means: all bands alike so that hue stays, but for `hue`.

    Args:
        imagery: float32 (B, H, W), NaN = nodata, any unit.
        rng: source of the factors.
        jitter: multiplies the half widths `BRIGHTNESS` and `CONTRAST`, in which the two factors are uniform around 1.
        hue: each band is multiplied by a further factor of its own, uniform in 1 +- `hue`, as sensors differ.

    Returns:
        float32 (B, H, W); NaN stays NaN.
    """
    brightness = np.float32(rng.uniform(1 - BRIGHTNESS * jitter, 1 + BRIGHTNESS * jitter))
    contrast = np.float32(rng.uniform(1 - CONTRAST * jitter, 1 + CONTRAST * jitter))
    finite = np.isfinite(imagery)
    count = np.maximum(finite.sum(axis=(1, 2), keepdims=True), 1)
    mean = (np.where(finite, imagery, 0).sum(axis=(1, 2), keepdims=True) / count).astype(np.float32)
    out = (imagery - mean) * contrast + mean * brightness
    if hue:
        out *= rng.uniform(1 - hue, 1 + hue, (len(out), 1, 1)).astype(np.float32)
    return out
