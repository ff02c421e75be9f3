"""The site that a split holds out to be mapped."""

import pandas as pd
import pytest
from affine import Affine

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.splits import held_out_group, hold_out_site
from rtslib.errors import DataError


def chip(k, group, crs="EPSG:32608", size=(200, 96)):
    return Chip(k, f"c{k}", (), *size, group, "train", True, crs, Affine.identity() if crs else None)


def chipset(tmp_path, *chips):
    return ChipSet(tmp_path, "geotiff", ("red",), chips, {}, 0, (), True, lambda c: None, ())


def split_of(chips, test):
    return pd.DataFrame([(c.id, c.name, c.group, "test" if c.group in test else "train") for c in chips],
                        columns=["chip", "name", "group", "side"])  # fmt: skip


def test_the_largest_held_out_site_of_one_crs_is_mapped(tmp_path):
    zoned = [chip(7, "d"), chip(8, "d", "EPSG:32609"), chip(9, "d")]
    chips = chipset(tmp_path, *(chip(k, g) for k, g in enumerate("abbccc", 1)), *zoned)
    assert held_out_group(chips, split_of(chips.chips, "abd")) == "b"  # c trains, d has two CRSs
    with pytest.raises(DataError, match="test side"):
        held_out_group(chips, split_of(chips.chips, "d"))


def test_the_largest_site_is_held_out_beside_the_others(tmp_path):
    chips = chipset(tmp_path, *(chip(k, g) for k, g in enumerate("aaaaabbbbccd", 1)), chip(13, "z", None))
    before = split_of(chips.chips, "bcz")
    after = hold_out_site(chips, before)
    sides = after.groupby("group")["side"].agg(set)
    assert all(len(s) == 1 for s in sides)
    assert [g for g in sides.index if sides[g] == {"test"}] == ["a", "b", "c", "z"]
    assert held_out_group(chips, after) == "a" and before.equals(split_of(chips.chips, "bcz"))
    assert hold_out_site(chips, after).equals(after)
    nowhere = chipset(tmp_path, chip(1, "a", None), chip(2, "b", None))
    split = split_of(nowhere.chips, "b")
    assert hold_out_site(nowhere, split).equals(split)
