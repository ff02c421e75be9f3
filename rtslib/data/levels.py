"""Levels: bring each chip's bands to the mean and spread that they had in training, as season, haze and sensor differ.

Scenes of one ground on two dates differ more in level and contrast than slumps differ from tundra. *Moment matching*
takes that out: a band with mean m and standard deviation s on a chip, and M and S over the training chips, becomes

    band' = M + S clip((band - m) / max(s, S / FLOOR), -LIMIT, LIMIT)

so it keeps its unit, and a chip of one even surface is not blown up to noise. A chip is what one looks at: a training
chip before it is cropped, a window of a map. What it costs: what a level itself tells, such as that all of a chip is
bare, is gone.

Relative radiometric normalisation by moments: Yuan and Elvidge 1996 (ISPRS J. Photogrammetry 51(3), 117-126), there of
one scene to another. Differs: to the training set, limited, and band by band within a chip.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rtslib.config import Config

#: A chip's spread counts as at least this part of that in training; standardised values beyond are cut off.
FLOOR, LIMIT = 10.0, 6.0

Levels = Mapping[str, tuple[float, float]]


def levels_of(config: Config) -> dict[str, tuple[float, float]] | None:
    """Return band -> mean and standard deviation that a model's chips are brought to; None if it reads them as they
    are (`level`)."""
    if not config.level:
        return None
    c = config
    return {
        band: (mean, std)
        for m, bands in c.modalities.items()
        for band, mean, std in zip(bands, c.modality_mean[m], c.modality_std[m])
    }


def levelled(pixels: np.ndarray, bands: Sequence[str], levels: Levels) -> np.ndarray:
    """Match the moments of a chip's bands.

    Args:
        pixels: float32 (B, H, W) in the units of the bands, NaN = nodata; not written to.
        bands: their names.
        levels: band -> mean and standard deviation to be brought to, of the training side (`levels_of`).

    Returns:
        float32 (B, H, W); NaN stays NaN. A band without a valid pixel stays as it is.
    """
    out = np.empty_like(pixels)
    for k, band in enumerate(bands):
        mean, std = levels[band]
        known = pixels[k][np.isfinite(pixels[k])].astype(np.float64)
        if not known.size:
            out[k] = pixels[k]
            continue
        away = (pixels[k] - known.mean()) / max(known.std(), std / FLOOR)
        out[k] = mean + std * np.clip(away, -LIMIT, LIMIT)
    return out
