"""Fetching: files as the readers want them, one grid, and stopped fetches that go on."""

from datetime import date

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from helpers.stac import UTM, serving
from rtslib.config import Config
from rtslib.data import catalogs, fetching, stac
from rtslib.data.aoi import grid_over
from rtslib.data.fetching import fetch, plan
from rtslib.data.region import open_region
from rtslib.data.stac import Season
from rtslib.errors import ConfigError, DataError, OutputError
from rtslib.mapping.plan import Options
from rtslib.mapping.plan import plan as map_plan

JULY = Season(date(2023, 7, 1), date(2023, 7, 31))


@pytest.fixture()
def api(tmp_path, monkeypatch):
    monkeypatch.setattr(stac, "BACKOFF", 0)
    monkeypatch.setattr(fetching, "BLOCK", 16)
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as api:
        yield api


@pytest.fixture()
def grid(tmp_path):
    """30 x 40 px of 10 m inside the items."""
    gpd.GeoDataFrame(geometry=[shapely.box(500_103, 7_699_602, 500_398, 7_699_999)], crs=UTM).to_file(
        tmp_path / "a.gpkg"
    )
    return grid_over(tmp_path / "a.gpkg", "", 10)


def got(api, grid, out, season=JULY, **wanted):
    return list(fetch(plan(grid, api.url, season=season, **wanted), out))


def test_images_and_elevations_are_what_map_reads(api, grid, tmp_path):
    api.add("a", "2023-07-10", 2000, scl=np.where(np.arange(64) < 12, 9, 4))
    api.add("b", "2023-07-12", 4000, scl=np.where(np.arange(64) < 11, 9, 4))
    api.dem("d", 120.5)
    image, dem = got(api, grid, tmp_path / "out")
    assert (image.path.name, dem.path.name) == ("sentinel2.tif", "copernicus_dem.tif")
    region = open_region([str(image.path), str(dem.path)])
    assert region.grid == grid and not region.warped  # one grid, pixel by pixel
    assert region.bands[:5] == ("red", "green", "blue", "nir", "elevation") and "relative_elevation" in region.bands
    pixels = region.read(["red", "nir", "elevation"])
    np.testing.assert_allclose(
        pixels[:, :, 2:], np.broadcast_to([[[0.2]], [[0.23]], [[120.5]]], (3, 40, 28)), rtol=1e-6
    )
    assert np.isnan(pixels[0, :, 0]).all() and np.allclose(pixels[0, :, 1], 0.3)
    todo = map_plan(Config(), region, Options(window=16, overlap=4))
    assert not todo.absent and todo.windows == 9
    assert image.empty == pytest.approx(1 / 30) and dem.empty == 0


