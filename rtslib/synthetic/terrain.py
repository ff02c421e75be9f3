"""Terrain of an invented Arctic lowland: fractal relief, lakes, rivers and coast, and what a DEM shows of it.

*Relative elevation* is a DEM minus its circular mean of 100 m diameter, as the published RTS data sets
have it (Nitze et al. 2021, doi 10.3390/rs13214294): it keeps the scar and drops the hill. *Shaded relief*
is the cosine of the light's angle of incidence times 255 (Horn 1981), the light that of `rtslib.data.derive`.
The relief has a von Karman spectrum, filtered in the Fourier domain (Saupe 1988, The Science of Fractal
Images, chapter 2); lengths are in pixels of `PIXEL_M` metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from rtslib.data.derive import ALTITUDE, AZIMUTH
from rtslib.synthetic.sites import Site

PIXEL_M = 4.0
DISC_PX = 25  # 100 m
LAND, LAKE, RIVER, SEA = 0, 1, 2, 3


@lru_cache(maxsize=32)
def _amplitude(shape: tuple[int, int], beta: float, shortest: float, longest: float) -> np.ndarray:
    f2 = fft.fftfreq(shape[0])[:, None] ** 2 + fft.fftfreq(shape[1])[None] ** 2
    amp = (f2 + longest**-2.0) ** (-beta / 4) * np.exp(-f2 * shortest**2)
    amp[0, 0] = 0
    amp *= shape[0] * shape[1] / np.sqrt((amp**2).sum())
    return amp.astype(np.float32)


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], beta: float, shortest: float, longest: float
) -> np.ndarray:
    """Return two independent random fields, float32 (2,h,w), mean 0 and standard deviation about 1.

    Args:
        beta: power falls with frequency as f^-beta between the two wavelengths; larger is smoother.
        shortest, longest: wavelengths in px, where the power fades out and where it levels off.
    """
    padded = (fft.next_fast_len(shape[0]), fft.next_fast_len(shape[1]))
    noise = rng.standard_normal((padded[0], 2 * padded[1]), dtype=np.float32).view(np.complex64)
    noise *= _amplitude(padded, beta, shortest, longest)
    field = fft.ifft2(noise, overwrite_x=True)[: shape[0], : shape[1]]
    return np.stack([field.real, field.imag])


def broad(
    rng: np.random.Generator, shape: tuple[int, int], beta: float, shortest: float, longest: float, step: int = 4
) -> np.ndarray:
    """Like `fractal`, float32 (2,h,w), made on a grid `step` times coarser and wide enough for `longest`."""
    need = [-(-n // step) + 2 for n in shape]
    grid = (max(need[0], int(longest / step)), max(need[1], int(longest / step)))
    coarse = fractal(rng, grid, beta, shortest / step, longest / step)[:, : need[0], : need[1]]
    size = (need[1] * step, need[0] * step)
    fine = [cv2.resize(c, size, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]] for c in coarse]
    return np.stack(fine)


def blur(a: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a float32 (h,w) field; `sigma` in px, borders mirrored."""
    return cv2.GaussianBlur(a, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step: 0 below `low`, 1 above `high`, cubic between (either order of the two works)."""
    x = np.clip((x - low) / (high - low), 0, 1)
    return x * x * (3 - 2 * x)


def drawn_along(field: np.ndarray, slope_y: np.ndarray, slope_x: np.ndarray, length: float) -> np.ndarray:
    """Smear a field (h,w) by `length` px along a direction field (line integral convolution, 9 samples).

    The result, float32 (h,w), is scaled back to about the standard deviation of the input.
    """
    size = np.maximum(np.hypot(slope_y, slope_x), 1e-9)
    h, w = field.shape
    y, x = np.arange(h, dtype=np.float32)[:, None], np.arange(w, dtype=np.float32)[None]
    dy, dx = (slope_y / size).astype(np.float32), (slope_x / size).astype(np.float32)
    total = np.zeros(field.shape, np.float32)
    for k in np.linspace(-length / 2, length / 2, 9, dtype=np.float32):
        total += cv2.remap(field, x + k * dx, y + k * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return total / 4.0


@dataclass
class Ground:
    """Land and water before any slump.

    Attributes:
        z: elevation in metres, float32 (h,w); open water is at 0, the one water table of the lowland.
        water: int8 (h,w), LAND, LAKE, RIVER or SEA.
        shore: distance to water in px, smoothed, float32 (h,w).
        river: distance to the river's middle in px, float32 (h,w); large where there is none.
        wet: wetness from -1 (ridge) to 1 (hollow, water track), float32 (h,w).
        rough: two broad-band fields for textures, float32 (2,h,w), standard deviation about 1.
    """

    z: np.ndarray
    water: np.ndarray
    shore: np.ndarray
    river: np.ndarray
    wet: np.ndarray
    rough: np.ndarray


def _river(rng: np.random.Generator, shape: tuple[int, int], spacing: float) -> np.ndarray:
    """Distance in px to the nearest of a family of winding lines: the zeros of a wavy phase field."""
    h, w = shape
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    wide, tight = broad(rng, shape, 5.0, 50, 300)
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (np.pi / spacing) + 0.35 * wide + 0.12 * tight
    phase -= phase[int(h * rng.uniform(0.3, 0.7)), int(w * rng.uniform(0.3, 0.7))]
    gy, gx = np.gradient(phase)
    return np.abs(np.sin(phase)) / np.maximum(np.hypot(gy, gx), 0.5 * np.pi / spacing)


def _water(rng: np.random.Generator, shape: tuple[int, int], waters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (water kinds int8 (h,w), distance to the river's middle float32 (h,w))."""
    h, w = shape
    basin, ripple = broad(rng, shape, 4.0, 26, 260)
    water = np.zeros(shape, np.int8)
    river = np.full(shape, 1e3, np.float32)
    if "lakes" in waters:
        share = rng.uniform(0.07, 0.26) * (1.0 if len(waters) == 1 else 0.45)
        water[basin < np.quantile(basin, share)] = LAKE
    if "river" in waters:
        river = _river(rng, shape, 420)
        water[(river < rng.uniform(2.0, 5.5) * (1 + 0.25 * basin)) & (water == LAND)] = RIVER
    if "coast" in waters:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        sea = x * np.cos(angle) + y * np.sin(angle) + 11 * ripple
        water[sea < np.quantile(sea, rng.uniform(0.12, 0.3) / len(waters))] = SEA
    return water, river


def make_ground(rng: np.random.Generator, shape: tuple[int, int], site: Site, waters: Sequence[str]) -> Ground:
    """Make land and water of `shape` (h,w) px for a site; `waters` holds any of lakes, river, coast."""
    water, river = _water(rng, shape, waters)
    height, hills = broad(rng, shape, 3.5, 40, 400)
    rough = fractal(rng, shape, 2.2, 2.5, 60)
    tracks, soak = fractal(rng, shape, 1.6, 5, 60)
    distance = cv2.distanceTransform((water == LAND).astype(np.uint8), cv2.DIST_L2, 5)
    shore = np.where(distance < 1, 0, blur(distance, 3.5)).astype(np.float32)
    away = 1 - np.exp(-shore / (site.bank_px * np.exp(0.25 * hills)))
    z = np.maximum(site.relief_m * (1 + 0.3 * height), 0.6 * site.relief_m) * away
    z += site.hills_m * hills * (1 - np.exp(-shore / 40))
    down_y, down_x = np.gradient(blur(z, 4))
    tracks = drawn_along(tracks, down_y, down_x, 22)
    gully = step(tracks, 0.7, 2.2)  # rills and water tracks run down the slope
    z -= 1.1 * gully * step(shore, 2, 10)
    z += 0.25 * rough[0] * step(shore, 0, 6)
    z = np.where(water == LAND, np.maximum(z, 0.15), 0).astype(np.float32)
    wet = 0.6 * gully + 0.22 * tracks + 0.5 * np.exp(-shore / 9) - 0.4 * hills + 0.2 * soak - 0.05
    return Ground(z, water, shore, river, np.clip(wet, -1, 1).astype(np.float32), rough)


def slopes(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Horn's rise per metre to the east and to the north, float32 (h,w) each; rows run south."""
    z = np.ascontiguousarray(z, np.float32)
    scale = 1 / (8 * PIXEL_M)
    east = cv2.Sobel(z, cv2.CV_32F, 1, 0, ksize=3, scale=scale, borderType=cv2.BORDER_REPLICATE)
    south = cv2.Sobel(z, cv2.CV_32F, 0, 1, ksize=3, scale=scale, borderType=cv2.BORDER_REPLICATE)
    return east, -south


def incidence(z: np.ndarray, azimuth: float, altitude: float) -> np.ndarray:
    """Return the cosine of the light's angle of incidence, float32 (h,w) in 0-1 (0 = turned away).

    Args:
        z: elevation in metres on the 4 m grid, (h,w).
        azimuth: degrees clockwise from north (the top of the chip) to the light; altitude in degrees.
    """
    east, north = slopes(z)
    a, e = np.radians(azimuth), np.radians(altitude)
    light = np.sin(e) - np.cos(e) * (east * np.float32(np.sin(a)) + north * np.float32(np.cos(a)))
    return np.maximum(light / np.sqrt(1 + east**2 + north**2), 0).astype(np.float32)


def hillshade(z: np.ndarray) -> np.ndarray:
    """Return the shaded relief 0-255 with the light of `rtslib.data.derive`, float32 (h,w); flat ground is 180."""
    return 255 * incidence(z, AZIMUTH, ALTITUDE)


def cast_shadow(z: np.ndarray, azimuth: float, altitude: float, reach: int = 7) -> np.ndarray:
    """Return where higher ground within `reach` px hides the sun, float32 (h,w) in 0-1, soft-edged."""
    a, rise = np.radians(azimuth), PIXEL_M * np.tan(np.radians(altitude))
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    hidden = np.full(z.shape, -1e9, np.float32)
    for k in range(1, reach + 1):
        shift = np.array([[1, 0, k * np.sin(a)], [0, 1, -k * np.cos(a)]], np.float32)
        nearer = cv2.warpAffine(z, shift, z.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)
        np.maximum(hidden, nearer - k * rise, out=hidden)
    return np.clip((hidden - z) / 0.8, 0, 1)


@lru_cache(maxsize=1)
def _disc() -> np.ndarray:
    r = (DISC_PX - 1) / 2
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    disc = (x**2 + y**2 <= (r + 0.5) ** 2).astype(np.float32)
    return disc / disc.sum()


def relative_elevation(z: np.ndarray) -> np.ndarray:
    """Return a DEM minus its 100 m circular mean, metres, float32 (h,w).

    NaN pixels stay NaN and are left out of the means; beyond the border the DEM is mirrored, so the
    outer 12 px of a raster differ from the same place in a larger one.
    """
    hole = np.isnan(z)
    filled = np.where(hole, 0, z).astype(np.float32)
    mean = cv2.filter2D(filled, -1, _disc(), borderType=cv2.BORDER_REFLECT)
    if hole.any():
        weight = cv2.filter2D((~hole).astype(np.float32), -1, _disc(), borderType=cv2.BORDER_REFLECT)
        mean = mean / np.maximum(weight, 1e-3)
    return np.where(hole, np.nan, filled - mean).astype(np.float32)
