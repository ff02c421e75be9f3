"""What tests of windows and masks compare with."""

import numpy as np
import rasterio.features
from affine import Affine
from rasterio.windows import Window
from shapely.affinity import affine_transform
from shapely.geometry import MultiPolygon, Polygon

from rtslib.data.windows import starts


def cover(height: int, width: int, window: int, overlap: int) -> list[Window]:
    """Return the windows that cover a raster, row by row.

    Args:
        height, width: of the raster, px.
        window: side of a window, px; a shorter side of the raster is taken whole.
        overlap: the least number of px that neighbours share.

    Returns:
        rasterio windows, all of one size and inside the raster; every pixel is in at least one.

    Raises:
        ConfigError: see `starts`.
    """
    rows, cols = starts(height, window, overlap), starts(width, window, overlap)
    return [Window(c, r, min(window, width), min(window, height)) for r in rows for c in cols]


def polygon_to_mask(
    geometry: Polygon | MultiPolygon, height: int, width: int, transform: Affine = Affine.identity()
) -> np.ndarray:
    """Rasterise a polygon with holes: pixels whose centre lies inside.

    Args:
        geometry: in the coordinates of `transform`.
        height, width: of the grid, px.
        transform: pixel to map coordinates of the grid; may be rotated.

    Returns:
        bool (H, W).

    Raises:
        affine.TransformNotInvertibleError: `transform` has no inverse.
    """
    if geometry.is_empty:
        return np.zeros((height, width), dtype=bool)
    t = ~transform
    in_pixels = affine_transform(geometry, [t.a, t.b, t.d, t.e, t.c, t.f])
    return rasterio.features.rasterize([in_pixels], out_shape=(height, width), dtype="uint8").astype(bool)
