"""Copy-paste: constant slumps on constant ground, so that every pixel of the result is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.chip_folders import box_mask
from helpers.memory import chip_set
from rtslib.data.masks import MIN_PIXELS
from rtslib.data.paste import FULL, LITTLE, SOFT, alpha_of, cut_out, paste
from rtslib.data.samples import ChipDataset, collate

MODALITIES = {"rgb": ("red", "green", "blue"), "terrain": ("ndvi", "relative_elevation")}
LIMITS = np.array([(-0.2, 65535), (-1, 1)])
EDGE = FULL + SOFT


def ground(values, size=(60, 60)):
    """Constant bands, float32 (B, *size)."""
    return np.ones((len(values), *size), np.float32) * np.reshape(values, (-1, 1, 1)).astype(np.float32)


def donor_of(values, slump, mask):
    """Constant bands with other constants on a mask, and that mask as the one instance."""
    pixels = ground(values, mask.shape)
    pixels[:, mask] = np.reshape(slump, (-1, 1))
    return pixels, mask[None]


def pasted(target, masks, *donors, seed=0, zoom=0.0, limits=LIMITS):
    masks = np.zeros((0, *target.shape[1:]), bool) if masks is None else masks
    return paste(target, masks, donors, limits, zoom, np.random.default_rng(seed))


SLUMP = box_mask(40, 40, 14, 15, 9, 6)


# --- values


@pytest.mark.parametrize("seed", range(8))
def test_a_slump_keeps_its_contrast_and_its_ground_becomes_that_of_the_target(seed):
    """Ground 50 and slump 80 on a target of 100: the slump is 130, everything else 100, without a seam."""
    target = ground([100, 0.25])
    out, masks = pasted(target, None, donor_of([50, 0.5], [80, 0.125], SLUMP), seed=seed)
    assert masks.shape == (1, 60, 60) and masks.sum() == SLUMP.sum() == 54
    np.testing.assert_allclose(out[0], np.where(masks[0], 130, 100), rtol=1e-5)
    np.testing.assert_allclose(out[1], np.where(masks[0], -0.125, 0.25), rtol=1e-5)
    rows, cols = np.flatnonzero(masks[0].any(1)), np.flatnonzero(masks[0].any(0))
    assert {len(rows), len(cols)} == {9, 6}
    assert (target == ground([100, 0.25])).all()  # what was given is not written to


def test_values_stay_within_what_a_band_can_have():
    out, masks = pasted(ground([10, 0.75]), None, donor_of([200, 0.25], [100, 0.75], SLUMP))
    np.testing.assert_allclose(out[:, masks[0]].T, [[-0.2, 1.0]] * 54, rtol=1e-6)
    free = np.array([(-np.inf, np.inf)] * 2)
    out, masks = pasted(ground([10, 0.75]), None, donor_of([200, 0.25], [100, 0.75], SLUMP), limits=free)
    np.testing.assert_allclose(out[:, masks[0]].T, [[-90, 1.25]] * 54, rtol=1e-6)


def test_a_lake_beside_the_slump_does_not_tint_it():
    """A third of the donor's ring is another ground: the median passes over it, a mean would not."""
    donor, mask = donor_of([50, 0.5], [80, 0.125], SLUMP)
    donor[:, :13] = np.reshape([5, -0.5], (2, 1, 1))
    out, masks = pasted(ground([100, 0.25]), None, (donor, mask))
    np.testing.assert_allclose(out[0][masks[0]], 130, rtol=1e-5)


def test_alpha_is_one_around_the_slump_and_fades():
    alpha = alpha_of(box_mask(41, 41, 20, 20, 1, 1), np.ones((41, 41), bool))
    line = alpha[20, 20:]
    assert (line[: FULL + 1] == 1).all() and (line[EDGE + 1 :] == 0).all()
    assert (np.diff(line[FULL : EDGE + 2]) < 0).all() and abs(np.diff(line)).max() < 0.3
    taken = np.ones((41, 41), bool)
    taken[:, 23:] = False
    faded = alpha_of(box_mask(41, 41, 20, 20, 1, 1), taken)
    assert (faded[:, 23:] == 0).all() and 0 < faded[20, 22] < 0.2 and faded[20, 20] == 1 and 0.9 < faded[20, 18] < 1


