"""Burning: polygons of slumps as numbered pixels of a chip.

A pixel belongs to a slump when its centre does. Each slump keeps a number of its own, so that two that touch stay two;
where polygons overlap the smaller one lies on top. Pieces of fewer than `MIN_PIXELS` are no instances. A slump is *cut*
if part of it lies beyond the chip, beyond the area where slumps were looked for, or where the chip has no data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from affine import Affine

from rtslib.data.masks import MIN_PIXELS


@dataclass(frozen=True)
class Burnt:
    """An instance: its `number` on the chip (from 1), `slump` (row of the truth, from 0), `pixels`, whether `cut`."""

    number: int
    slump: int
    pixels: int
    cut: bool


def burn(
    slumps: Sequence[int], shapes: Sequence[shapely.Geometry], transform: Affine, ground: shapely.Geometry,
    valid: np.ndarray,
) -> tuple[np.ndarray, list[Burnt]]:  # fmt: skip
    """Burn slumps into a chip.

    Args:
        slumps: their rows in the truth.
        shapes: their polygons, in map units.
        transform: of the chip, pixel to map.
        ground: of the chip, as far as slumps were looked for, in map units.
        valid: bool (H, W), True where the chip has data.

    Returns:
        uint16 (H, W), 0 where there is no slump; and the instances, by number.
    """
    if not shapes:
        return np.zeros(valid.shape, np.uint16), []
    order = sorted(range(len(shapes)), key=lambda k: -shapes[k].area)
    burnt = rasterio.features.rasterize(
        [(shapes[k], k + 1) for k in order], out_shape=valid.shape, transform=transform, dtype="uint16"
    )
    whole = np.bincount(burnt.ravel(), minlength=len(shapes) + 1)
    burnt[~valid] = 0
    left = np.bincount(burnt.ravel(), minlength=len(shapes) + 1)
    numbers = np.zeros(len(shapes) + 1, np.uint16)
    found: list[Burnt] = []
    for k, (slump, shape) in enumerate(zip(slumps, shapes), start=1):
        if left[k] >= MIN_PIXELS:
            numbers[k] = len(found) + 1
            cut = bool(left[k] < whole[k] or not ground.covers(shape))
            found.append(Burnt(len(found) + 1, slump, int(left[k]), cut))
    return numbers[burnt], found
