"""A piece of the invented landscape: ground, slumps and decoys, and the eight bands taken of it.

Everything comes from one model: the scars are cut into the DEM and laid bare in the colours, then the
image, the spectral bands and the terrain bands are taken of the result (`rtslib.synthetic.terrain`,
`rtslib.synthetic.slumps`, `rtslib.synthetic.surface`). Chips and scenes are pieces of different size.
"""

from collections.abc import Sequence

import numpy as np

from rtslib.errors import ConfigError
from rtslib.synthetic import slumps, surface, terrain
from rtslib.synthetic.sites import Site

MARGIN = 16  # px around what is seen that the 100 m mean, optics and sun need


def check_size(size: int | tuple[int, int], smallest: int = 32, largest: int = 4096) -> tuple[int, int]:
    """Return (height, width) of a size in px given as one number or two. Raises ConfigError."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(smallest <= n <= largest for n in pair):
        raise ConfigError(f"size is {size}: give {smallest} to {largest} px")
    return int(pair[0]), int(pair[1])


def check_seed(seed: int) -> int:
    """Return the seed. Raises ConfigError if it is negative."""
    if seed < 0:
        raise ConfigError(f"seed is {seed}: give 0 or more")
    return seed


def _kinds(rng: np.random.Generator, slumps_wanted: int, others: float) -> list[str]:
    """Return the kinds of scars to place, shuffled so that neither sort takes the best places."""
    kinds = [slumps.SLUMP] * slumps_wanted
    kinds += [slumps.BARE] * rng.poisson(others) + [slumps.OLD] * rng.poisson(others)
    return [kinds[i] for i in rng.permutation(len(kinds))]


def make_land(
    rng: np.random.Generator, size: tuple[int, int], site: Site, waters: Sequence[str], n: int, others: float,
    always: bool = False,
) -> tuple[np.ndarray, np.ndarray, list[slumps.Scar]]:  # fmt: skip
    """Make a landscape and take its bands.

    Args:
        size: (h,w) in px.
        waters: any of lakes, river, coast.
        n: slumps wanted; others: mean number of each of the two sorts of decoy.
        always: whether snow, clouds, seams and voids are sure to come; otherwise each has its odds.

    Returns:
        Bands float32 (8,h,w) in CHALLENGE_BANDS order, the slumps' union bool (h,w), and all scars
        (their windows count from `MARGIN` px above and left of the bands).
    """
    h, w = size
    shape = (h + 2 * MARGIN, w + 2 * MARGIN)
    inner = (slice(MARGIN, MARGIN + h), slice(MARGIN, MARGIN + w))
    ground = terrain.make_ground(rng, shape, site, waters)
    scars = slumps.place(rng, ground, _kinds(rng, n, others), inner, min(14000.0, 0.3 * h * w))
    z, relief = ground.z.copy(), ground.z.copy()
    truth, green = np.zeros(shape, bool), np.zeros(shape, np.float32)
    for scar in scars:
        relief[scar.window] -= scar.cut  # a bare decoy's rim is dark and pale as if it were relief
        if scar.kind != slumps.BARE:
            z[scar.window] -= scar.cut
        if scar.kind == slumps.SLUMP:
            truth[scar.window] |= scar.mask
        if scar.kind == slumps.OLD:
            np.maximum(green[scar.window], scar.mask, out=green[scar.window])
    z = np.where(ground.water == terrain.LAND, np.maximum(z, 0.1), 0).astype(np.float32)
    colour = surface.tundra(rng, ground, site, terrain.blur(green, 1.0))
    surface.strew(rng, colour, ground, site)
    surface.cover_scars(colour, ground, site, scars)
    light = surface.snow_and_cloud(rng, colour, ground, always)
    rgb = surface.photograph(rng, colour, relief, light, site)
    ndvi, ndwi, nir = surface.spectral(rng, colour, light)
    elevation, shade = surface.survey(rng, z, ground, always)
    layers = (*rgb, ndvi, elevation, shade, nir, ndwi)
    return np.stack([a[inner] for a in layers]), truth[inner], scars