# --- nodata


def test_nodata_of_the_target_stays_in_each_band():
    target = ground([100, 0.25])
    target[0, :, 30:] = np.nan
    target[1] = np.nan  # a chip without this modality: nothing to match, nothing to paste
    for seed in range(10):
        out, masks = pasted(target, None, donor_of([50, 0.5], [80, 0.125], SLUMP), seed=seed)
        np.testing.assert_array_equal(np.isfinite(out), np.isfinite(target))
        assert len(masks) == 1 and not masks[0, :, 30:].any() and masks.sum() >= (1 - LITTLE) * 54
        np.testing.assert_allclose(out[0, :, :30], np.where(masks[0, :, :30], 130, 100), rtol=1e-5)


def test_no_place_where_there_is_no_data_to_match():
    target = ground([100, 0.25])
    target[:, :, 8:] = np.nan
    donor = donor_of([50, 0.5], [80, 0.125], SLUMP)
    masks = np.zeros((0, 60, 60), bool)
    out, left = pasted(target, masks, donor)
    assert out is target and left is masks


def test_no_place_where_the_ring_lacks_a_band_that_the_slump_would_get():
    size = 20 + 2 * EDGE  # one place alone
    donor = donor_of([50, 0.5], [80, 0.5], box_mask(60, 60, 20, 20, 20, 20))
    target = ground([100, 0.25], (size, size))
    target[1] = np.nan
    assert len(pasted(target, None, donor)[1]) == 1  # the band is nowhere here
    target[1, 12:20, 12:20] = 0.25
    assert pasted(target, None, donor)[0] is target
    target[1, 2, 8:20] = 0.25  # enough of the ring
    assert len(pasted(target, None, donor)[1]) == 1


def test_nodata_of_the_donor_stays_behind():
    """Two of 54 px are void in one band: all bands stay the target's there, and the label leaves them out."""
    donor, mask = donor_of([50, 0.5], [80, 0.125], SLUMP)
    donor[1, 15, 14:16] = np.nan
    out, masks = pasted(ground([100, 0.25]), None, (donor, mask))
    assert np.isfinite(out).all() and masks.sum() == 52
    np.testing.assert_allclose(out[0], np.where(masks[0], 130, 100), rtol=1e-5)
    donor[0, 15, 14:20] = np.nan  # six are more than a little
    assert cut_out(donor, mask, 0, 0.0, np.random.default_rng(0)) is None


def test_void_ground_around_a_slump_does_not_come_along():
    donor, mask = donor_of([50, 0.5], [80, 0.125], SLUMP)
    donor[:, :15] = np.nan
    target = np.random.default_rng(0).uniform(99, 101, (2, 60, 60)).astype(np.float32) / [[[1]], [[400]]]
    out, masks = pasted(target.astype(np.float32), None, (donor, mask))
    assert np.isfinite(out).all() and abs(out[0][~masks[0]] - 100).max() <= 1.5 and masks.sum() == 54


# --- which slumps, and where


@pytest.mark.parametrize("x,y,is_taken", [(EDGE, EDGE, True), (EDGE - 1, EDGE, False), (EDGE, EDGE - 1, False),
                                          (31 - EDGE, 34 - EDGE, True), (32 - EDGE, 34 - EDGE, False),
                                          (31 - EDGE, 35 - EDGE, False)])  # fmt: skip
def test_a_slump_needs_ground_around_it(x, y, is_taken):
    pixels, masks = donor_of([1, 0.5], [2, 0.125], box_mask(40, 40, x, y, 9, 6))
    assert (cut_out(pixels, masks, 0, 0.0, np.random.default_rng(0)) is not None) == is_taken


