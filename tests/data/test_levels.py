"""Levels: chips get the training side's mean and spread, wherever pixels are read for a model."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtslib.config import Config
from rtslib.data.levels import FLOOR, LIMIT, levelled, levels_of
from rtslib.data.opening import open_chips
from rtslib.data.samples import ChipDataset
from rtslib.synthetic.chips import write_challenge

LEVELS = {"red": (0.2, 0.05), "relative_elevation": (1.0, 2.0)}
BANDS = tuple(LEVELS)


@given(st.floats(0.5, 2.0), st.floats(-0.3, 0.3), st.integers(0, 99))
def test_a_chip_in_another_light_looks_the_same(gain, offset, seed):
    """Moments are matched, so contrast and level of the scene drop out."""
    rng = np.random.default_rng(seed)
    chip = rng.normal(0.3, 0.6, (2, 16, 16)).astype(np.float32)
    assert np.allclose(levelled(chip, BANDS, LEVELS), levelled(chip * gain + offset, BANDS, LEVELS), atol=1e-3)


def test_mean_and_spread_are_those_of_training_and_nodata_stays():
    rng = np.random.default_rng(0)
    chip = rng.normal(7, 3, (2, 40, 40)).astype(np.float32)
    chip[0, :5] = np.nan
    before = chip.copy()
    out = levelled(chip, BANDS, LEVELS)
    assert np.array_equal(chip, before, equal_nan=True) and np.array_equal(np.isnan(out), np.isnan(chip))
    assert np.allclose(np.nanmean(out, axis=(1, 2)), [0.2, 1.0], atol=1e-3)
    assert np.allclose(np.nanstd(out, axis=(1, 2)), [0.05, 2.0], atol=1e-3) and out.dtype == np.float32


def test_an_even_chip_is_not_blown_up_and_outliers_are_cut():
    chip = np.full((2, 8, 8), 5.0, dtype=np.float32)
    chip[1, 0, 0] += 0.1  # a tenth of what the floor lets pass as spread
    out = levelled(chip, BANDS, LEVELS)
    assert (out[0] == np.float32(0.2)).all() and abs(out[1, 0, 0] - 1.0) <= 0.1 * FLOOR
    chip = np.zeros((2, 50, 50), dtype=np.float32)
    chip[:, 0, 0] = 1e6
    assert levelled(chip, BANDS, LEVELS)[1].max() == pytest.approx(1 + LIMIT * 2)
    chip[0] = np.nan
    assert np.isnan(levelled(chip, BANDS, LEVELS)[0]).all()


def test_samples_are_levelled_before_they_are_cut(tmp_path):
    chipset = open_chips(write_challenge(tmp_path / "chips", 6, 64, seed=2))
    modalities = {"rgb": ["red", "green", "blue"]}
    config = Config(modalities=modalities, modality_mean={"rgb": [0.5, 0.4, 0.3]}, modality_std={"rgb": [0.1] * 3})
    assert levels_of(config) is None
    levels = levels_of(config.updated(level=True))
    assert levels == {"red": (0.5, 0.1), "green": (0.4, 0.1), "blue": (0.3, 0.1)}
    plain, matched = (ChipDataset(chipset, chipset.chips, modalities, levels=each) for each in (None, levels))
    for k in range(len(chipset.chips)):
        ok = matched[k]["valid"]["rgb"]
        assert torch.equal(ok, plain[k]["valid"]["rgb"])
        seen = matched[k]["images"]["rgb"][:, ok]
        assert torch.allclose(seen.mean(1), torch.tensor([0.5, 0.4, 0.3]), atol=0.02)
    whole = matched._pixels(chipset.chips[0])
    cut = ChipDataset(chipset, chipset.chips, modalities, augment=True, crop=16, jitter=0, levels=levels)[0]
    values = set(np.round(whole[0].ravel(), 5).tolist())
    assert set(np.round(cut["images"]["rgb"][0].numpy().ravel(), 5).tolist()) <= values
