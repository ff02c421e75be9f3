"""Pages across 180 degrees: pictures and outlines lie on one another, and neither goes round the world."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from rtslib.data.grids import Grid
from rtslib.data.projecting import about, project
from rtslib.errors import DataError
from rtslib.figures.mercator import LON_LAT, lon_lat, mercator_of
from rtslib.figures.scenes import true_north

#: Grids across 180 degrees: polar, UTM zone 1, and degrees counted either way.
ACROSS = {
    "polar": Grid(CRS.from_epsg(3995), Affine(100, 0, -5_000, 0, -100, 2.21e6), 100, 100),
    "utm": Grid(CRS.from_epsg(32601), Affine(100, 0, 380_000, 0, -100, 7.7e6), 100, 100),
    "east": Grid(LON_LAT, Affine(0.01, 0, 179.5, 0, -0.01, 70), 100, 100),
    "west": Grid(LON_LAT, Affine(0.01, 0, -180.5, 0, -0.01, 70), 100, 100),
}


def test_places_are_those_of_epsg_3857():
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(-135.5, 69.25)
    assert lon_lat(x, y) == pytest.approx([-135.5, 69.25], abs=1e-9)
    target, moved = mercator_of(Grid(CRS.from_epsg(32608), Affine(10, 0, 5e5, 0, -10, 7.7e6), 9, 9))
    assert target.to_epsg() == 3857 and moved == Affine.identity()


@pytest.mark.parametrize("grid", ACROSS.values(), ids=ACROSS)
def test_a_scene_across_180_degrees_is_shown_in_one_piece(grid):
    target, moved = mercator_of(grid)
    xs = np.array([0, 50, 100])
    x, y = grid.transform @ (xs, np.full(3, 50))
    places = Transformer.from_crs(grid.crs, target, always_xy=True).transform(x, y)
    lon, lat = zip(*(lon_lat(*(moved @ p)) for p in zip(*places)))
    steps = np.abs(np.diff(lon))
    assert (steps < 3).all() and min(lon) < np.sign(lon[1]) * 180 < max(lon)
    there = Transformer.from_crs(grid.crs, LON_LAT, always_xy=True).transform(x, y)
    assert lat == pytest.approx(there[1], abs=1e-6)
    assert np.mod(np.subtract(lon, there[0]) + 180, 360) - 180 == pytest.approx(0, abs=1e-6)
    outlines = gpd.GeoDataFrame(geometry=[shapely.box(x[1], y[1] - 0.001, x[2], y[1] + 0.001)], crs=grid.crs)
    west, _, east, _ = about(project(outlines, LON_LAT), float(np.mean(lon))).total_bounds
    assert sorted([west, east]) == pytest.approx(sorted(lon[1:]), abs=1e-2)


def test_a_scene_at_the_pole_is_refused():
    with pytest.raises(DataError, match="found a scene up to 90.0 degrees, expected one that Web Mercator can show"):
        mercator_of(Grid(CRS.from_epsg(3413), Affine(1000, 0, -50_000, 0, -1000, 50_000), 100, 100))


def test_north_is_up_beyond_180():
    assert true_north("EPSG:4326", 181, 70) == pytest.approx(90) == true_north("EPSG:4326", -181, 70)
