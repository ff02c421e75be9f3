"""Crops, scale and light of training samples, on constant rasters and on bands that hold the masks themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.chip_folders import box_mask
from helpers.memory import BANDS, chip_set
from rtslib.config import Config
from rtslib.data.augment import crop_window, framed, jittered, resized, resized_masks, zoom_factor
from rtslib.data.samples import ChipDataset
from rtslib.errors import ConfigError

MODALITIES = {"rgb": ("red", "green", "blue"), "terrain": ("relative_elevation", "ndvi")}


def noisy_set(chips=3, size=(48, 40)):
    """Chips of noise with a void and three slumps each."""
    rng = np.random.default_rng(0)
    pixels = [rng.uniform(10, 90, (5, *size)).astype(np.float32) for _ in range(chips)]
    for p in pixels:
        p[4, 5:9, 30:36] = np.nan
    masks = [[box_mask(*size, 3 + k, 4, 8, 9), box_mask(*size, 20, 25, 6, 7), box_mask(*size, 1, 40, 3, 4)]
             for k in range(chips)]  # fmt: skip
    return chip_set(pixels, masks)[0]


# --- what samples were before there were these knobs


def as_before(pixels, masks, crop, seed, epoch, index):
    """Crop, turn and jitter as the first version did, written out anew: the order of draws is part of it."""
    rng = np.random.default_rng([seed, epoch, index])
    if crop:
        at, window = None, []
        if len(masks) and rng.random() < 2 / 3:
            seen = np.argwhere(masks[int(rng.integers(len(masks)))])
            at = seen[int(rng.integers(len(seen)))]
        for axis, length in enumerate(masks.shape[1:]):
            first, last = 0, max(0, length - crop)
            if at is not None:
                first, last = max(0, int(at[axis]) - crop + 1), min(last, int(at[axis]))
            start = int(rng.integers(first, last + 1))
            window.append(slice(start, min(start + crop, length)))
        pixels, masks = pixels[:, *window], masks[:, *window]
        masks = masks[masks.sum((1, 2)) >= 10]
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    if pixels.shape[1] != pixels.shape[2]:
        turns = turns // 2 * 2 + epoch % 2
    pixels, masks = (np.rot90(a, turns, axes=(-2, -1)) for a in (pixels, masks))
    pixels, masks = (np.array(a[..., ::-1] if flip else a, order="C") for a in (pixels, masks))
    brightness, contrast = np.float32(rng.uniform(0.9, 1.1)), np.float32(rng.uniform(0.8, 1.2))
    mean = (pixels[:3].sum(axis=(1, 2), keepdims=True) / np.float64(pixels[0].size)).astype(np.float32)
    pixels[:3] = (pixels[:3] - mean) * contrast + mean * brightness
    return pixels, masks


@pytest.mark.parametrize("crop", [0, 20, 44])
def test_without_the_knobs_samples_are_what_they_were(crop):
    chips, defaults = noisy_set(), Config()
    knobs = {k: getattr(defaults, k) for k in ("crop_slumps", "scale_jitter", "paste", "jitter", "hue")}
    assert knobs["crop_slumps"] == 2 / 3  # 0.667 would be another share
    modalities = {b: (b,) for b in BANDS}
    dataset = ChipDataset(chips, chips.chips, modalities, augment=True, seed=9, crop=crop, **knobs)
    for epoch in range(8):
        dataset.set_epoch(epoch)
        for i, chip in enumerate(chips.chips):
            sample, plain = dataset[i], ChipDataset(chips, chips.chips, modalities)[i]
            pixels, masks = as_before(chips.read(chip), plain["target"]["masks"].numpy(), crop, 9, epoch, i)
            for k, band in enumerate(BANDS):
                np.testing.assert_array_equal(sample["valid"][band].numpy(), np.isfinite(pixels[k]))
                np.testing.assert_array_equal(sample["images"][band][0].numpy(), np.nan_to_num(pixels[k]))
            np.testing.assert_array_equal(sample["target"]["masks"].numpy(), masks)


# --- scale


def test_factors_are_log_uniform_between_their_ends():
    rng = np.random.default_rng(0)
    drawn = np.array([zoom_factor(0.5, rng) for _ in range(4000)])
    assert drawn.min() >= 0.5 and drawn.max() <= 2
    shares = np.histogram(np.log2(drawn), bins=4, range=(-1, 1))[0] / 4000
    assert (abs(shares - 0.25) < 0.03).all()
    assert zoom_factor(0.0, rng) == 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_nodata_does_not_bleed(height, width, seed):
    """Valid pixels of a constant band keep its value, whatever void lies beside them; other bands do not notice."""
    rng = np.random.default_rng(seed)
    pixels = np.ones((3, 20, 30), np.float32) * np.reshape([7, 9, 11], (3, 1, 1)).astype(np.float32)
    pixels[1][rng.random((20, 30)) < 0.4] = np.nan
    pixels[2] = np.nan
    out = resized(pixels, (height, width))
    assert out.shape == (3, height, width) and out.dtype == np.float32
    np.testing.assert_allclose(out[0], 7, rtol=1e-5)
    np.testing.assert_allclose(out[1][np.isfinite(out[1])], 9, rtol=1e-5)
    assert np.isnan(out[2]).all()


def test_a_void_keeps_its_place_and_share():
    pixels = np.ones((1, 40, 40), np.float32)
    pixels[0, :, :20] = np.nan
    for side in (20, 30, 80):
        out = resized(pixels, (side, side))[0]
        np.testing.assert_array_equal(np.isnan(out), np.arange(side)[None] + np.zeros((side, 1)) < side / 2)


def test_resizing_interpolates():
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32), (1, 16, 16))
    np.testing.assert_allclose(resized(ramp, (32, 32))[0, 5, 1:-1], (np.arange(32)[1:-1] + 0.5) / 2 - 0.5, atol=1e-5)
    np.testing.assert_allclose(resized(ramp, (8, 8))[0, 5, 1:-1], np.arange(8)[1:-1] * 2 + 0.5, atol=1e-5)
    assert resized(ramp, (16, 16)) is ramp
    stripes = np.broadcast_to((np.arange(40) % 4 == 0).astype(np.float32), (1, 40, 40))
    np.testing.assert_allclose(resized(stripes, (10, 10))[0, 5, 1:-1], 0.25, atol=0.07)  # none is passed over


def test_masks_grow_and_shrink():
    masks = np.stack([box_mask(40, 40, 10, 20, 12, 8), box_mask(40, 40, 0, 0, 1, 1)])
    np.testing.assert_array_equal(resized_masks(masks, (80, 80))[0], box_mask(80, 80, 20, 40, 24, 16))
    half = resized_masks(masks, (20, 20))
    np.testing.assert_array_equal(half[0], box_mask(20, 20, 5, 10, 6, 4))
    assert not half[1].any()  # one pixel of four is less than half
    assert resized_masks(masks[:0], (7, 9)).shape == (0, 7, 9)


@pytest.mark.parametrize("zoom,size", [(0.5, (10, 32)), (0.8, (16, 32)), (1.0, (20, 32)), (2.0, (32, 32))])
def test_crops_of_any_scale_are_of_one_size_and_small_chips_stay_smaller(zoom, size):
    pixels, masks = np.ones((2, 20, 90), np.float32), np.zeros((0, 20, 90), bool)
    for seed in range(5):
        out, left = framed(pixels, masks, 32, zoom, np.random.default_rng(seed))
        assert out.shape == (2, *size) and left.shape == (0, *size)


def test_whole_chips_are_resized_by_the_factor():
    out, masks = framed(np.ones((2, 20, 90), np.float32), box_mask(20, 90, 6, 6, 8, 8)[None], 0, 1.5, None)
    assert out.shape == (2, 30, 135)
    np.testing.assert_array_equal(masks, box_mask(30, 135, 9, 9, 12, 12)[None])


def test_instances_that_shrink_below_the_label_rule_go():
    masks = np.stack([box_mask(40, 40, 4, 4, 6, 6), box_mask(40, 40, 20, 20, 8, 6)])
    pixels = masks.any(0)[None].astype(np.float32)
    assert framed(pixels, masks, 0, 0.5, None)[1].sum((1, 2)).tolist() == [12]  # the other has 9 px left
    assert len(framed(pixels, masks, 0, 1.0, None)[1]) == 2


@given(st.floats(0.4, 2.5), st.sampled_from([0, 24, 40]), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_pixels_and_masks_stay_aligned(zoom, crop, seed):
    """The band is 1 on the slumps: whatever is done to it, half of that marks the masks."""
    masks = np.stack([box_mask(60, 70, 8, 10, 20, 25), box_mask(60, 70, 45, 5, 21, 30)])
    out, left = framed(masks.any(0)[None].astype(np.float32), masks, crop, zoom, np.random.default_rng(seed))
    gone = (out[0] >= 0.5) & ~left.any(0)
    assert not (left.any(0) & (out[0] < 0.5)).any() and gone.sum() < 2 * 10  # at most two with fewer than 10 px


def test_samples_keep_their_size_and_their_nodata():
    chips = noisy_set(size=(60, 60))
    dataset = ChipDataset(chips, chips.chips, MODALITIES, augment=True, crop=24, scale_jitter=0.4, seed=1)
    areas = set()
    for epoch in range(10):
        dataset.set_epoch(epoch)
        for i in range(3):
            sample = dataset[i]
            assert sample["size"] == (24, 24) and all(x.shape[1:] == (24, 24) for x in sample["images"].values())
            assert sample["valid"]["rgb"].all() and all(x.isfinite().all() for x in sample["images"].values())
            areas |= set(sample["target"]["masks"].sum((1, 2)).tolist())
            seen = sample["images"]["terrain"][:, sample["valid"]["terrain"]]
            assert seen.numel() == 0 or (seen.min() >= 10 and seen.max() <= 90)
    assert max(areas) > 72 and min(areas) >= 10  # the largest slump has 72 px before it grows


# --- crops


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_crops_around_slumps(share):
    masks, rng = np.zeros((1, 200, 200), bool), np.random.default_rng(0)
    masks[0, 3, 3] = True  # in the corner, where chance does not go
    hit = np.mean([masks[:, *crop_window(masks, 16, rng, share)].any() for _ in range(1000)])
    assert abs(hit - share) < 0.05


def test_jitter_multiplies_how_far_brightness_and_contrast_vary():
    rng = np.random.default_rng(0)
    imagery = rng.uniform(50, 150, (3, 20, 20)).astype(np.float32)
    np.testing.assert_allclose(jittered(imagery, np.random.default_rng(1), jitter=0), imagery, rtol=1e-5)
    for factor in (0.5, 1, 3):
        means = [jittered(imagery, np.random.default_rng(s), factor).mean() / imagery.mean() for s in range(300)]
        spreads = [jittered(imagery, np.random.default_rng(s), factor).std() / imagery.std() for s in range(300)]
        assert 0.08 * factor < np.ptp(means) / 2 <= 0.1 * factor + 1e-4
        assert 0.15 * factor < np.ptp(spreads) / 2 < 0.3 * factor


def test_hue_gives_each_band_a_factor_of_its_own():
    imagery = np.full((3, 4, 4), 100, np.float32)
    imagery[1, 0, 0] = np.nan
    factors = []
    for seed in range(200):
        out = jittered(imagery, np.random.default_rng(seed), jitter=0, hue=0.2)
        assert out.dtype == np.float32 and np.isnan(out[1, 0, 0]) and np.isnan(out).sum() == 1
        assert (np.nanstd(out, axis=(1, 2)) < 1e-3).all()
        factors.append(np.nanmean(out, axis=(1, 2)) / 100)
    factors = np.array(factors)
    assert factors.min() >= 0.8 and factors.max() <= 1.2 and (np.ptp(factors, axis=0) > 0.35).all()
    assert abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.25


def test_jitter_leaves_other_bands_alone():
    chips = chip_set([np.ones((5, 8, 8)) * np.reshape([10, 20, 30, 0.5, 2], (5, 1, 1))])[0]
    sample = ChipDataset(chips, chips.chips, MODALITIES, augment=True, jitter=3, hue=0.3)[0]
    assert (sample["images"]["terrain"][0] == 2).all() and (sample["images"]["terrain"][1] == 0.5).all()
    ratios = sample["images"]["rgb"][:, 0, 0] / torch.tensor([10.0, 20.0, 30.0])
    assert len(set(ratios.tolist())) == 3


# --- knobs


@pytest.mark.parametrize("pair", ["scale_jitter=1", "paste=1.1", "crop_slumps=-0.1", "jitter=5", "hue=1"])
def test_knobs_out_of_range(pair):
    with pytest.raises(ConfigError, match=pair.split("=")[0]):
        Config().with_overrides([pair])


def test_the_training_loop_passes_the_knobs_on():
    from rtslib.training.loop import _loaders

    chips = noisy_set()
    knobs = {"crop": 16, "crop_slumps": 0.25, "scale_jitter": 0.3, "paste": 0.4, "jitter": 2.0, "hue": 0.1}
    config = Config(modalities={m: list(b) for m, b in MODALITIES.items()}, modality_dropout=0.15, **knobs)
    data = _loaders(config, chips, {"train": list(chips.chips)})[0].dataset
    assert {k: getattr(data, k) for k in knobs} == knobs and data.dropout == 0.15 and data.augment
