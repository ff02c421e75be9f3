"""What covers the invented ground, and what two sensors and a DEM make of it.

A surface is mixed from a site's few colours by wetness, slope and disturbance into reflectance in four
bands; an 8-bit image (sun, cast shade, haze, grain), vegetation and water indices (10 m optics) and a
DEM (noise, seams, voids) are then taken of the same ground. NDVI = (nir - red) / (nir + red) (Rouse et
al. 1974), NDWI = (green - nir) / (green + nir) (McFeeters 1996).
"""

import cv2
import numpy as np

from rtslib.synthetic import slumps, terrain
from rtslib.synthetic.sites import SNOW, Site
from rtslib.synthetic.slumps import Scar
from rtslib.synthetic.terrain import Ground, blur, step

R, G, B, N = range(4)


def _mix(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    """Blend `other` (4,) or (4,h,w) into `colour` (4,h,w) in place by `share` (h,w) in 0-1."""
    other = other if other.ndim == 3 else other[:, None, None]
    colour += (other - colour) * share


def polygon_cracks(rng: np.random.Generator, shape: tuple[int, int], width: float) -> np.ndarray:
    """Return ice-wedge polygons, float32 (h,w): 1 on the cracks between Voronoi cells `width` px wide."""
    h, w = shape
    cells = (int(h / width) + 3, int(w / width) + 3)
    seeds = rng.uniform(0.1, 0.9, (2, *cells)).astype(np.float32)
    y = (np.arange(h, dtype=np.float32) / np.float32(width) + 1)[:, None]
    x = (np.arange(w, dtype=np.float32) / np.float32(width) + 1)[None]
    iy, ix = y.astype(np.intp), x.astype(np.intp)
    fy, fx = (y - iy).astype(np.float32), (x - ix).astype(np.float32)
    first = np.full(shape, 9, np.float32)
    second = first.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cell = seeds[:, iy + dy, ix + dx]
            d = (fy - dy - cell[0]) ** 2 + (fx - dx - cell[1]) ** 2
            second = np.minimum(second, np.maximum(first, d))
            first = np.minimum(first, d)
    return step(np.sqrt(second) - np.sqrt(first), 0.28, 0.04)


def tundra(rng: np.random.Generator, ground: Ground, site: Site, green: np.ndarray) -> np.ndarray:
    """Return the reflectance x 1e4 of undisturbed ground and water, float32 (4,h,w).

    Args:
        green: 0-1, how lush the regrowth of old scars is, (h,w).
    """
    shape = ground.z.shape
    patch, fleck = terrain.fractal(rng, shape, 2.6, 4, 90)
    wet = np.clip(ground.wet + 0.25 * patch, -1, 1)
    colour = np.empty((4, *shape), np.float32)
    colour[:] = site.sedge[:, None, None]
    _mix(colour, site.dry, step(wet, 0.35, -0.85))
    _mix(colour, site.moss, 0.8 * step(wet, 0.2, 0.9))
    shrub = step(0.5 * ground.wet + 0.3 * fleck + 1.1 * green, 0.1, 1.4)
    _mix(colour, site.shrub, 0.9 * shrub)
    if site.polygons > 0.15:
        crack = polygon_cracks(rng, shape, site.polygon_px)
        flat = site.polygons * step(ground.shore, 4, 14) * step(patch, -0.6, 0.4) * (1 - green)
        colour *= 1 - 0.38 * flat * crack
    colour *= np.exp(0.07 * ground.rough[1] + 0.05 * fleck)
    _water(rng, colour, ground, site)
    return colour


def _water(rng: np.random.Generator, colour: np.ndarray, ground: Ground, site: Site) -> None:
    """Colour the water in place on `colour` (4,h,w), paler and siltier over the shallows."""
    wet = ground.water > 0
    depth = cv2.distanceTransform(wet.astype(np.uint8), cv2.DIST_L2, 5)
    shallow = np.exp(-depth / rng.uniform(2, 6)) * rng.uniform(0.1, 0.5)
    hue = np.zeros_like(colour)
    for kind in np.unique(ground.water[wet]):
        hue[:, ground.water == kind] = site.lakes[kind - 1][:, None]
    hue *= 1 + 0.05 * ground.rough[0]
    _mix(hue, np.array([900, 930, 760, 900], np.float32), shallow.astype(np.float32))
    _mix(colour, hue, wet.astype(np.float32))


def bare_soil(site: Site, scar: Scar, rough: np.ndarray) -> np.ndarray:
    """Return the reflectance x 1e4 of a scar's bare floor and wall, float32 (4,h,w)."""
    tone = np.exp(0.17 * scar.streak + 0.07 * rough[0]) * (1 - 0.3 * scar.wall)
    return (site.soil * scar.tint)[:, None, None] * tone


def cover_scars(colour: np.ndarray, ground: Ground, site: Site, scars: list[Scar]) -> None:
    """Lay bare soil over slumps and bare decoys, in place on `colour` (4,h,w)."""
    for scar in scars:
        if scar.kind == slumps.OLD:
            continue
        rough = ground.rough[(slice(None), *scar.window)]
        share = blur(scar.mask.astype(np.float32), 0.7)
        share = share * (1 - 0.7 * step(rough[1] - 0.3 * blur(rough[1], 3), 1.6, 2.1))  # rafts of turf
        _mix(colour[(slice(None), *scar.window)], bare_soil(site, scar, rough), share)


def strew(rng: np.random.Generator, colour: np.ndarray, ground: Ground, site: Site) -> None:
    """Lay beaches and gravel bars along the water, in place on `colour` (4,h,w)."""
    a, b = ground.rough
    beach = step(ground.shore, 3.2, 1.4) * step(a, 0.4, 1.2) * (ground.water == 0)
    bars = step(ground.river, 13, 8) * step(0.7 * a + 0.7 * b, 0.5, 0.9) * (ground.water == 0)
    gravel = 0.8 * site.soil + 250
    _mix(colour, gravel, np.clip(0.85 * np.maximum(beach, bars), 0, 1).astype(np.float32))


def snow_and_cloud(rng: np.random.Generator, colour: np.ndarray, ground: Ground, always: bool) -> np.ndarray:
    """Lay late snow in place on `colour` (4,h,w) and return the light left under clouds, (h,w) in 0-1.

    Each comes with its odds, or surely if `always`. Snow lies in hollows and on slopes turned from NW.
    """
    shape = ground.z.shape
    light = np.ones(shape, np.float32)
    drift = terrain.broad(rng, shape, 3, 14, 120)[0]
    if always or rng.random() < 0.25:
        lee = terrain.incidence(ground.z, 315, 40)
        snow = step(drift + 6 * (0.66 - lee) + 0.2 * ground.rough[0], 2.6, 2.9) * (ground.water == 0)
        _mix(colour, np.array(SNOW, np.float32), 0.95 * snow.astype(np.float32))
    if always or rng.random() < 0.2:
        cloud = terrain.broad(rng, shape, 3.2, 30, 300, step=8)[0]
        light -= rng.uniform(0.3, 0.55) * step(cloud, 0.8, 1.5)
    return light


def photograph(
    rng: np.random.Generator, colour: np.ndarray, relief: np.ndarray, light: np.ndarray, site: Site
) -> np.ndarray:
    """Take the 8-bit image: red, green, blue counts 0-255, float32 (3,h,w) holding whole numbers.

    Args:
        colour: reflectance x 1e4, (4,h,w); relief: elevation as the sun sees it, metres, (h,w).
        light: share of the light that clouds leave, (h,w).
    """
    flat = np.sin(np.radians(site.sun_altitude))
    sun = terrain.incidence(relief, site.sun_azimuth, site.sun_altitude) / flat
    sun *= 1 - 0.75 * terrain.cast_shadow(relief, site.sun_azimuth, site.sun_altitude)
    sun = (0.25 + 0.75 * sun) * light
    haze = site.haze * np.array([0.5, 0.7, 1.0], np.float32)[:, None, None]
    rgb = np.stack([blur(c, 0.55) for c in colour[:3] * sun]) + haze
    counts = 255 * site.gain * (np.maximum(rgb, 0) / 5200) ** 0.72
    counts += site.grain * rng.standard_normal(rgb.shape, dtype=np.float32)
    return np.round(np.clip(counts, 0, 255)).astype(np.float32)


def spectral(rng: np.random.Generator, colour: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Take the coarser multispectral image: ndvi, ndwi (ratios), nir (reflectance x 1e4), float32 (3,h,w)."""
    seen = np.stack([blur(np.ascontiguousarray(c), 1.1) for c in colour])
    seen *= 0.4 + 0.6 * blur(light, 2)
    seen *= 1 + 0.015 * rng.standard_normal(seen.shape, dtype=np.float32)
    ndvi = (seen[N] - seen[R]) / (seen[N] + seen[R])
    ndwi = (seen[G] - seen[N]) / (seen[G] + seen[N])
    return np.stack([ndvi, ndwi, np.round(seen[N])]).astype(np.float32)


def survey(rng: np.random.Generator, z: np.ndarray, ground: Ground, always: bool) -> np.ndarray:
    """Return relative_elevation (m) and shaded_relief (0-255) of a noisy DEM, float32 (2,h,w), NaN voids.

    Args:
        z: true elevation in metres, (h,w); always: seams and voids are sure to come.
    """
    shape = z.shape
    noise = terrain.fractal(rng, shape, 1.0, 2, 30)[0]
    dem = blur(z, 0.6) + np.float32(rng.uniform(0.08, 0.25)) * noise
    strip, hole = terrain.broad(rng, shape, 4, 60, 500)
    if always or rng.random() < 0.3:
        dem += np.float32(rng.uniform(0.3, 1.2)) * (strip > 0)  # seam between two strips
    if always or rng.random() < 0.2:
        dem[hole + 0.25 * ground.rough[1] > 2.0] = np.nan
    out = np.stack([terrain.relative_elevation(dem), terrain.hillshade(dem)])
    out[:, np.isnan(out).any(0)] = np.nan
    return out
