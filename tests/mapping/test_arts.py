"""A map in the columns of ARTS."""

import uuid

import geopandas as gpd
import pytest
from shapely.geometry import Polygon, box

from rtslib.errors import ConfigError, DataError
from rtslib.mapping.arts import COLUMNS, to_arts

#: The header of `input_data/Metadata_Format_Summary.csv` of ARTS v6.0.0, in its order.
ARTS = ["CentroidLat", "CentroidLon", "RegionName", "CreatorLab", "BaseMapDate", "BaseMapSource", "BaseMapResolution",
        "TrainClass", "LabelType", "MergedRTS", "SplitRTS", "NewRTS", "StabilizedRTS", "UnknownRelationship",
        "ContributionDate", "UID", "BaseMapID", "Area", "Notes"]  # fmt: skip
GIVEN = {"region": "Banks Island, Canada", "creator": "A, B", "base_map_date": "2021-07-01,2021-08-31",
         "base_map_source": "PlanetScope", "base_map_resolution": 3}  # fmt: skip


@pytest.fixture
def found():
    shapes = [box(500_000, 7_700_000, 500_100, 7_700_100), box(501_000, 7_700_000, 501_200, 7_700_100)]
    values = {"id": [1, 2], "score": [0.91, 0.5], "run_id": ["abc", ""]}
    return gpd.GeoDataFrame(values, geometry=shapes, crs="EPSG:32608", index=[7, 9])


def test_columns_order_and_crs(found):
    got = to_arts(found, **GIVEN, base_map_id="20210712_x", notes="accepted by HR")
    assert list(COLUMNS) == ARTS and list(got.columns) == [*ARTS, "geometry"]
    assert got.crs == "EPSG:3413" and got.index.tolist() == [0, 1]
    assert got.geometry[0].equals(found.to_crs("EPSG:3413").geometry.iloc[0])
    row = got.iloc[0]
    assert (row["CentroidLat"], row["CentroidLon"]) == pytest.approx((69.40999, -134.99872), abs=2e-3)
    back = gpd.points_from_xy([row["CentroidLon"]], [row["CentroidLat"]], crs="EPSG:4326").to_crs("EPSG:32608")[0]
    assert back.distance(found.geometry.iloc[0].centroid) < 1 and row["CentroidLat"] == round(row["CentroidLat"], 5)
    assert row["RegionName":"LabelType"].tolist() == [*GIVEN.values(), "Positive", "Polygon"]
    assert got["BaseMapResolution"].dtype == float and got["BaseMapID"].tolist() == ["20210712_x"] * 2
    assert got["Area"].tolist() == pytest.approx([10_008, 20_016], rel=2e-4)  # square metres on the ground, not of 3413
    assert got["Notes"].tolist() == ["mapped by a model (rtslib); score 0.910; run abc; accepted by HR",
                                     "mapped by a model (rtslib); score 0.500; accepted by HR"]  # fmt: skip


def test_what_a_map_cannot_know_is_empty(found):
    got = to_arts(found, **GIVEN)
    for name in (
        "MergedRTS",
        "SplitRTS",
        "NewRTS",
        "StabilizedRTS",
        "UnknownRelationship",
        "ContributionDate",
        "BaseMapID",
    ):
        assert got[name].tolist() == ["", ""], name
    assert to_arts(found, **GIVEN, contribution_date="2026-01-31")["ContributionDate"].tolist() == ["2026-01-31"] * 2


@pytest.mark.parametrize(("size", "written"), [(3, "3"), (3.0, "3"), (0.5, "0.5")])
def test_the_uid_is_that_of_the_required_fields_in_one_string(found, size, written):
    got = to_arts(found, **{**GIVEN, "base_map_resolution": size})
    lat, lon = got.loc[0, ["CentroidLat", "CentroidLon"]]
    seed = f"{lat}{lon}Banks Island, CanadaA, B2021-07-01,2021-08-31PlanetScope{written}PositivePolygon"
    assert got["UID"][0] == str(uuid.uuid5(uuid.NAMESPACE_DNS, seed)) and len(got["UID"][0]) == 36
    assert got["UID"].is_unique
    alone = to_arts(found.iloc[:1], **{**GIVEN, "base_map_resolution": size})
    assert alone["UID"][0] == got["UID"][0]


def test_a_slump_on_the_date_line_has_its_centroid_there():
    ring = [(1_100, 0), (0, 0), (0, 100), (1_100, 100)]  # metres about 71 N 180 E, as on Wrangel Island
    at = gpd.GeoSeries.from_xy([180], [71], crs="EPSG:4326").to_crs("EPSG:32601")[0]
    shape = Polygon([(at.x - 550 + x, at.y + y) for x, y in ring])
    got = to_arts(gpd.GeoDataFrame(geometry=[shape], crs="EPSG:32601"), **GIVEN)
    assert abs(got["CentroidLon"][0]) == pytest.approx(180, abs=1e-3)
    assert got["CentroidLat"][0] == pytest.approx(71, abs=1e-2)


def test_a_map_without_slumps_and_a_file(found, tmp_path):
    assert list(to_arts(found.iloc[:0], **GIVEN).columns) == [*ARTS, "geometry"]
    to_arts(found, **GIVEN).to_file(tmp_path / "arts.geojson", driver="GeoJSON")
    back = gpd.read_file(tmp_path / "arts.geojson")
    assert list(back.columns) == [*ARTS, "geometry"] and back.crs == "EPSG:3413"


@pytest.mark.parametrize(("knob", "value"), [
    ("region", " "), ("creator", ""), ("base_map_source", ""), ("base_map_date", ""), ("base_map_date", "July 2021"),
    ("base_map_date", "2021-02-30"), ("base_map_date", "20210701"), ("base_map_date", "2021-08-31,2021-07-01"),
    ("base_map_date", "2019-07-01,2020-07-01,2021-07-01"), ("base_map_resolution", 0), ("contribution_date", "today"),
])  # fmt: skip
def test_what_arts_would_refuse_is_refused(found, knob, value):
    with pytest.raises(ConfigError):
        to_arts(found, **{**GIVEN, knob: value})


def test_polygons_need_a_crs(found):
    with pytest.raises(DataError, match="no CRS"):
        to_arts(found.set_crs(None, allow_override=True), **GIVEN)