def test_files_are_cogs_that_say_what_they_are(api, grid, tmp_path):
    api.add("a", "2023-07-10", 2000)
    api.add("b", "2023-07-12", 2000)
    api.dem("d", 0)
    image, dem = got(api, grid, tmp_path / "out")
    with rasterio.open(image.path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.dtypes == ("int16",) * 4
        assert file.descriptions == ("red", "green", "blue", "nir") and file.scales == (1e-4,) * 4
        assert file.nodata == -32768 and [c.name for c in file.colorinterp] == ["red", "green", "blue", "undefined"]
        tags = file.tags()
    assert tags["items"] == "a,b" and tags["dates"] == "2023-07-10,2023-07-12" and tags["catalog"] == api.url
    assert tags["composite"] == "median" and tags["collections"] == "sentinel-2-l2a" and "Copernicus" in tags["credit"]
    with rasterio.open(dem.path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.descriptions == ("elevation",)
        assert file.nodata == -9999 and file.tags()["vertical_datum"] == "EGM2008 geoid" and file.tags()["items"] == "d"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["copernicus_dem.tif", "sentinel2.tif"]


def test_elevations_of_another_catalog_lie_on_the_same_grid(api, grid, tmp_path):
    api.collections = {"arcticdem-mosaics-v4.1-2m"}
    polar = Affine(2, 0, 0, 0, -2, 0)
    (x,), (y,) = rasterio.warp.transform(UTM, "EPSG:3413", [500_250], [7_699_800])
    api.dem("tile", 7, "EPSG:3413", polar.translation(x - 500, y + 500) @ polar, 500, *api.collections, "dem")
    (dem,) = got(api, grid, tmp_path / "out", season=None)
    assert dem.path.name == "arcticdem.tif" and dem.empty == 0
    region = open_region([str(dem.path)])
    assert region.grid == grid and (region.read(["elevation"]) == 7).all()


def test_the_clearest_day_alone(api, grid, tmp_path):
    api.collections.discard("cop-dem-glo-30")
    api.add("a", "2023-07-10", 2000, cloud=20)
    api.add("b", "2023-07-12", 4000, cloud=10)
    (image,) = got(api, grid, tmp_path / "out", how="clearest")
    assert (open_region([str(image.path)]).read(["red"]) == np.float32(0.3)).all()
    assert image.wanted.tags["items"] == "b" and image.wanted.tags["date"] == "2023-07-12"


def test_what_is_there_and_whole_is_not_fetched_again(api, grid, tmp_path):
    api.add("a")
    api.dem("d", 1)
    first = got(api, grid, tmp_path / "out")
    stamps = [f.path.stat().st_mtime_ns for f in first]
    del api.asked[:]
    again = got(api, grid, tmp_path / "out")
    assert not any("tif" in path for path in api.asked) and not any(f.fresh for f in again)
    assert [f.path.stat().st_mtime_ns for f in again] == stamps and [f.empty for f in again] == [0, 0]
    data = first[0].path.read_bytes()
    first[0].path.write_bytes(data[: len(data) - 300])
    image, dem = got(api, grid, tmp_path / "out")
    assert (image.fresh, dem.fresh) == (True, False) and image.path.read_bytes() == data


def test_a_stopped_fetch_goes_on_with_the_missing_blocks(api, grid, tmp_path):
    api.collections.discard("cop-dem-glo-30")
    api.add("a", red=np.arange(1, 64 * 64 + 1).reshape(64, 64))
    (wanted,) = plan(grid, api.url, season=JULY)
    (whole,) = fetch([wanted], tmp_path / "whole")

    def stop(done, total):
        assert total == 6
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(fetch([wanted], tmp_path / "out", stop))
    (kept,) = (tmp_path / "out").iterdir()
    assert len(list(kept.iterdir())) == 4
    first = {p: p.stat().st_mtime_ns for p in kept.iterdir()}
    seen = []
    (found,) = fetch([wanted], tmp_path / "out", lambda done, total: seen.append(
        all(p.exists() and p.stat().st_mtime_ns == t for p, t in first.items())))  # fmt: skip
    assert seen == [True] * 6 + [False] and found.path.read_bytes() == whole.path.read_bytes()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["sentinel2.tif"]


def test_blocks_of_another_request_are_not_taken(api, grid, tmp_path):
    api.collections.discard("cop-dem-glo-30")
    api.add("a", red=2000)
    (tmp_path / "out" / ".sentinel2-0123456789ab").mkdir(parents=True)
    got(api, grid, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["sentinel2.tif"]


def test_another_request_does_not_overwrite(api, grid, tmp_path):
    api.add("a")
    api.dem("d", 1)
    got(api, grid, tmp_path / "out", products=["copernicus_dem"])
    api.dem("e", 1)
    with pytest.raises(OutputError, match="copernicus_dem.tif holds something else.*--out"):
        got(api, grid, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["copernicus_dem.tif"]  # nothing was begun


def test_a_broken_item_leaves_no_file_and_keeps_the_rest(api, grid, tmp_path):
    api.collections.discard("cop-dem-glo-30")
    api.add("broken")
    api.add("whole")
    (api.folder / "broken" / "nir.tif").unlink()
    with pytest.raises(DataError, match="item broken.*nir"):
        got(api, grid, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tif"))
    (found,) = got(api, grid, tmp_path / "out", skip=["broken"])
    assert found.wanted.tags["items"] == "whole"


def test_an_empty_answer_says_what_was_asked(api, grid):
    api.add("cloudy", cloud=90)
    api.dem("d", 1)
    with pytest.raises(DataError, match="no sentinel2 of 2023-07-01 to 2023-07-31, at most 30 % cloud among 1 items"):
        plan(grid, api.url, season=JULY)
    api.items.clear()
    with pytest.raises(DataError, match="no copernicus_dem among 0 items"):
        plan(grid, api.url, ["copernicus_dem"])
    assert not any("tif" in path for path in api.asked)


def test_choices_are_checked_before_anything_is_asked(api, grid):
    with pytest.raises(ConfigError, match="no product 'dem'"):
        plan(grid, api.url, ["dem"])
    with pytest.raises(ConfigError, match="no composite 'mean'"):
        plan(grid, api.url, how="mean")
    assert not api.asked
    with pytest.raises(ConfigError, match="sentinel2 needs --from and --to"):
        plan(grid, api.url)
    with pytest.raises(DataError, match="no arcticdem, expected a collection arcticdem-mosaics-v4.1-2m"):
        plan(grid, api.url, ["arcticdem"])
    api.collections = {"landsat"}
    with pytest.raises(DataError, match="take another --catalog"):
        plan(grid, api.url)


def test_rasters_behind_a_token(api, grid, tmp_path, monkeypatch):
    monkeypatch.setitem(catalogs.CATALOGS, "guarded", catalogs.Catalog(api.url, f"{api.url}/token/{{}}"))
    api.dem("d", 3)
    api.token = "sig=secret"
    (dem,) = fetch(plan(grid, "guarded", ["copernicus_dem"]), tmp_path / "out")
    assert dem.empty == 0 and api.asked.count("/token/cop-dem-glo-30") == 1
    with pytest.raises(DataError, match="item d: found asset data unreadable") as said:
        list(fetch(plan(grid, api.url, ["copernicus_dem"]), tmp_path / "other"))
    assert "secret" not in str(said.value)
    api.faults = {"/token/cop-dem-glo-30": 99}
    with pytest.raises(DataError, match="/token/cop-dem-glo-30: found no usable answer"):
        list(fetch(plan(grid, "guarded", ["copernicus_dem"]), tmp_path / "other"))


def test_an_area_across_180_degrees_is_whole(api, tmp_path, monkeypatch):
    """Two tiles of UTM zones 60 and 1, and elevations in degrees, meet at the antimeridian."""
    monkeypatch.setattr(fetching, "BLOCK", 1024)
    gpd.GeoDataFrame(geometry=[shapely.box(-3_000, -2_000, 3_000, 2_000)], crs=(
        "+proj=laea +lat_0=69 +lon_0=180 +datum=WGS84")).to_file(tmp_path / "a.gpkg")  # fmt: skip
    grid = grid_over(tmp_path / "a.gpkg", "EPSG:3413", 200)
    # One overpass, over there at noon, and in Greenwich at midnight.
    for zone, side, day, hour in [(32660, -5_000, 10, "23:59:55"), (32601, -10_000, 11, "00:00:05")]:
        (x,), (y,) = rasterio.warp.transform("EPSG:4326", zone, [180], [69])
        at = Affine(100, 0, x + side - 5_000 * (zone == 32660), 0, -100, y + 10_000)
        api.add(f"zone-{zone}", f"2023-07-{day}", 2000, crs=f"EPSG:{zone}", at=at, size=200, hour=hour)
    for name, west in [("west", 179.5), ("east", -180)]:
        api.dem(name, 7, "EPSG:4326", Affine(0.01, 0, west, 0, -0.01, 69.25), 50)
    image, dem = got(api, grid, tmp_path / "out")
    assert image.wanted.tags["items"] == "zone-32601,zone-32660" and dem.wanted.tags["items"] == "east,west"
    assert (image.empty, dem.empty) == (0, 0) and "," not in image.wanted.tags["dates"]
    for found, value in [(image, 1000), (dem, 7)]:
        with rasterio.open(found.path) as file:
            assert (file.read(1) == value).all()
