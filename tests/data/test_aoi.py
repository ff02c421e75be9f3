"""Areas: the grid over them and where they are searched."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from rtslib.data.aoi import grid_over, outline
from rtslib.data.grids import Grid
from rtslib.errors import ConfigError, DataError


def area(tmp_path, *boxes, crs="EPSG:4326"):
    path = tmp_path / "aoi.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.box(*b) for b in boxes], crs=crs).to_file(path)
    return path


def test_the_grid_covers_the_area_at_multiples_of_the_pixel_size(tmp_path):
    grid = grid_over(area(tmp_path, (500_003, 7_700_000, 500_057, 7_700_061), crs="EPSG:32608"), "EPSG:32608", 10)
    assert grid.transform == Affine(10, 0, 500_000, 0, -10, 7_700_070) and (grid.height, grid.width) == (7, 6)
    exact = grid_over(area(tmp_path, (500_000, 7_700_000, 500_060, 7_700_070), crs="EPSG:32608"), "EPSG:32608", 10)
    assert exact == grid


def test_without_a_crs_it_is_the_utm_zone_of_the_middle(tmp_path):
    assert grid_over(area(tmp_path, (-138.2, 69, -137.9, 69.1)), "", 100).crs.to_epsg() == 32607
    with pytest.raises(ConfigError, match="beyond all UTM zones: give --crs"):
        grid_over(area(tmp_path, (-30, 84.5, -29, 84.6)), "", 100)


ACROSS = [(179.9, 69, 180, 69.1), (-180, 69, -179.9, 69.1)]


def test_an_area_across_180_degrees_needs_a_crs_and_is_right_with_one(tmp_path):
    path = area(tmp_path, *ACROSS)
    with pytest.raises(ConfigError, match="across 180 degrees: give --crs"):
        grid_over(path, "", 10)
    for crs in ("EPSG:3413", "EPSG:32660", "EPSG:32601"):
        grid = grid_over(path, crs, 10)
        assert 700 < grid.width < 1400 and 900 < grid.height < 1600  # 8 x 11 km, turned in EPSG:3413
        parts = outline(grid)
        assert parts.geom_type == "MultiPolygon" and parts.contains(shapely.box(179.91, 69.01, 179.99, 69.09))
        assert parts.bounds[0] == -180 and parts.bounds[2] == 180 and parts.area < 0.2


def test_the_outline_holds_the_whole_grid():
    """The corners of a wide polar grid alone would cut off its middle."""
    grid = Grid(rasterio.CRS.from_epsg(3413), Affine(1000, 0, -500_000, 0, -1000, -1_500_000), 300, 1000)
    x, y = grid.transform @ np.array([[1, 500, 999, 500, 1, 999], [1, 1, 1, 299, 299, 299]])
    lon, lat = rasterio.warp.transform("EPSG:3413", "EPSG:4326", x, y)
    assert outline(grid).buffer(1e-3).covers(shapely.multipoints(np.column_stack([lon, lat])))


@pytest.mark.parametrize("pixel", [5000, 1e9])
def test_pixels_larger_than_the_area_are_refused(tmp_path, pixel):
    path = area(tmp_path, (500_003, 7_700_000, 500_057, 7_700_061), crs="EPSG:32608")
    with pytest.raises(ConfigError, match="makes one pixel of all of .*: take smaller pixels"):
        grid_over(path, "EPSG:32608", pixel)


def test_a_grid_that_leaves_the_globe_is_refused():
    grid = Grid(rasterio.CRS.from_epsg(32608), Affine(1e9, 0, 0, 0, -1e9, 1e9), 1, 1)
    with pytest.raises(DataError, match="a corner that has no place on the globe"):
        outline(grid)


def test_a_pole_is_refused():
    grid = Grid(rasterio.CRS.from_epsg(3413), Affine(1000, 0, -100_000, 0, -1000, 100_000), 200, 200)
    with pytest.raises(DataError, match="a pole in it"):
        outline(grid)


@pytest.mark.parametrize(
    ("crs", "pixel", "said"),
    [
        ("EPSG:4326", 10, "not projected"), ("EPSG:0", 10, "is none"), ("soup", 10, "is none"),
        ("EPSG:3413", 0, "above 0"), ("EPSG:3413", float("nan"), "above 0"), ("EPSG:3413", 1e-4, "take larger pixels"),
    ],
)  # fmt: skip
def test_what_makes_no_grid_is_refused(tmp_path, crs, pixel, said):
    with pytest.raises(ConfigError, match=said):
        grid_over(area(tmp_path, (-135, 69, -134.9, 69.1)), crs, pixel)


def test_no_area_is_refused(tmp_path):
    gpd.GeoDataFrame(geometry=[], crs="EPSG:4326").to_file(tmp_path / "none.gpkg")
    for crs in ("", "EPSG:3413"):
        with pytest.raises(DataError):
            grid_over(tmp_path / "none.gpkg", crs, 10)