def test_other_slumps_of_the_donor_stay_behind():
    """A neighbour of value 999, one pixel away, never shows; nor does a slump of fewer than the label rule's pixels."""
    near = box_mask(40, 40, 24, 12, 6, 12)
    donor = ground([50, 0.5], (40, 40))
    donor[0, SLUMP], donor[0, near] = 80, 999
    small = donor_of([50, 0.5], [999, 0.5], box_mask(40, 40, 20, 20, 3, 3))
    for seed in range(12):
        out, masks = pasted(ground([100, 0.25]), None, small, (donor, np.stack([SLUMP, near])), seed=seed)
        single = out[0].max() < 900 or not (masks.sum((1, 2)) == 54).any()
        both = len(masks) == 2 and ((out[0] > 900) <= masks.any(0)).all()
        assert single or both
        assert set(masks.sum((1, 2)).tolist()) <= {54, 72}


def test_as_many_slumps_as_asked_and_at_most_three():
    boxes = [box_mask(80, 80, x, y, 5, 5) for x in (20, 40, 60) for y in (20, 40, 60)]
    donor = ground([50, 0.5], (80, 80)), np.stack(boxes)
    counts = [len(pasted(ground([100, 0.25], (120, 120)), None, donor, seed=s)[1]) for s in range(90)]
    assert {1, 2, 3} == set(counts) and min(counts.count(k) for k in (1, 2, 3)) > 15


def test_the_first_donor_that_fits_gives_the_slump():
    wide = donor_of([50, 0.5], [999, 0.5], box_mask(40, 90, 10, 10, 70, 20))  # wider and higher than the target
    fits = donor_of([50, 0.5], [80, 0.5], SLUMP)
    never = (None, None)
    target = ground([100, 0.25], (26, 26))
    out, masks = pasted(target, None, wide, fits, never)
    assert out[0].max() == pytest.approx(130) and len(masks) == 1
    assert pasted(target, None, wide)[0] is target and pasted(target, None)[0] is target


def test_the_place_whose_ground_is_most_alike_is_taken():
    """Left half as the donor's ground, right half a smooth lake of the same mean, or a brighter ground."""
    rng = np.random.default_rng(0)
    donor, mask = donor_of([50, 0.5], [80, 0.5], SLUMP)
    rough = rng.normal(0, 2, (1, 60, 200)).astype(np.float32)
    donor[0] += rough[0, :40, :40]
    for right in (50, 90):
        target = ground([50, 0.5], (60, 200))
        target[0, :, :100] += rough[0, :, :100]
        target[0, :, 100:] = right
        columns = [pasted(target, None, (donor, mask), seed=s)[1].any(1).nonzero()[1].mean() for s in range(40)]
        assert np.mean(np.array(columns) < 114) > 0.9  # not wholly on the right; by chance 0.57


# --- instances below


