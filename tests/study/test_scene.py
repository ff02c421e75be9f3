"""What the workbook maps, and what it writes down about the map."""

import geopandas as gpd
import pandas as pd
import pytest
from affine import Affine
from shapely.geometry import box

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.scenes import Scene
from rtslib.study import scene


def chip(k, group, crs="EPSG:32608", size=(200, 96)):
    return Chip(k, f"c{k}", (), *size, group, "train", True, crs, Affine.identity() if crs else None)


def chipset(tmp_path, *chips):
    return ChipSet(tmp_path, "geotiff", ("red",), chips, {}, 0, (), True, lambda c: None, ())


def test_windows_are_as_large_as_chips(tmp_path):
    assert scene.window_of(chipset(tmp_path, chip(1, "a"))) == 256
    assert scene.window_of(chipset(tmp_path, chip(1, "a", size=(290, 160)))) == 320


def test_chips_without_georeference_give_no_map_and_a_reason(tmp_path):
    bare = chipset(tmp_path, chip(1, "a", None))
    assert "no georeference" in scene.why_no_scene(bare, "folder")
    assert scene.why_no_scene(bare, "") == ""  # the embedded landscape brings its own scene
    assert scene.why_no_scene(chipset(tmp_path, chip(1, "a")), "folder") == ""


def test_tables_of_a_map(tmp_path):
    at = (500_000, 7_700_000)
    squares = [box(at[0] + d, at[1], at[0] + d + 100, at[1] + 100) for d in (0, 1000, 2000)]
    truth = gpd.GeoDataFrame({"id": [7, 8]}, geometry=squares[:2], crs="EPSG:32608")
    found = gpd.GeoDataFrame({"id": [1, 2], "score": [0.92345, 0.5], "area_m2": [10_008.04, 10_008.0]},
                             geometry=[squares[2], squares[1]], crs="EPSG:32608")  # fmt: skip
    place = Scene(tmp_path, None, truth)
    table = scene.map_table(found, place)
    assert table["matches"].tolist() == [pd.NA, 8]
    assert table[["lon", "lat"]].iloc[0].tolist() == pytest.approx([-134.9476, 69.41], abs=1e-3)
    saved = scene.save_map_table(table, tmp_path / "t" / "map.csv")
    back = pd.read_csv(tmp_path / "t" / "map.csv")
    assert back["score"].tolist() == [0.9234, 0.5] == saved["score"].tolist()
    assert "matches" not in scene.map_table(found, Scene(tmp_path, None, None))
    assert len(scene.map_table(found.iloc[:0], place)) == 0
