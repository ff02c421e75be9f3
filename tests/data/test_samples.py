"""Samples, batches, augmentation and statistics of chips, on hand-made chip sets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.chip_folders import write_challenge
from helpers.memory import chip_set
from rtslib.data.augment import jittered, turned
from rtslib.data.opening import open_chips
from rtslib.data.samples import ChipDataset, boxes_of, collate
from rtslib.data.statistics import STD_FLOOR, band_statistics
from rtslib.errors import ConfigError, DataError

MODALITIES = {"rgb": ("red", "green", "blue"), "terrain": ("relative_elevation",), "mix": ("ndvi", "red")}


def corner(shape=(6, 8), rows=slice(1, 3), columns=slice(2, 7)):
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


@pytest.fixture()
def one():
    """One 6 x 8 px chip: red 10, green 20, blue 30, ndvi 0.5, elevation 2; two voids; two slumps."""
    pixels = np.ones((5, 6, 8), np.float32) * np.reshape([10, 20, 30, 0.5, 2], (5, 1, 1))
    pixels[4, 0, 0] = np.nan  # elevation only
    pixels[1, 5, 7] = np.nan  # green only
    return chip_set([pixels], [[corner(), corner(rows=slice(5, 6), columns=slice(0, 1))]])


def test_sample(one):
    chips, _ = one
    sample = ChipDataset(chips, chips.chips, MODALITIES)[0]
    assert sample["image_id"] == 1 and sample["size"] == (6, 8)
    assert {m: tuple(x.shape) for m, x in sample["images"].items()} == {
        "rgb": (3, 6, 8), "terrain": (1, 6, 8), "mix": (2, 6, 8),
    }  # fmt: skip
    assert all(x.dtype == torch.float32 for x in sample["images"].values())
    assert sample["images"]["mix"][:, 3, 3].tolist() == [0.5, 10]
    assert sample["images"]["rgb"][:, 0, 0].tolist() == [10, 20, 30]


def test_validity_is_per_modality_and_invalid_pixels_are_zero(one):
    chips, _ = one
    sample = ChipDataset(chips, chips.chips, MODALITIES)[0]
    assert {m: torch.nonzero(~v).tolist() for m, v in sample["valid"].items()} == {
        "rgb": [[5, 7]], "terrain": [[0, 0]], "mix": [],
    }  # fmt: skip
    assert sample["images"]["rgb"][:, 5, 7].tolist() == [0, 0, 0]
    assert sample["images"]["terrain"][0, 0, 0] == 0
    assert all(v.dtype == torch.bool for v in sample["valid"].values())


def test_target(one):
    chips, _ = one
    target = ChipDataset(chips, chips.chips, MODALITIES)[0]["target"]
    assert target["boxes"].tolist() == [[2, 1, 7, 3], [0, 5, 1, 6]] and target["boxes"].dtype == torch.float32
    assert target["labels"].tolist() == [1, 1] and target["labels"].dtype == torch.int64
    assert target["masks"].dtype == torch.bool and target["masks"].shape == (2, 6, 8)
    np.testing.assert_array_equal(target["masks"][0].numpy(), corner())


def test_chip_without_slump_and_chip_without_labels():
    flat = np.ones((5, 4, 6))
    chips, _ = chip_set([flat])
    target = ChipDataset(chips, chips.chips, MODALITIES)[0]["target"]
    shapes = {k: tuple(v.shape) for k, v in target.items()}
    assert shapes == {"boxes": (0, 4), "labels": (0,), "masks": (0, 4, 6)}
    assert target["masks"].dtype == torch.bool
    chips, _ = chip_set([flat], labelled=False)
    assert "target" not in ChipDataset(chips, chips.chips, MODALITIES, augment=True)[0]


def test_unknown_band_is_refused(one):
    chips, _ = one
    with pytest.raises(ConfigError, match="needs bands"):
        ChipDataset(chips, chips.chips, {"spectral": ("nir",)})


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_cache_reads_once_and_changes_nothing(one):
    chips, reads = one
    cached = ChipDataset(chips, chips.chips, MODALITIES, augment=True)
    fresh = ChipDataset(chips, chips.chips, MODALITIES, augment=True, cache=False)
    for epoch in range(6):
        cached.set_epoch(epoch), fresh.set_epoch(epoch)
        assert same(cached[0], fresh[0])
    assert len(reads) == 7
    plain = ChipDataset(chips, chips.chips, MODALITIES)
    assert same(plain[0], plain[0])
    assert same(plain[0], ChipDataset(chips, chips.chips, MODALITIES, cache=False)[0])


def test_augmentation_depends_on_seed_epoch_and_index_only(one):
    chips, _ = one
    twins = [ChipDataset(chips, chips.chips * 8, MODALITIES, augment=True, seed=3) for _ in range(2)]
    first = [twins[0][k] for k in range(8)]
    assert all(same(first[k], twins[1][k]) for k in reversed(range(8)))
    assert len({float(s["images"]["rgb"].sum()) for s in first}) == 8
    twins[0].set_epoch(1)
    assert not any(same(first[k], twins[0][k]) for k in range(8))
    twins[0].set_epoch(0)
    assert same(first[5], twins[0][5])
    other = ChipDataset(chips, chips.chips * 8, MODALITIES, augment=True, seed=4)
    assert not any(same(first[k], other[k]) for k in range(8))


def test_epoch_reaches_persistent_workers(one):
    chips, _ = one
    dataset = ChipDataset(chips, chips.chips * 4, MODALITIES, augment=True)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=2, num_workers=1, persistent_workers=True, multiprocessing_context="fork",
        collate_fn=collate,
    )  # fmt: skip
    for epoch in range(2):
        dataset.set_epoch(epoch)
        here = [collate([dataset[k], dataset[k + 1]]) for k in (0, 2)]
        assert all(same(a, b) for a, b in zip(loader, here, strict=True))


def test_all_eight_turns_move_all_modalities_and_targets_together():
    """The elevation band holds the mask itself, so it must stay the mask under every turn."""
    mask = corner(rows=slice(0, 2), columns=slice(1, 4))
    pixels = np.ones((5, 6, 8), np.float32)
    pixels[4], pixels[3] = mask, mask * 0.5
    pixels[0, 0, 7] = np.nan
    chips, _ = chip_set([pixels], [[mask]])
    dataset = ChipDataset(chips, chips.chips * 60, MODALITIES, augment=True)
    seen = set()

    def samples():
        for epoch in (0, 1):
            dataset.set_epoch(epoch)
            yield from (dataset[k] for k in range(60))

    for sample in samples():
        moved = sample["target"]["masks"][0]
        assert moved.shape == sample["size"] == sample["images"]["terrain"].shape[1:]
        assert torch.equal(sample["images"]["terrain"][0], moved.float())
        invalid = torch.nonzero(~sample["valid"]["mix"])
        assert len(invalid) == 1 and sample["valid"]["terrain"].all()
        x0, y0, x1, y1 = (int(v) for v in sample["target"]["boxes"][0])
        assert (x1 - x0) * (y1 - y0) == 6 and moved[y0:y1, x0:x1].all() and moved.sum() == 6
        seen.add((*sample["size"], x0, y0))
    assert len(seen) == 8


@pytest.mark.parametrize("size,turned", [((6, 8), {0: {(6, 8)}, 1: {(8, 6)}, 2: {(6, 8)}}), ((6, 6), {0: {(6, 6)}})])
def test_chips_that_are_not_square_lie_alike_in_one_epoch(size, turned):
    chips, _ = chip_set([np.ones((5, *size), np.float32)])
    dataset = ChipDataset(chips, chips.chips * 20, MODALITIES, augment=True)
    for epoch, sizes in turned.items():
        dataset.set_epoch(epoch)
        assert {dataset[k]["size"] for k in range(20)} == sizes


@given(st.integers(0, 3), st.booleans())
def test_turned_is_a_copy_and_can_be_undone(turns, flip):
    array = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    out = turned(array, turns, flip)
    assert not np.shares_memory(out, array) and out.flags.c_contiguous
    back = turned(turned(out, 0, flip), -turns, False)
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_jitter_is_mild_keeps_hue_and_touches_imagery_only(unit):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(50, 150, (3, 20, 20)).astype(np.float32) * np.float32(unit)
    pixels[:, 0, 0] = np.nan
    for seed in range(20):
        out = jittered(pixels, np.random.default_rng(seed))
        assert out.dtype == np.float32 and np.isnan(out[:, 0, 0]).all() and np.isfinite(out[:, 1:]).all()
        brightness = np.nanmean(out, axis=(1, 2)) / np.nanmean(pixels, axis=(1, 2))
        contrast = np.nanstd(out, axis=(1, 2)) / np.nanstd(pixels, axis=(1, 2))
        assert np.ptp(brightness) < 1e-4 and np.ptp(contrast) < 1e-4
        assert 0.9 <= brightness[0] <= 1.1 and 0.8 <= contrast[0] <= 1.2
    chips, _ = chip_set([np.ones((5, 4, 4)) * np.reshape([10, 20, 30, 0.5, 2], (5, 1, 1))])
    sample = ChipDataset(chips, chips.chips, MODALITIES, augment=True)[0]
    assert (sample["images"]["terrain"] == 2).all() and (sample["images"]["mix"][0] == 0.5).all()
    assert sample["images"]["rgb"][0, 0, 0] != 10
    assert torch.equal(sample["images"]["rgb"][0], sample["images"]["mix"][1])


def test_boxes_of_nothing():
    assert boxes_of(np.zeros((0, 5, 7), dtype=bool)).shape == (0, 4)


# --- batches


def test_collate_pads_bottom_right_to_the_largest():
    pixels = [np.full((5, 6, 40), 0.5), np.full((5, 33, 8), 0.25)]
    chips, _ = chip_set(pixels, [[corner((6, 40))], []])
    dataset = ChipDataset(chips, chips.chips, MODALITIES)
    batch = collate([dataset[0], dataset[1]])
    assert batch["image_ids"] == [1, 2] and batch["sizes"] == [(6, 40), (33, 8)]
    assert batch["images"]["rgb"].shape == (2, 3, 33, 40) and batch["valid"]["rgb"].shape == (2, 33, 40)
    for k, (h, w) in enumerate(batch["sizes"]):
        assert batch["valid"]["terrain"][k].sum() == h * w and batch["valid"]["terrain"][k, :h, :w].all()
        assert torch.equal(batch["images"]["mix"][k, :, :h, :w], dataset[k]["images"]["mix"])
        assert not batch["images"]["mix"][k, :, h:].any() and not batch["images"]["mix"][k, :, :, w:].any()
    assert [len(t["boxes"]) for t in batch["targets"]] == [1, 0]
    assert batch["targets"][0]["masks"].shape == (1, 6, 40)


def test_collate_without_labels_and_with_some():
    chips, _ = chip_set([np.ones((5, 4, 4))], labelled=False)
    bare = ChipDataset(chips, chips.chips, MODALITIES)[0]
    assert collate([bare, bare])["targets"] is None
    labelled, _ = chip_set([np.ones((5, 4, 4))])
    with pytest.raises(ValueError, match="all of them or none"):
        collate([bare, ChipDataset(labelled, labelled.chips, MODALITIES)[0]])
    with pytest.raises(ValueError, match="at least one sample"):
        collate([])


# --- statistics


def test_statistics_by_hand_over_valid_pixels_only():
    a, b = np.ones((5, 2, 2)), np.ones((5, 1, 4)) * 3
    a[4, 0, 0], a[0, 1, 1] = np.nan, np.nan  # one void each in terrain and rgb
    a[1, 1, 1] = 1e6  # invalid in rgb, since red is void there
    chips, _ = chip_set([a, b])
    stats = band_statistics(chips, chips.chips, {"rgb": MODALITIES["rgb"], "terrain": MODALITIES["terrain"]})
    assert stats["rgb"]["mean"] == pytest.approx([15 / 7] * 3)
    assert stats["rgb"]["std"] == pytest.approx([np.std([1] * 3 + [3] * 4)] * 3)
    assert stats["terrain"]["mean"] == pytest.approx([15 / 7]) and len(stats["terrain"]["std"]) == 1


def test_statistics_use_the_given_chips_only_and_floor_the_deviation():
    chips, reads = chip_set([np.full((5, 3, 3), 2.0), np.full((5, 3, 3), 100.0)])
    stats = band_statistics(chips, chips.chips[:1], MODALITIES)
    assert reads == [1]
    assert stats["rgb"] == {"mean": [2, 2, 2], "std": [STD_FLOOR] * 3}


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_statistics_equal_those_of_all_pixels_together(seed, count):
    rng = np.random.default_rng(seed)
    pixels = [rng.normal(3000, 5, (5, *rng.integers(1, 9, 2))) for _ in range(count)]
    chips, _ = chip_set(pixels)
    stats = band_statistics(chips, chips.chips, {"rgb": MODALITIES["rgb"]})["rgb"]
    together = np.concatenate([p[:3].reshape(3, -1).astype(np.float32) for p in pixels], axis=1).astype(float)
    np.testing.assert_allclose(stats["mean"], together.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(stats["std"], np.maximum(together.std(axis=1), STD_FLOOR), rtol=1e-9)


def test_statistics_of_a_band_that_is_all_void():
    pixels = np.ones((5, 3, 3))
    pixels[4] = np.nan
    chips, _ = chip_set([pixels])
    with pytest.raises(DataError, match=r"no valid pixel of terrain \(relative_elevation\) in 1 training"):
        band_statistics(chips, chips.chips, MODALITIES)
    with pytest.raises(DataError, match="in 0 training chips"):
        band_statistics(chips, [], MODALITIES)


# --- the real set


def test_sentinel_samples(pytestconfig):
    root = pytestconfig.rootpath.parent / "shared" / "data" / "sentinel_rts"
    if not root.is_dir():
        pytest.skip("real data ../shared/data/sentinel_rts is not here")
    chips = open_chips(root)
    empty = next(c for c in chips.chips if c.name == "20160821T181425_w_188")
    pair = [chips.chips[0], empty]
    dataset = ChipDataset(chips, pair, chips.modalities())
    sample = dataset[1]
    assert sample["valid"]["rgb"].float().mean() < 0.01 and sample["valid"]["terrain"].all()
    assert all(torch.isfinite(x).all() for x in sample["images"].values())
    batch = collate([dataset[0], sample])
    assert batch["images"]["spectral"].shape == (2, 3, 256, 256)
    stats = band_statistics(chips, pair, chips.modalities())
    assert all(0 < m < 0.5 for m in stats["rgb"]["mean"]) and 100 < stats["terrain"]["mean"][1] < 200


def test_crops_hold_an_instance_two_times_in_three():
    from rtslib.data.augment import crop_window

    masks, rng = np.zeros((2, 60, 90), bool), np.random.default_rng(0)
    masks[0, 0:3, 0:3] = masks[1, 55:60, 85:90] = True
    hit = 0
    for _ in range(600):
        rows, cols = crop_window(masks, 16, rng)
        assert rows.stop - rows.start == cols.stop - cols.start == 16
        assert 0 <= rows.start and rows.stop <= 60 and 0 <= cols.start and cols.stop <= 90
        hit += masks[:, rows, cols].any()
    assert 0.62 < hit / 600 < 0.75  # two in three, and a few by chance
    assert crop_window(masks[:0], 100, rng) == (slice(0, 60), slice(0, 90))  # a smaller chip stays whole


def test_cropped_samples_fit_together(tmp_path):
    root = write_challenge(tmp_path / "data", train=4, size=(40, 50))
    chips = open_chips(root)
    dataset = ChipDataset(chips, chips.labelled(), chips.modalities(), augment=True, crop=16, seed=3)
    for epoch in range(6):
        dataset.set_epoch(epoch)
        for i in range(4):
            sample = dataset[i]
            assert sample["size"] == (16, 16) and sample["images"]["terrain"].shape == (2, 16, 16)
            masks = sample["target"]["masks"]
            assert masks.shape[1:] == (16, 16) and (masks.sum((1, 2)) >= 10).all()  # the label rule holds in a crop
            assert len(sample["target"]["boxes"]) == len(masks)
    whole = ChipDataset(chips, chips.labelled(), chips.modalities(), augment=False, crop=16)[0]
    assert whole["size"] == (40, 50)
