"""Masks: the pixels of one instance, in the three forms that the field passes around.

A *mask* is a bool array (H, W), True on the instance. On disk and between programs it is a
*compressed RLE* (COCO's run lengths, column by column, as a printable string); on a map it is a
*polygon with holes*. Each form turns into the others without loss: a pixel (row r, column c) is the unit
square [c, c + 1] x [r, r + 1] in pixel coordinates (x right, y down), so an outline runs along pixel
edges, and a pixel belongs to a polygon when its centre does.

Sources: pycocotools `mask` (Lin et al. 2014, COCO) for RLE; GDAL polygonize and rasterize through
`rasterio.features`. Label rule (8-connected, at least 10 px): 2026 GeoAI Arctic Challenge.
"""

from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from pycocotools import mask as coco_mask
from scipy import ndimage

if TYPE_CHECKING:
    from shapely.geometry import MultiPolygon, Polygon

#: Components of a label raster with fewer pixels are noise, not instances.
MIN_PIXELS = 10


def encode(mask: np.ndarray) -> dict:
    """Encode a mask as compressed COCO RLE.

    Args:
        mask: bool (H, W).

    Returns:
        `{"size": [H, W], "counts": str}`, ready for JSON.

    Raises:
        ValueError: the mask is not bool or not two-dimensional.
    """
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"a mask is bool (H, W), this is {mask.dtype} {mask.shape}")
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(rle: dict) -> np.ndarray:
    """Decode a compressed RLE (`counts` str or bytes) into a bool mask (H, W)."""
    return np.ascontiguousarray(coco_mask.decode(rle), dtype=bool)


def rle_bbox(rle: dict) -> tuple[float, float, float, float]:
    """Return the box (x, y, w, h) in px along the outer pixel edges; (0, 0, 0, 0) for an empty mask."""
    x, y, w, h = (float(v) for v in coco_mask.toBbox(rle))
    return x, y, w, h


def rle_area(rle: dict) -> int:
    """Return the number of mask pixels."""
    return int(coco_mask.area(rle))


def polygons_to_mask(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    """Rasterise COCO polygons: the union of all rings, as pycocotools scores them.

    Args:
        polygons: rings as flat lists [x1, y1, x2, y2, ...] in px; COCO has no holes. Parts outside
            the image are cut off.
        height, width: of the image, px.

    Returns:
        bool (H, W); all False when nothing is covered.

    Raises:
        ValueError: a ring has fewer than 3 points or an odd count of numbers (pycocotools would take
            four numbers for a box).
    """
    bad = [len(p) for p in polygons if len(p) < 6 or len(p) % 2]
    if bad:
        raise ValueError(f"a polygon ring needs 3 or more x, y pairs, these have {bad} numbers")
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    rings = coco_mask.frPyObjects([[float(v) for v in p] for p in polygons], height, width)
    return decode(coco_mask.merge(rings))


def label_instances(mask: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Split a label raster into instances: 8-connected components of at least `MIN_PIXELS` px.

    Args:
        mask: bool (H, W), True = RTS.

    Returns:
        The instances as bool masks (H, W), in the order of their first pixel by rows, and the number
        of smaller components that were dropped.
    """
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3), dtype=int))
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.flatnonzero(sizes >= MIN_PIXELS) + 1
    return [labels == k for k in kept], len(sizes) - len(kept)


def mask_to_polygon(mask: np.ndarray, transform: Affine = Affine.identity()) -> "Polygon | MultiPolygon":
    """Outline a mask along its pixel edges, holes kept.

    Outlines follow 4-connectivity, because a ring that passes twice through one corner is no valid
    geometry: parts that touch only at a corner become separate parts of one MultiPolygon, and
    rasterising it (a pixel is in if its centre is) gives back exactly the same pixels.

    Args:
        mask: bool (H, W).
        transform: pixel (x right, y down) to map coordinates; identity gives pixel coordinates.

    Returns:
        A valid shapely geometry in the coordinates of `transform`; an empty Polygon for an empty mask.
    """
    # Models and training read this module, and need no geometry: they run where rasterio and shapely are not.
    import rasterio.features
    import shapely
    from shapely.affinity import affine_transform
    from shapely.geometry import Polygon, shape

    parts = [shape(g) for g, _ in rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]
    if not parts:
        return Polygon()
    union = shapely.unary_union(parts)
    t = transform
    return union if t.is_identity else affine_transform(union, [t.a, t.b, t.d, t.e, t.c, t.f])