def crowded(size=90):
    """A target of 16 instances: 12 px and 400 px ones by turns."""
    boxes = [box_mask(size, size, 3 + 22 * (k % 4), 3 + 22 * (k // 4), *((20, 20) if k % 2 else (4, 3)))
             for k in range(16)]  # fmt: skip
    return ground([100, 0.25], (size, size)), np.stack(boxes)


def test_instances_are_covered_by_little_and_lose_what_is_covered():
    target, masks = crowded()
    bar = donor_of([50, 0.5], [80, 0.125], box_mask(40, 40, 18, 15, 2, 10))
    lost, placed = 0, 0
    for seed in range(80):
        out, left = pasted(target, masks, bar, seed=seed)
        if out is target:
            continue
        new, placed = left[-1], placed + 1
        assert not (left[:-1] & new).any()
        for before in masks:
            after = max(left[:-1], key=lambda m: (m & before).sum()) & before
            share = 1 - after.sum() / before.sum()
            lost += 0 < share
            assert share <= LITTLE
        np.testing.assert_allclose(out[0][new], 130, rtol=1e-5)
    assert placed > 40 and lost > 0


def test_an_instance_left_with_fewer_than_the_label_rule_goes():
    """A 10 px instance beside the only place: the pasted ground covers one pixel of it, and nine are none."""
    donor = donor_of([50, 0.5], [80, 0.125], box_mask(20, 20, 8, 8, 4, 4))
    size = 4 + 2 * EDGE
    target = ground([100, 0.25], (size, size))
    tiny, column = np.zeros((size, size), bool), EDGE - FULL - SOFT // 2  # alpha is above a half up to this column
    tiny[EDGE + 1, column] = True
    tiny[EDGE - 4 : EDGE + 5, column - 1] = True
    assert tiny.sum() == MIN_PIXELS
    out, left = pasted(target, tiny[None], donor)
    assert len(left) == 1 and left[0].sum() == 16 and out[0].max() == pytest.approx(130)
    larger = tiny.copy()
    larger[EDGE + 5, column - 1] = True
    assert pasted(target, larger[None], donor)[1].sum((1, 2)).tolist() == [10, 16]


def test_a_small_instance_that_is_not_touched_stays():
    target, tiny = ground([100, 0.25]), box_mask(60, 60, 0, 0, 3, 2)
    lengths = {len(pasted(target, tiny[None], donor_of([50, 0.5], [80, 0.125], SLUMP), seed=s)[1]) for s in range(10)}
    assert lengths == {2}


def test_nothing_is_pasted_into_a_large_slump():
    target, large = ground([100, 0.25], (90, 90)), box_mask(90, 90, 5, 5, 80, 80)
    assert all(
        pasted(target, large[None], donor_of([50, 0.5], [80, 0.5], SLUMP), seed=s)[0] is target for s in range(9)
    )


def test_slumps_below_are_no_ground_to_match():
    """The left has the donor's ground but a slump of value 999 along its upper rim, where alpha is at most a half."""
    height = 20 + 2 * EDGE
    donor = donor_of([50, 0.5], [80, 0.5], box_mask(60, 60, 20, 20, 20, 20))
    target, rim = ground([50, 0.5], (height, 160)), np.zeros((height, 160), bool)
    target[0, :, 80:] = 60
    rim[:3, :80] = rim[-3:, :80] = True
    target[0, rim] = 999
    for seed in range(10):
        out, masks = pasted(target, rim[None], donor, seed=seed)
        assert masks[-1].nonzero()[1].max() < 80
        np.testing.assert_allclose(out[0][masks[-1]], 80, rtol=1e-5)


def test_slumps_around_do_not_shift_a_patch():
    """One place alone, and most of the ring around it is a slump of value 999."""
    size = 20 + 2 * EDGE
    donor = donor_of([50, 0.5], [80, 0.5], box_mask(60, 60, 20, 20, 20, 20))
    target, frame = ground([100, 0.5], (size, size)), np.ones((size, size), bool)
    frame[3:-3, 3:-3] = False
    target[0, frame] = 999
    out, masks = pasted(target, frame[None], donor)
    np.testing.assert_allclose(out[0][masks[-1]], 130, rtol=1e-5)


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.4]))
@settings(max_examples=60, deadline=None)
def test_pixels_and_masks_stay_aligned(seed, zoom):
    """The band is 100 on slumps and 0 elsewhere, in donor and target; so it must be in the result."""
    rng = np.random.default_rng(seed)

    def made(size, count):
        masks = np.zeros((count, size, size), bool)
        for m in masks:
            y, x = rng.integers(0, size - 14, 2)
            m[y : y + rng.integers(6, 14), x : x + rng.integers(6, 14)] = True
        return ground([1], (size, size)) * 100 * masks.any(0), masks

    target, masks = made(90, 2)
    out, left = pasted(target, masks, made(70, 1), made(70, 1), seed=seed, zoom=zoom, limits=np.array([(-1e9, 1e9)]))
    assert (out[0][left.any(0)] >= 50 - 1e-3).all()
    assert (out[0][~left.any(0)] < 50 + 1e-3).mean() > 1 - 30 / 8100  # what of an instance is too small to be one
    assert out.min() >= -1e-3 and out.max() <= 100 + 1e-3


# --- samples


def two_kinds(count=4, size=(64, 64)):
    """Chips of different ground with one slump 30 brighter, and a last one without any."""
    pixels, masks = [], []
    for k in range(count):
        p = ground([100 + 10 * k, 20, 30, 0.5, 0], size)
        m = box_mask(*size, 20 + k, 24, 9, 6)
        if k < count - 1:
            p[0, m], p[4, m] = p[0, m] + 30, -5
        pixels.append(p)
        masks.append([m] if k < count - 1 else [])
    return chip_set(pixels, masks)


