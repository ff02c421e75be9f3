"""Look-alikes: windows of one made picture are found where they lie, whatever their light; other pictures are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.lookalikes import COLUMNS, lookalike_pairs, lookalikes, with_groups
from rtslib.data.masks import decode
from rtslib.data.opening import open_chips
from rtslib.data.splits import folds_by_group, split_by_group
from rtslib.errors import DataError

REAL = Path(__file__).parents[3] / "shared" / "data" / "maxar_rgb"


def ground(seed, size=400):
    """A picture of unlike places, float32 (size, size), mean 100, standard deviation 20."""
    rough = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 1.5)
    return (100 + 20 * rough / rough.std()).astype(np.float32)


GROUND = ground(0)


def chip_set(pictures, groups=None, bands=("nir",), has_groups=False):
    """A chip set (no files) of pictures (H, W) or (B, H, W), ids from 1."""
    stacks = {i: p[None] if p.ndim == 2 else p for i, p in enumerate(pictures, start=1)}
    chips = tuple(
        Chip(i, f"chip{i}", (Path(f"{i}.npz"),), *p.shape[1:], groups[i - 1] if groups else "sun", "train", True)
        for i, p in stacks.items()
    )
    return ChipSet(
        root=Path("set"), layout="coco", bands=bands, chips=chips, dropped_instances=0, notes=(),
        instances={c.id: () for c in chips}, has_groups=has_groups, reader=lambda chip: stacks[chip.id], listings=(),
    )  # fmt: skip


def window(y, x, height=90, width=120):
    return GROUND[y : y + height, x : x + width]


def others(count=3, height=90, width=120):
    """Windows of other pictures, none like another."""
    return [ground(seed)[:height, :width] for seed in range(1, count + 1)]


def test_windows_are_found_where_they_lie():
    """Chip 1 begins at row 100, column 100 of the picture, chip 5 at row 130, column 60: 60 x 80 px in common."""
    pairs = lookalike_pairs(chip_set([window(100, 100), *others(), window(130, 60)]))
    assert list(pairs.columns) == list(COLUMNS)
    assert pairs.drop(columns="correlation").values.tolist() == [[1, 5, "chip1", "chip5", -30, 40, 60 * 80]]
    assert pairs["correlation"][0] > 0.95


@pytest.mark.parametrize("size", [(40, 50), (150, 110), (230, 260)])
def test_chips_of_any_size_and_pairs_of_two_sizes(size):
    """Large chips are reduced in the search, but places are exact."""
    pairs = lookalike_pairs(chip_set([window(40, 30, *size), *others(2), window(43, 37, 90, 120)]))
    assert pairs[["a", "b", "dy", "dx"]].values.tolist() == [[1, 4, -3, -7]]
    assert pairs["overlap_px"][0] == min(size[0] - 3, 90) * min(size[1] - 7, 120)


LIGHTS = {
    "darker": lambda p: 0.4 * p,
    "brighter and hazy": lambda p: 0.7 * p + 90,
    "shaded": lambda p: p + np.linspace(0, 150, p.shape[1], dtype=np.float32),
    "noisy": lambda p: p + np.random.default_rng(5).normal(0, 5, p.shape).astype(np.float32),
}


@pytest.mark.parametrize("light", LIGHTS)
def test_light_does_not_matter(light):
    lit = LIGHTS[light](window(110, 85)).astype(np.float32)
    pairs = lookalike_pairs(chip_set([window(100, 100), *others(), lit]))
    assert pairs[["a", "b", "dy", "dx"]].values.tolist() == [[1, 5, -10, 15]]


@pytest.mark.parametrize("unit", [1e-4, 0.01, 100])
def test_the_unit_of_a_set_does_not_matter(unit):
    pictures = [window(100, 100), *others(), window(110, 85)]
    pairs = lookalike_pairs(chip_set([np.float32(unit) * p for p in pictures]))
    assert pairs[["a", "b", "dy", "dx"]].values.tolist() == [[1, 5, -10, 15]]


@settings(max_examples=25, deadline=None)
@given(
    shift=st.tuples(st.integers(-130, 130), st.integers(-130, 130)),
    sizes=st.tuples(*[st.integers(60, 130)] * 4),
    seed=st.integers(1, 10**6),
)
def test_a_pair_is_found_if_and_only_if_much_is_shared(shift, sizes, seed):
    (dy, dx), (h, w, high, wide) = shift, sizes
    first, second = window(130, 130, h, w), window(130 - dy, 130 - dx, high, wide)
    shared = max(min(h, high - dy) - max(0, -dy), 0) * max(min(w, wide - dx) - max(0, -dx), 0)
    pairs = lookalike_pairs(chip_set([first, ground(seed)[:100, :110], second]))
    found = pairs[["a", "b", "dy", "dx", "overlap_px"]].values.tolist()
    if shared >= 1500:
        assert found == [[1, 3, dy, dx, shared]]
    elif shared == 0:
        assert found == []
    else:  # too little to be sure of: nothing, or the truth
        assert found in ([], [[1, 3, dy, dx, shared]])


def test_pictures_without_texture_are_like_nothing():
    flat = [np.full((90, 120), value, dtype=np.float32) for value in (7, 7, 0)]
    assert lookalike_pairs(chip_set(flat)).empty
    assert lookalike_pairs(chip_set([*flat, window(0, 0), *others()])).empty
    assert set(lookalikes(chip_set(flat)).values()) == {"sun-000", "sun-001", "sun-002"}


def test_chips_too_small_to_tell_are_like_nothing():
    assert lookalike_pairs(chip_set([window(0, 0, 20, 30), window(0, 0, 20, 30), window(0, 0, 1, 1)])).empty


def test_nodata_does_not_count():
    """Columns 0 to 59 of chip 1 are void: of 90 x 120 px in common 90 x 60 are valid; a void chip has nothing."""
    void = window(100, 100).copy()
    void[:, :60] = np.nan
    pairs = lookalike_pairs(chip_set([void, *others(), window(100, 100), np.full((90, 120), np.nan, np.float32)]))
    assert pairs.drop(columns="correlation").values.tolist() == [[1, 5, "chip1", "chip5", 0, 0, 90 * 60]]
    assert lookalike_pairs(chip_set([void, window(100, 40), *others()])).empty  # what they share is void
    assert lookalike_pairs(chip_set([np.full((90, 120), np.nan, np.float32)] * 2)).empty


def test_a_shared_shore_is_no_shared_ground():
    """Two straight shores of other grounds fit along their whole length, but that is all that fits."""
    water = np.arange(90)[:, None] < np.arange(120)[None] // 2
    lakes = [np.where(water, np.float32(20), p) for p in others(6)]
    assert lookalike_pairs(chip_set(lakes)).empty


def test_luminance_where_there_is_colour_else_the_first_band():
    red, other = window(100, 100), window(110, 105)
    grey = [np.stack([p] * 3) for p in (red, *others(), other)]
    assert len(lookalike_pairs(chip_set(grey, bands=("red", "green", "blue")))) == 1
    blue_alike = [np.stack([a, a, b]) for a, b in zip(others(4), (red, *others(), other))]
    assert lookalike_pairs(chip_set(blue_alike, bands=("red", "green", "blue"))).empty
    first = [np.stack([p, np.zeros_like(p)]) for p in (red, *others(), other)]
    assert len(lookalike_pairs(chip_set(first, bands=("nir", "ndvi")))) == 1


def test_the_table_is_the_same_each_time_and_whatever_the_order():
    chips = chip_set([window(100, 100), window(90, 140), *others(), window(60, 150, 100, 80), window(62, 150)])
    pairs = lookalike_pairs(chips)
    assert len(pairs) == 6 and (pairs["a"] < pairs["b"]).all()
    pd.testing.assert_frame_equal(lookalike_pairs(chips), pairs)
    turned = ChipSet(**{**chips.__dict__, "chips": chips.chips[::-1]})
    pd.testing.assert_frame_equal(lookalike_pairs(turned), pairs)


def test_groups_are_chains_of_pairs_named_by_their_first_chip():
    """1 - 3 - 5 overlap one by one, 1 and 5 do not; 2 and 6 are one picture; 4 is alone."""
    alone = ground(9)[:90, :120]
    chips = chip_set(
        [window(0, 0), window(200, 200), window(0, 80), alone, window(0, 160), window(200, 200)],
        groups=["sun", "moon", "sun", "sun", "sun", "sun"],
    )
    found = lookalikes(chips)
    assert found == {1: "sun-000", 2: "moon-000", 3: "sun-000", 4: "sun-001", 5: "sun-000", 6: "moon-000"}
    assert found == lookalikes(chips, lookalike_pairs(chips))


def test_known_sites_stay_whole_and_are_joined_where_they_overlap():
    pictures = [window(0, 0), ground(9)[:90, :120], window(10, 10), ground(8)[:90, :120]]
    sites = chip_set(pictures, groups=["a", "a", "b", "c"], has_groups=True)
    assert lookalikes(sites) == {1: "a-000", 2: "a-000", 3: "a-000", 4: "c-000"}
    sources = chip_set(pictures, groups=["a", "a", "b", "c"])
    assert lookalikes(sources) == {1: "a-000", 2: "a-001", 3: "a-000", 4: "c-000"}


def test_splits_by_look_keep_pairs_on_one_side():
    pairs = pd.DataFrame({"a": range(1, 40, 2), "b": range(2, 41, 2)})
    chips = chip_set([window(0, 0, 8, 8)] * 50)
    with pytest.raises(DataError, match="found 1 sources"):
        folds_by_group(chips)
    grouped = with_groups(chips, lookalikes(chips, pairs))
    assert [c.name for c in grouped.chips] == [c.name for c in chips.chips]
    folds = folds_by_group(grouped).set_index("chip")["fold"]
    sides = split_by_group(grouped).set_index("chip")["side"]
    for found in (folds, sides):
        assert (found[pairs["a"]].values == found[pairs["b"]].values).all() and found.nunique() > 2
    assert with_groups(chips, {2: "x"}).chips[1].group == "x" and with_groups(chips, {2: "x"}).chips[0].group == "sun"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real chips (shared/data) are not beside this checkout")
def test_real_look_alikes_have_the_same_slumps():
    """What proves a pair: the outlines that were drawn on the two chips agree at the shift found from the pixels."""
    chips = open_chips(REAL)
    chips = ChipSet(**{**chips.__dict__, "chips": chips.chips[:60]})
    place = {c.id: c for c in chips.chips}
    drawn = {c.id: np.any([decode(i.rle) for i in chips.instances[c.id]], axis=0) for c in chips.chips}
    agree = []
    for pair in lookalike_pairs(chips).itertuples():
        a, b = place[pair.a], place[pair.b]
        y, x = np.mgrid[: a.height, : a.width]
        inside = (0 <= y + pair.dy) & (y + pair.dy < b.height) & (0 <= x + pair.dx) & (x + pair.dx < b.width)
        ours = drawn[pair.a][inside]
        theirs = drawn[pair.b][(y + pair.dy)[inside], (x + pair.dx)[inside]]
        if min(ours.sum(), theirs.sum()) >= 50:
            agree.append((ours & theirs).sum() / (ours | theirs).sum())
    assert len(agree) > 5 and min(agree) > 0.6
