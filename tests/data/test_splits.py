"""Splits: no group on two sides, whatever the groups; near the fractions; the same each time."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.opening import open_chips
from rtslib.data.splits import fold_split, folds_by_group, load_split, save_split, split_by_group, thin
from rtslib.errors import ConfigError, DataError

REAL = Path(__file__).parents[3] / "shared" / "data"
group_sizes = st.lists(st.integers(1, 40), min_size=2, max_size=40)
seeds = st.integers(0, 2**32 - 1)


def chip_set(sizes, unlabelled=0):
    """A chip set (no files) whose group `s<i>` has sizes[i] labelled chips, in mixed order."""
    groups = [f"s{i}" for i, n in enumerate(sizes) for _ in range(n)] + ["s0"] * unlabelled
    order = np.random.default_rng(1).permutation(len(groups))
    labelled = [i < len(groups) - unlabelled for i in range(len(groups))]
    chips = tuple(
        Chip(n, f"chip{n}", (Path(f"{n}.npz"),), 8, 8, groups[i], "train", labelled[i]) for n, i in enumerate(order)
    )
    return ChipSet(
        root=Path("set"), layout="challenge", bands=("red",), chips=chips, dropped_instances=0, notes=(),
        instances={c.id: () for c in chips if c.labelled}, has_groups=True,
        reader=lambda chip: np.zeros((1, 8, 8), dtype=np.float32), listings=(),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(sizes=group_sizes, seed=seeds, val=st.floats(0, 0.4), test=st.floats(0.05, 0.5))
def test_no_group_is_on_two_sides_and_no_chip_is_lost(sizes, seed, val, test):
    chips = chip_set(sizes, unlabelled=3)
    split = split_by_group(chips, val, test, seed)
    assert (split.groupby("group")["side"].nunique() == 1).all()
    assert list(split["chip"]) == [c.id for c in chips.chips if c.labelled]
    assert list(split["group"]) == [c.group for c in chips.chips if c.labelled]
    asked = {"train", "test"} | ({"val"} if val > 0 and len(sizes) > 2 else set())
    assert set(split["side"]) == asked
    pd.testing.assert_frame_equal(split, split_by_group(chips, val, test, seed))


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=30, max_size=60), seed=seeds)
def test_sides_are_near_the_fractions(sizes, seed):
    share = split_by_group(chip_set(sizes), 0.15, 0.2, seed)["side"].value_counts()
    for side, fraction in {"train": 0.65, "val": 0.15, "test": 0.2}.items():
        assert abs(share[side] - fraction * sum(sizes)) <= max(sizes)


def test_single_chips_as_groups_split_exactly():
    share = split_by_group(chip_set([1] * 200), 0.15, 0.2)["side"].value_counts()
    assert share.to_dict() == {"train": 130, "test": 40, "val": 30}


def test_the_seed_decides():
    chips = chip_set([3] * 30)
    splits = [tuple(split_by_group(chips, seed=s)["side"]) for s in range(5)]
    assert len(set(splits)) == 5


def test_two_groups_are_train_and_test_the_larger_one_train():
    for seed in range(4):
        split = split_by_group(chip_set([5, 9]), seed=seed)
        assert split.groupby("group")["side"].first().to_dict() == {"s0": "test", "s1": "train"}


def test_without_a_test_side_all_may_train():
    assert set(split_by_group(chip_set([3]), 0, 0)["side"]) == {"train"}
    assert set(split_by_group(chip_set([3, 2]), 0.2, 0)["side"]) == {"train", "val"}


def test_three_equal_groups_fill_three_sides():
    split = split_by_group(chip_set([4, 4, 4]))
    assert split["side"].value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}


def test_one_huge_group_trains():
    split = split_by_group(chip_set([100, 3, 2, 1, 1]))
    assert set(split[split["group"] == "s0"]["side"]) == {"train"}


@pytest.mark.parametrize("sizes", [[7], []])
def test_fewer_than_two_groups_cannot_be_split(sizes):
    with pytest.raises(DataError, match=f"set: found {len(sizes)} site groups .* expected 2 or more"):
        split_by_group(chip_set(sizes))


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.1, -0.1), (0.5, 0.5), (float("nan"), 0.2)])
def test_fractions_out_of_range(val, test):
    with pytest.raises(ConfigError, match="0 <= val, 0 <= test, val \\+ test < 1"):
        split_by_group(chip_set([1, 2, 3]), val, test)


@settings(max_examples=40, deadline=None)
@given(sizes=group_sizes, k=st.integers(2, 6), seed=seeds)
def test_folds_keep_groups_whole(sizes, k, seed):
    chips = chip_set(sizes)
    if len(sizes) < k:
        with pytest.raises(DataError, match=f"found {len(sizes)} site groups .* expected {k} or more"):
            folds_by_group(chips, k, seed)
        return
    folds = folds_by_group(chips, k, seed)
    assert (folds.groupby("group")["fold"].nunique() == 1).all()
    assert sorted(set(folds["fold"])) == list(range(k))
    assert len(folds) == sum(sizes)
    count = folds["fold"].value_counts()
    assert count.max() - count.min() <= max(sizes)
    pd.testing.assert_frame_equal(folds, folds_by_group(chips, k, seed))


def test_fewer_than_two_folds():
    with pytest.raises(ConfigError, match="k=1 folds"):
        folds_by_group(chip_set([1, 2]), 1)


def test_a_saved_split_comes_back(tmp_path):
    chips = chip_set([5, 4, 3, 2, 1], unlabelled=2)
    split = split_by_group(chips)
    save_split(split, tmp_path / "run" / "split.csv")
    pd.testing.assert_frame_equal(load_split(tmp_path / "run" / "split.csv", chips), split)
    save_split(split.iloc[::-1], tmp_path / "turned.csv")
    pd.testing.assert_frame_equal(load_split(tmp_path / "turned.csv", chips), split)


BAD_SPLITS = {
    "columns": (lambda t: t.drop(columns="group"), "split.csv: found columns", "'group', 'side'"),
    "unknown chip": (lambda t: t.replace({"chip": {0: 99}}), "line 2: found chip 99", "a labelled chip"),
    "another name": (lambda t: t.replace({"name": {"chip0": "x"}}), "found chip 0 'x'", "id and name"),
    "another side": (lambda t: t.replace({"side": {"val": "dev"}}), "side 'dev'", "train, val, test"),
    "chip twice": (lambda t: pd.concat([t, t[:1]]), "found chip 0 twice", "every labelled chip once"),
    "chip missing": (lambda t: t[1:], "found 14 of 15 labelled chips", "every labelled chip once"),
    "no train side": (lambda t: t.assign(side="test"), "found no chip on the train side", "at least one"),
    "group on two sides": (
        lambda t: t.assign(side=["test"] + ["train"] * (len(t) - 1)),
        "found group 's\\d' on 2 sides", "on one side"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SPLITS)
def test_split_files_that_do_not_fit_are_refused(tmp_path, case):
    change, found, expected = BAD_SPLITS[case]
    chips = chip_set([5, 4, 3, 2, 1])
    save_split(change(split_by_group(chips)), tmp_path / "split.csv")
    with pytest.raises(DataError, match=f"{found}.*, expected .*{expected}"):
        load_split(tmp_path / "split.csv", chips)


@pytest.mark.parametrize("text", ["", None, 'chip,name,group,side\n"1,2\n'])
def test_split_files_that_are_no_table(tmp_path, text):
    if text is not None:
        (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match="split.csv: found no readable CSV .*expected columns chip, name"):
        load_split(tmp_path / "split.csv", chip_set([1, 1]))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real chips (shared/data) are not beside this checkout")
def test_real_chips_split_by_source():
    split = split_by_group(open_chips(REAL / "maxar_rgb"))
    assert split.groupby("side")["group"].unique().map(list).to_dict() == {"test": ["yg"], "train": ["nitze"]}
    assert split["side"].value_counts().to_dict() == {"train": 398, "test": 358}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real chips (shared/data) are not beside this checkout")
def test_real_chips_split_by_site():
    chips = open_chips(REAL / "sentinel_rts")
    split = split_by_group(chips)
    assert (chips.has_groups, split["group"].nunique()) == (True, 57)
    share = split["side"].value_counts(normalize=True)
    assert abs(share - pd.Series({"train": 0.65, "val": 0.15, "test": 0.2})).max() < 0.01


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=12, max_size=40), seed=seeds, val=st.floats(0, 0.3))
def test_every_chip_is_tested_in_one_fold_and_never_trained_on_there(sizes, seed, val):
    chips = chip_set(sizes)
    folds = folds_by_group(chips, 5, seed)
    tested = []
    for k in range(5):
        split = fold_split(folds, k, val, seed)
        assert list(split.columns) == ["chip", "name", "group", "side"] and len(split) == len(folds)
        assert (split.groupby("group")["side"].nunique() == 1).all() and "train" in set(split["side"])
        rest = (split["side"] != "test").sum()
        assert (split["side"] == "val").sum() >= val * rest and (("val" in set(split["side"])) == (val > 0))
        tested += list(split.loc[split["side"] == "test", "chip"])
    assert sorted(tested) == sorted(c.id for c in chips.chips)


def test_there_must_be_such_a_fold_and_something_to_train_on():
    folds = folds_by_group(chip_set([3, 3, 3, 3, 3]), 5)
    with pytest.raises(ConfigError, match=r"no fold 7: there are \[0, 1, 2, 3, 4\]"):
        fold_split(folds, 7)
    with pytest.raises(ConfigError, match="val=0.9 takes all 4 groups beside fold 0"):
        fold_split(folds, 0, 0.9)


def test_thin_keeps_every_side_and_its_share():
    split = pd.DataFrame({"chip": range(100), "side": ["train"] * 70 + ["val"] * 10 + ["test"] * 20})
    few = thin(split, 20)
    assert few["side"].value_counts().to_dict() == {"train": 14, "test": 4, "val": 2}
    assert few["chip"].is_monotonic_increasing and few["chip"].iloc[0] == 0 and few["chip"].iloc[-1] == 99
    assert thin(split, 100) is split
