"""Outlines: the polygons of many masks at once.

To outline one mask, GDAL is set up and a raster is made, which takes longer than following the edges of a few hundred
pixels. So masks are laid side by side on *sheets*, each with a number of its own, and a sheet is outlined in one go;
two that lie next to each other stay apart, as their numbers differ. Polygons are the same as those of
`rtslib.data.masks.mask_to_polygon`, mask by mask.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from shapely.geometry import shape

from rtslib.data.masks import mask_to_polygon

SIDE = 2048  # px of a sheet
MOST = 512  # px a side; larger masks are outlined by themselves


def outlines(masks: Sequence[np.ndarray], transforms: Sequence[Affine]) -> np.ndarray:
    """Outline masks along their pixel edges, holes kept.

    Args:
        masks: bool (H, W) each.
        transforms: of each, from its pixels (x right, y down) to map coordinates.

    Returns:
        Object array (n,) of shapely geometries, each as `mask_to_polygon` gives it.
    """
    out = np.empty(len(masks), dtype=object)
    small = [i for i, mask in enumerate(masks) if max(mask.shape) <= MOST]
    for i in set(range(len(masks))) - set(small):
        out[i] = mask_to_polygon(masks[i], transforms[i])
    for numbers, sheet, corners in _sheets(masks, small):
        parts: list[list] = [[] for _ in numbers]
        for part, value in rasterio.features.shapes(sheet, mask=sheet > 0, connectivity=4):
            parts[int(value) - 1].append(shape(part))
        found = np.array([shapely.unary_union(p) if p else shapely.Polygon() for p in parts])
        coordinates, whose = shapely.get_coordinates(found, return_index=True)
        x, y = (coordinates - corners[whose]).T
        a, b, c, d, e, f = np.array([transforms[i][:6] for i in numbers], dtype=float)[whose].T
        out[numbers] = shapely.set_coordinates(found, np.stack([a * x + b * y + c, d * x + e * y + f], axis=1))
    return out


def _sheets(masks: Sequence[np.ndarray], chosen: Sequence[int]) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Lay masks on sheets, row by row.

    Yields:
        Which masks; the sheet, int32, 0 or the place of a mask among these, counted from 1; the upper left corner of
        each on it, float (n, 2), x and y.
    """
    sheet = np.zeros((SIDE, SIDE), np.int32)
    numbers, corners, row, col, tallest = list[int](), list[tuple[int, int]](), 0, 0, 0
    for i in chosen:
        h, w = masks[i].shape
        if col + w > SIDE:
            row, col, tallest = row + tallest, 0, 0
        if row + h > SIDE:
            yield numbers, sheet[: row + tallest], np.array(corners, dtype=float)
            sheet = np.zeros_like(sheet)
            numbers, corners, row, col, tallest = [], [], 0, 0, 0
        numbers.append(i)
        corners.append((col, row))
        sheet[row : row + h, col : col + w][masks[i]] = len(numbers)
        col, tallest = col + w, max(tallest, h)
    if numbers:
        yield numbers, sheet[: row + tallest], np.array(corners, dtype=float)
