"""What the workbook maps, and what it writes down about the map."""

import geopandas as gpd
import pandas as pd
import pytest
from affine import Affine
from shapely.geometry import box

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.scenes import Scene
from rtslib.errors import DataError
from rtslib.study import scene as mapstudy


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
    assert mapstudy.held_out_group(chips, split_of(chips.chips, "abd")) == "b"  # c trains, d has two CRSs
    with pytest.raises(DataError, match="test side"):
        mapstudy.held_out_group(chips, split_of(chips.chips, "d"))
    assert mapstudy.window_of(chips) == 256
    assert mapstudy.window_of(chipset(tmp_path, chip(1, "a", size=(290, 160)))) == 320


def test_the_largest_site_is_held_out_beside_the_others(tmp_path):
    chips = chipset(tmp_path, *(chip(k, g) for k, g in enumerate("aaaaabbbbccd", 1)), chip(13, "z", None))
    before = split_of(chips.chips, "bcz")
    after = mapstudy.hold_out_site(chips, before)
    sides = after.groupby("group")["side"].agg(set)
    assert all(len(s) == 1 for s in sides)
    assert [g for g in sides.index if sides[g] == {"test"}] == ["a", "b", "c", "z"]
    assert mapstudy.held_out_group(chips, after) == "a" and before.equals(split_of(chips.chips, "bcz"))
    assert mapstudy.hold_out_site(chips, after).equals(after)
    nowhere = chipset(tmp_path, chip(1, "a", None), chip(2, "b", None))
    split = split_of(nowhere.chips, "b")
    assert mapstudy.hold_out_site(nowhere, split).equals(split)


def test_chips_without_georeference_give_no_map_and_a_reason(tmp_path):
    bare = chipset(tmp_path, chip(1, "a", None))
    assert "no georeference" in mapstudy.why_no_scene(bare, "folder")
    assert mapstudy.why_no_scene(bare, "") == ""  # the embedded landscape brings its own scene
    assert mapstudy.why_no_scene(chipset(tmp_path, chip(1, "a")), "folder") == ""


def test_tables_of_a_map(tmp_path):
    at = (500_000, 7_700_000)
    squares = [box(at[0] + d, at[1], at[0] + d + 100, at[1] + 100) for d in (0, 1000, 2000)]
    truth = gpd.GeoDataFrame({"id": [7, 8]}, geometry=squares[:2], crs="EPSG:32608")
    found = gpd.GeoDataFrame({"id": [1, 2], "score": [0.92345, 0.5], "area_m2": [10_008.04, 10_008.0]},
                             geometry=[squares[2], squares[1]], crs="EPSG:32608")  # fmt: skip
    scene = Scene(tmp_path, None, truth)
    table = mapstudy.map_table(found, scene)
    assert table["matches"].tolist() == [pd.NA, 8]
    assert table[["lon", "lat"]].iloc[0].tolist() == pytest.approx([-134.9476, 69.41], abs=1e-3)
    saved = mapstudy.save_map_table(table, tmp_path / "t" / "map.csv")
    back = pd.read_csv(tmp_path / "t" / "map.csv")
    assert back["score"].tolist() == [0.9234, 0.5] == saved["score"].tolist()
    assert "matches" not in mapstudy.map_table(found, Scene(tmp_path, None, None))
    assert len(mapstudy.map_table(found.iloc[:0], scene)) == 0
