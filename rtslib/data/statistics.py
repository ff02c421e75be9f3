"""Band statistics: what a model normalises with, measured on the training side alone."""

from collections.abc import Mapping, Sequence

import numpy as np

from rtslib.bands import check_modalities
from rtslib.config import Config
from rtslib.data.chips import Chip, ChipSet
from rtslib.errors import DataError

#: Least standard deviation, in the unit of the band: a constant band must not blow up when normalised.
STD_FLOOR = 1e-3


def band_statistics(
    chipset: ChipSet, chips: Sequence[Chip], modalities: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation of each band over the valid pixels of the given (training) chips.

    Moments are merged chip by chip in float64 (Chan, Golub & LeVeque 1979), so nothing is kept in memory.

    Args:
        chipset: opened data set.
        chips: the chips of the training side, and no others.
        modalities: modality name -> band names.

    Returns:
        {modality: {"mean": [one a band], "std": [one a band]}} in the unit of each band; std is at least
        `STD_FLOOR`.

    Raises:
        ConfigError: a modality needs a band that the data does not have.
        DataError: a modality has no valid pixel in these chips.
    """
    modalities = check_modalities(modalities, chipset.bands)
    index = {m: [chipset.bands.index(b) for b in bands] for m, bands in modalities.items()}
    moments = {m: (0, np.zeros(len(k)), np.zeros(len(k))) for m, k in index.items()}
    for chip in chips:
        every = chipset.read(chip)
        for m, k in index.items():
            moments[m] = _merge(moments[m], every[k])
    out = {}
    for m, (count, mean, squares) in moments.items():
        if not count:
            found = f"no valid pixel of {m} ({', '.join(modalities[m])}) in {len(chips)} training chips"
            raise DataError(chipset.root, found, "at least one")
        std = np.maximum(np.sqrt(squares / count), STD_FLOOR)
        out[m] = {"mean": mean.tolist(), "std": std.tolist()}
    return out


def _merge(moments: tuple[int, np.ndarray, np.ndarray], pixels: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Add the valid pixels of one chip (C, H, W) to (count, means, sums of squared deviations)."""
    count, mean, squares = moments
    values = pixels[:, np.isfinite(pixels).all(axis=0)].astype(np.float64)
    n = values.shape[1]
    if not n:
        return moments
    its_mean = values.mean(axis=1)
    shift, total = its_mean - mean, count + n
    its_squares = ((values - its_mean[:, None]) ** 2).sum(axis=1)
    return total, mean + shift * n / total, squares + its_squares + shift**2 * count * n / total


def with_statistics(config: Config, chipset: ChipSet, chips: list[Chip]) -> Config:
    """Return the config with mean and standard deviation of the bands over the training chips, and how derived bands
    were made. Raises DataError."""
    stats = band_statistics(chipset, chips, config.modalities)
    means, stds = ({m: s[kind] for m, s in stats.items()} for kind in ("mean", "std"))
    read = {b for bands in config.modalities.values() for b in bands}
    derived = {b: list(inputs) for b, inputs in chipset.derived.items() if b in read}
    return config.updated(modality_mean=means, modality_std=stds, derived=derived)
