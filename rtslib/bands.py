"""Bands and modalities.

A *band* is one named raster layer with a unit, a valid range and a nodata rule. A *modality* is an
ordered group of bands that one sensor, or one derivation, delivers together, and that one backbone
branch reads: a void in the elevation model is no void in the image, so validity is kept per modality.

In memory a chip is float32 in physical units and NaN is the one nodata value, whatever the file used.

Band order and names: 2026 GeoAI Arctic Challenge data page (bands 0-7). Modalities: Li et al. 2025
(JSTARS, doi 10.1109/JSTARS.2025.3564310), section on multimodal data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rtslib.errors import ConfigError


@dataclass(frozen=True)
class Band:
    """One raster layer.

    Attributes:
        name: the field's name for it, lower case.
        unit: physical unit, `1` for a ratio.
        low, high: values outside [low, high] are errors, not data.
        may_be_nan: whether a file may hold NaN. Derived and terrain bands may be undefined
            (0/0 in an index, a DEM void); measured 8-bit imagery may not.
    """

    name: str
    unit: str
    low: float
    high: float
    may_be_nan: bool


# Imagery is 8-bit counts (Maxar), reflectance x 1e4 (Planet NIR) or reflectance (Sentinel-2 with its
# scale applied), so its range excludes only what none can be; training-set statistics absorb the rest.
_ALL = (
    Band("red", "count or reflectance", -0.2, 65535, False),
    Band("green", "count or reflectance", -0.2, 65535, False),
    Band("blue", "count or reflectance", -0.2, 65535, False),
    Band("ndvi", "1", -1, 1, True),
    Band("relative_elevation", "m", -1000, 1000, True),
    Band("shaded_relief", "0-255", 0, 255, True),
    Band("nir", "count or reflectance", -0.2, 65535, True),
    Band("ndwi", "1", -1, 1, True),
    Band("slope", "degree", 0, 90, True),
    Band("elevation", "m", -500, 9000, True),  # of no modality: what regions derive terrain bands from
)
BANDS: dict[str, Band] = {b.name: b for b in _ALL}

#: The challenge's eight bands in the order of its arrays.
CHALLENGE_BANDS = ("red", "green", "blue", "ndvi", "relative_elevation", "shaded_relief", "nir", "ndwi")

#: Default grouping; the first modality is the primary one (it queries the others in fusion).
MODALITIES: dict[str, tuple[str, ...]] = {
    "rgb": ("red", "green", "blue"),
    "spectral": ("ndvi", "ndwi", "nir"),
    "terrain": ("relative_elevation", "shaded_relief"),
}


def check_modalities(
    modalities: Mapping[str, Sequence[str]], available: Sequence[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """Check a grouping of bands into modalities and return it with tuples.

    Args:
        modalities: modality name -> band names; users may regroup and add their own. A band name
            that is not in `BANDS` is allowed if the data has it (`available`).
        available: band names of the data at hand; None skips that check.

    Raises:
        ConfigError: no modality, an empty one, a repeated band in one, or a band that neither
            `available` nor, without it, `BANDS` has.
    """
    if not modalities:
        raise ConfigError("no modality given: name at least one, such as rgb=red,green,blue")
    known = tuple(available) if available is not None else tuple(BANDS)
    out: dict[str, tuple[str, ...]] = {}
    for name, bands in modalities.items():
        bands = tuple(bands)
        if not bands or len(set(bands)) != len(bands):
            raise ConfigError(f"modality {name!r} has bands {list(bands)}: give each band once, and at least one")
        missing = [b for b in bands if b not in known]
        if missing:
            raise ConfigError(f"modality {name!r} needs bands {missing}, but there are only {list(known)}")
        out[name] = bands
    return out


def available_modalities(
    available: Sequence[str], modalities: Mapping[str, Sequence[str]] = MODALITIES
) -> dict[str, tuple[str, ...]]:
    """Return those modalities all of whose bands are in `available`, in their order; may be empty."""
    return {m: tuple(b) for m, b in modalities.items() if set(b) <= set(available)}
