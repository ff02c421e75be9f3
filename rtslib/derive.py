"""Derived bands: layers computed from measured ones, so that a data set need not ship them.

All functions take and give arrays of one grid (H, W); NaN is nodata and spreads to every pixel whose
formula reads it.

Sources: NDVI, Rouse et al. 1974 (NASA SP-351, 309-317). NDWI, McFeeters 1996 (Int. J. Remote Sensing
17(7), 1425-1432). Shaded relief, Horn 1981 (Proc. IEEE 69(1), 14-47): his weighted 3 x 3 gradient and
a Lambertian surface.
"""

import numpy as np

#: Sun of the shaded relief, degrees: the cartographic convention (north-west, half way up).
AZIMUTH, ALTITUDE = 315.0, 45.0

#: Derived band -> measured bands that it needs, in the order of the bands of a stack.
NEEDS: dict[str, tuple[str, ...]] = {
    "ndvi": ("red", "nir"),
    "ndwi": ("green", "nir"),
    "shaded_relief": ("relative_elevation",),
}

#: Derived band -> how many pixels beyond a window it reads on each side.
MARGIN: dict[str, int] = {"ndvi": 0, "ndwi": 0, "shaded_relief": 1}


def _normalised_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a - b) / (a + b) with negative reflectance taken as 0, so that it stays in [-1, 1]; 0/0 is NaN."""
    a, b = np.maximum(a, 0, dtype=np.float32), np.maximum(b, 0, dtype=np.float32)
    total = a + b
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (a - b) / total, np.nan).astype(np.float32)


def ndvi(red: np.ndarray, nir: np.ndarray) -> np.ndarray:
    """Normalised difference vegetation index, (nir - red) / (nir + red): high on plants (Rouse 1974).

    Args:
        red, nir: (H, W) reflectance, both in the same unit; negative values (a side effect of the
            atmospheric correction over dark pixels) count as 0.

    Returns:
        float32 (H, W) in [-1, 1]; NaN where an input is NaN or both are 0.
    """
    return _normalised_difference(nir, red)


def ndwi(green: np.ndarray, nir: np.ndarray) -> np.ndarray:
    """Normalised difference water index, (green - nir) / (green + nir): high on water (McFeeters 1996).

    Not Gao's index of the same name, which reads the short-wave infrared.

    Args:
        green, nir: (H, W) reflectance, both in the same unit; negative values count as 0.

    Returns:
        float32 (H, W) in [-1, 1]; NaN where an input is NaN or both are 0.
    """
    return _normalised_difference(green, nir)


def shaded_relief(elevation: np.ndarray, pixel_size: tuple[float, float]) -> np.ndarray:
    """Shade a terrain as lit by the sun of `AZIMUTH` and `ALTITUDE`, without cast shadows (Horn 1981).

    With p = dz/dx (east) and q = dz/dy (north) by Horn's weights (1 2 1) / (8 x pixel size), and the sun
    at azimuth A, altitude h:

        255 x max(0, (sin h - cos h (p sin A + q cos A)) / sqrt(1 + p^2 + q^2))

    Flat ground gives 255 sin 45 deg = 180.3. The outermost row and column of the raster are repeated
    outwards for the gradient, so the result has no frame of NaN. Relative elevation (the height above
    its surroundings' mean) serves as elevation: it differs by a smooth surface only, which makes the
    shading approximate.

    Args:
        elevation: (H, W) metres, north up (row 0 is the northern edge); NaN = void.
        pixel_size: (width, height) of a pixel in metres, both positive.

    Returns:
        float32 (H, W) in [0, 255]; NaN where the pixel or one of its eight neighbours is NaN.
    """
    z = np.pad(np.asarray(elevation, dtype=np.float64), 1, mode="edge")
    dx, dy = pixel_size
    west, east = (z[:-2, s] + 2 * z[1:-1, s] + z[2:, s] for s in (slice(None, -2), slice(2, None)))
    north, south = (z[s, :-2] + 2 * z[s, 1:-1] + z[s, 2:] for s in (slice(None, -2), slice(2, None)))
    p, q = (east - west) / (8 * dx), (north - south) / (8 * dy)
    az, alt = np.radians(AZIMUTH), np.radians(ALTITUDE)
    cosine = (np.sin(alt) - np.cos(alt) * (p * np.sin(az) + q * np.cos(az))) / np.sqrt(1 + p**2 + q**2)
    # Horn's gradient does not read the pixel itself: its own void must count too.
    cosine[np.isnan(z[1:-1, 1:-1])] = np.nan
    return (255 * np.maximum(cosine, 0)).astype(np.float32)
