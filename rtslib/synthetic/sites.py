"""A *site* of the invented landscape: what the chips of one place and date have in common.

Rock and plant colours, sun, season, haze and kinds of water; chips of one site share them, chips of
another do not, which is why splits go by site. Colours are reflectance x 1e4 in red, green, blue, near
infrared, at the top of the atmosphere; magnitudes after the tundra spectra of Buchhorn et al. 2013
(doi 10.3390/rs5083971) and clear, silty and glacial lake water.
"""

from dataclasses import dataclass

import numpy as np

#: soils a scar can lay bare: grey marine clay, tan silt, pale sand, brown till, reddish mud
SOILS = ((1900, 1800, 1600, 2200), (2250, 1960, 1560, 2600), (2700, 2500, 2150, 2950),
         (1700, 1480, 1220, 2050), (2100, 1760, 1430, 2450))  # fmt: skip
#: waters: clear and dark, peat-brown, turquoise, silty green, silty grey
WATERS = ((330, 480, 520, 620), (430, 480, 430, 640), (480, 1150, 1050, 650),
          (720, 960, 760, 700), (1050, 1080, 960, 760))  # fmt: skip
DRY, SEDGE = (1260, 1240, 920, 2750), (940, 1100, 730, 2750)
MOSS, SHRUB = (790, 900, 660, 2000), (580, 830, 560, 2900)
SNOW = (6200, 6300, 6500, 5200)


@dataclass(frozen=True)
class Site:
    """Parameters of one site.

    Attributes:
        soil, dry, sedge, moss, shrub: colours, float32 (4,) reflectance x 1e4 in red, green, blue, nir.
        lakes: colours of its waters, float32 (3,4): two kinds of lake and the river or sea.
        sun_azimuth, sun_altitude: degrees; azimuth within 40 of north-west.
        haze: path radiance added to blue, reflectance x 1e4 (less in the other bands).
        gain: brightness of the 8-bit stretch, about 1.
        relief_m, hills_m, bank_px: height of the banks, of the hills, and how far a bank takes to rise.
        waters: probabilities of lakes, river, river and lakes, coast; sum 1.
        polygons: strength of ice-wedge polygons 0-1; polygon_px: their width.
        grain: noise of the image in counts.
    """

    soil: np.ndarray
    dry: np.ndarray
    sedge: np.ndarray
    moss: np.ndarray
    shrub: np.ndarray
    lakes: np.ndarray
    sun_azimuth: float
    sun_altitude: float
    haze: float
    gain: float
    relief_m: float
    hills_m: float
    bank_px: float
    waters: np.ndarray
    polygons: float
    polygon_px: float
    grain: float


def make_site(site_seed: int) -> Site:
    """Return the site of a seed; the same seed gives the same site."""
    rng = np.random.default_rng(np.random.SeedSequence([0x517E, site_seed]))

    def tint(colour: tuple[int, ...], spread: float = 0.07) -> np.ndarray:
        change = rng.normal(0, spread) + rng.normal(0, min(spread / 2, 0.025), 4)
        return (np.array(colour) * np.exp(change)).astype(np.float32)

    brown = rng.beta(1.5, 2.5)  # season: 0 high summer, 1 autumn
    autumn = np.array([1 + 0.22 * brown, 1 + 0.05 * brown, 1 + 0.02 * brown, 1 - 0.1 * brown], np.float32)
    return Site(
        soil=tint(SOILS[rng.integers(len(SOILS))], 0.12), dry=tint(DRY) * autumn, sedge=tint(SEDGE) * autumn,
        moss=tint(MOSS) * autumn, shrub=tint(SHRUB) * autumn,
        lakes=np.stack([tint(WATERS[i], 0.1) for i in rng.integers(len(WATERS), size=3)]),
        sun_azimuth=315 + rng.uniform(-40, 40), sun_altitude=rng.uniform(28, 42), haze=rng.uniform(0, 260),
        gain=rng.uniform(0.85, 1.15), relief_m=rng.uniform(11, 21), hills_m=rng.uniform(1.5, 5),
        bank_px=rng.uniform(14, 28), waters=rng.dirichlet((2.2, 1.0, 1.0, 0.6)), polygons=rng.beta(0.9, 1.6),
        polygon_px=rng.uniform(4.5, 9), grain=rng.uniform(1.0, 2.5),
    )  # fmt: skip
