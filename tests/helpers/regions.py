"""Rasters of constants and planes on several grids, for tests of regions."""

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.warp import transform

UTM, POLAR = "EPSG:32608", "EPSG:3413"
AT = Affine(10, 0, 500_000, 0, -10, 7_700_000)  # 60 x 80 px of 10 m
SIZE = (60, 80)
FLAT = 255 * np.sin(np.radians(45))


def full(value, shape=SIZE):
    return np.full(shape, value, dtype=np.float64)


def write(path, bands, crs=UTM, at=AT, dtype="float32", nodata=None, scales=None, alpha=None, mask=None):
    """Write {description: (H, W) array} as a GeoTIFF and return its path as text; "-..." leaves a band unnamed."""
    arrays = [np.asarray(a) for a in bands.values()]
    height, width = arrays[0].shape
    profile = {"driver": "GTiff", "count": len(arrays), "dtype": dtype, "height": height, "width": width}
    with rasterio.open(path, "w", **profile, crs=crs, transform=at, nodata=nodata, photometric="minisblack") as file:
        for k, (name, array) in enumerate(bands.items(), start=1):
            file.write(array.astype(dtype), k)
            if not name.startswith("-"):
                file.set_band_description(k, name.rstrip("+"))
        if scales:
            file.scales = scales
        if alpha:
            kinds = [ColorInterp.gray] + [ColorInterp.undefined] * (len(arrays) - 1)
            kinds[alpha - 1] = ColorInterp.alpha
            file.colorinterp = kinds
        if mask is not None:
            file.write_mask(mask)
    return str(path)


def polar_grid(pixel, shape):
    """Return a transform in EPSG:3413 whose `shape` lies around the middle of the UTM raster."""
    (x,), (y,) = transform(UTM, POLAR, [500_400], [7_699_700])
    return Affine(pixel, 0, x - pixel * shape[1] / 2, 0, -pixel, y + pixel * shape[0] / 2)
