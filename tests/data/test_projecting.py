"""Edges are brought along with their ends, and longitudes go on beyond 180."""

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry import Point, box

from rtslib.data.projecting import about, crossing, densify, project
from rtslib.errors import DataError


def frame(*shapes, crs="EPSG:4326"):
    return gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=list(shapes), crs=crs)


@settings(max_examples=15, deadline=None)
@given(st.floats(-170, 150), st.floats(55, 80), st.floats(0.5, 20), st.floats(0.01, 5))
def test_every_point_of_an_edge_lies_on_the_moved_edge(west, south, width, height):
    moved = project(frame(box(west, south, west + width, south + height)), "EPSG:3413").geometry[0]
    along = np.linspace(0.01, 0.99, 7)
    x = np.r_[west + along * width, west + along * width, np.full(7, west), np.full(7, west + width)]
    y = np.r_[np.full(7, south), np.full(7, south + height), south + along * height, south + along * height]
    places = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(x, y)
    assert max(moved.boundary.distance(Point(p)) for p in zip(*places)) < 0.2


def test_small_shapes_and_the_same_crs_stay_as_they_are():
    slump = frame(box(0, 0, 90, 90), crs="EPSG:3413")
    assert project(slump, "EPSG:3413").geometry[0] == slump.geometry[0]
    assert len(project(slump, "EPSG:32622").geometry[0].exterior.coords) == 5
    huge = densify(frame(box(0, 0, 1e12, 1)).geometry.values, "EPSG:3413")[0]
    assert len(huge.exterior.coords) < 200_000  # a wrong unit costs no memory


def test_longitudes_go_on():
    across = project(frame(box(-2_000, 2.2e6, 2_000, 2.204e6), crs="EPSG:3995"), "EPSG:4326")  # 180 is up
    west, _, east, _ = across.total_bounds
    assert 179.9 < west < 180 < east < 180.1 and across.geometry[0].geom_type == "Polygon"
    assert about(across, -179).total_bounds[[0, 2]].mean() == pytest.approx(-180, abs=0.1)
    assert about(across, 0).equals(across) or about(across, 0).total_bounds[0] < 0
    drawn = frame(box(-179, 60, 179, 61), box(-180, 60, 180, 61), box(0, 0, 1, 1)).geometry.values
    assert crossing(drawn).tolist() == [True, False, False]


def test_a_ring_round_the_pole_holds_the_pole():
    cap = frame(Point(0, 0).buffer(1e6), crs="EPSG:3413")
    degrees = project(cap, "EPSG:4326")
    assert degrees.geometry[0].covers(Point(100, 89)) and degrees.total_bounds[3] == 90
    assert project(degrees, "EPSG:3413").area[0] == pytest.approx(cap.area[0], rel=1e-3)


def test_a_place_that_is_none_is_refused():
    with pytest.raises(DataError, match=r"a\.gpkg, row 2: found a polygon that has no place in"):
        project(frame(box(0, 50, 1, 51), box(0, -10, 1, -9)), "+proj=ortho +lat_0=90", "a.gpkg")