def dataset(chips, **knobs):
    return ChipDataset(chips, chips.chips, MODALITIES, augment=True, jitter=0.0, **{"paste": 1.0, **knobs})


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_samples_get_slumps_of_other_chips_in_all_modalities():
    chips, _ = two_kinds()
    data = dataset(chips)
    for epoch in range(5):
        data.set_epoch(epoch)
        for k in range(4):
            sample = data[k]
            masks = sample["target"]["masks"]
            assert (
                len(masks) == (2 if k < 3 else 1) == len(sample["target"]["boxes"]) == len(sample["target"]["labels"])
            )
            assert (masks.sum((1, 2)) >= (1 - LITTLE) * 54).all() and masks[-1].sum() == 54
            red, depth = sample["images"]["rgb"][0], sample["images"]["terrain"][1]
            torch.testing.assert_close(red[masks[-1]], torch.full((54,), 130.0 + 10 * k), rtol=1e-5, atol=1e-3)
            torch.testing.assert_close(depth[masks[-1]], torch.full((54,), -5.0))
            assert ((depth < -2.499) == masks.any(0)).all()  # a slump in another's ring is half of itself at least
            assert red.min() > 99.9 + 10 * k and depth.max() < 1e-5


def test_slumps_are_pasted_after_the_crop():
    chips, _ = two_kinds(size=(128, 128))
    data = dataset(chips, crop=32, crop_slumps=0.0)
    found = []
    for epoch in range(10):
        data.set_epoch(epoch)
        found += [data[k]["target"]["masks"] for k in range(4)]
    assert np.mean([(m.sum((1, 2)) == 54).any().item() for m in found]) > 0.9
    assert all(m.shape[1:] == (32, 32) for m in found)


def test_pasting_depends_on_seed_epoch_and_index_only():
    chips, _ = two_kinds()
    knobs = {"scale_jitter": 0.3, "hue": 0.1, "crop": 48, "seed": 3}
    cached, fresh, other = dataset(chips, **knobs), dataset(chips, **knobs, cache=False), dataset(chips, **knobs)
    for epoch in range(4):
        cached.set_epoch(epoch), fresh.set_epoch(epoch)
        assert all(same(cached[k], fresh[k]) for k in (2, 0, 3, 1, 2))
    other.set_epoch(1)
    assert not any(same(cached[k], other[k]) for k in range(4))
    plain = [ChipDataset(chips, chips.chips, MODALITIES)[k] for k in range(4)]
    assert all((s["images"]["rgb"][0].unique().numel() == 2) == (k < 3) for k, s in enumerate(plain))


def test_pasting_is_the_same_in_a_worker():
    chips, _ = two_kinds()
    data = dataset(chips, scale_jitter=0.3, crop=48)
    loader = torch.utils.data.DataLoader(
        data, batch_size=4, num_workers=1, multiprocessing_context="fork", collate_fn=collate
    )
    there, here = next(iter(loader)), collate([data[k] for k in range(4)])
    assert same(there["images"], here["images"]) and all(map(same, there["targets"], here["targets"]))


def test_the_knob_is_a_chance():
    chips, _ = two_kinds()
    data, hits = dataset(chips, paste=0.3), []
    for epoch in range(100):
        data.set_epoch(epoch)
        hits += [len(data[k]["target"]["masks"]) > (k < 3) for k in range(4)]
    assert abs(np.mean(hits) - 0.3) < 0.07


def test_nothing_is_pasted_without_another_chip_or_without_labels():
    chips, _ = two_kinds(count=2)  # one with a slump, one without
    data = dataset(chips)
    assert len(data[0]["target"]["masks"]) == 1 and len(data[1]["target"]["masks"]) == 1
    bare, _ = chip_set([ground([100, 20, 30, 0.5, 0], (64, 64))] * 2, labelled=False)
    assert "target" not in dataset(bare)[0]
