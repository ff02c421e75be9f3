"""Derived bands: layers computed from measured ones, so that a data set need not ship them.

All functions take and give arrays of one grid (H, W); NaN is nodata and spreads to every pixel whose formula reads it.

Sources: NDVI, Rouse et al. 1974 (NASA SP-351, 309-317). NDWI, McFeeters 1996 (Int. J. Remote Sensing
17(7), 1425-1432). Shaded relief, Horn 1981 (Proc. IEEE 69(1), 14-47): his weighted 3 x 3 gradient and
a Lambertian surface. Relative elevation, Nitze et al. 2021 (doi 10.3390/rs13214294).
"""

from collections.abc import Iterable

import numpy as np

#: Sun of the shaded relief, degrees: the cartographic convention (north-west, half way up).
AZIMUTH, ALTITUDE = 315.0, 45.0

#: Radius of the disc whose mean is the reference of relative elevation, metres.
DISC_RADIUS_M = 50.0

#: Derived bands that are of terrain, and computed on pixels of known size.
TERRAIN = ("relative_elevation", "shaded_relief")

#: Derived band -> how many pixels beyond a window it reads on each side.
MARGIN: dict[str, int] = {"ndvi": 0, "ndwi": 0, "shaded_relief": 1}


def needs(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Derived band -> measured ones that rasters with `names` compute it from; the raw DEM shades better."""
    relief = "elevation" if "elevation" in names else "relative_elevation"
    return {
        "ndvi": ("red", "nir"), "ndwi": ("green", "nir"), "shaded_relief": (relief,),
        "relative_elevation": ("elevation",),
    }  # fmt: skip


def _normalised_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a - b) / (a + b) with negative reflectance taken as 0, so that it stays in [-1, 1]; 0/0 is NaN."""
    a, b = np.maximum(a, 0, dtype=np.float32), np.maximum(b, 0, dtype=np.float32)
    total = a + b
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (a - b) / total, np.nan).astype(np.float32)


def ndvi(red: np.ndarray, nir: np.ndarray) -> np.ndarray:
    """Normalised difference vegetation index, (nir - red) / (nir + red): high on plants (Rouse 1974).

    Args:
        red, nir: (H, W) reflectance, both in the same unit; negative values (a side effect of the atmospheric
            correction over dark pixels) count as 0.

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

    With p = dz/dx (east) and q = dz/dy (north) by Horn's weights (1 2 1) / (8 x pixel size), and the sun at azimuth A,
    altitude h:

        255 x max(0, (sin h - cos h (p sin A + q cos A)) / sqrt(1 + p^2 + q^2))

    Flat ground gives 255 sin 45 deg = 180.3. The outermost row and column of the raster are repeated outwards for the
    gradient, so the result has no frame of NaN. Relative elevation (the height above its surroundings' mean) serves as
    elevation: it differs by a smooth surface only, which makes the shading approximate.

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


def relative_elevation(elevation: np.ndarray, pixel_size: tuple[float, float]) -> np.ndarray:
    """Return the height of each pixel above the mean of a disc of 100 m diameter (Nitze et al. 2021).

    The disc holds the pixels whose centres are at most `DISC_RADIUS_M` away, 25 px across at 4 m; voids and what lies
    beyond the border are left out of its mean, so nothing is mirrored or made up.

    Args:
        elevation: (H, W) metres; NaN = void.
        pixel_size: (width, height) of a pixel in metres, both positive.

    Returns:
        float32 (H, W) metres; NaN where the pixel is NaN.
    """
    z = np.asarray(elevation, dtype=np.float64)
    known = ~np.isnan(z)
    total = _disc_sum(np.where(known, z, 0), pixel_size)
    count = _disc_sum(known.astype(np.float64), pixel_size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (z - total / count).astype(np.float32)


def _disc_sum(values: np.ndarray, pixel_size: tuple[float, float]) -> np.ndarray:
    """Sum float64 (H, W) over the disc around each pixel, 0 beyond the border: a run of each row, by prefix sums."""
    height, width = values.shape
    dx, dy = pixel_size
    slack = 1e-9  # a centre on the very rim is inside, whatever the division rounds to
    down, across = (int(DISC_RADIUS_M / d + slack) for d in (dy, dx))
    prefix = np.pad(values, ((down, down), (across + 1, across))).cumsum(axis=1)
    out = np.zeros_like(values)
    for k in range(-down, down + 1):
        run = int(np.sqrt(max(DISC_RADIUS_M**2 - (k * dy) ** 2, 0)) / dx + slack)
        rows, left, right = prefix[down + k : down + k + height], across - run, across + run + 1
        out += rows[:, right : right + width] - rows[:, left : left + width]
    return out
