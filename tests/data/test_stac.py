"""Search: pages, seasons, clouds, items that are there twice, and servers that fail."""

from datetime import UTC, date, datetime

import pystac
import pytest
import shapely
from affine import Affine

from helpers.stac import AT, S2, serving
from rtslib.data import catalogs, stac
from rtslib.data.catalogs import PRODUCTS, Catalog, Way, reflectance
from rtslib.data.stac import Season, choose, clearest, collections_of, connect, find
from rtslib.errors import ConfigError, DataError

HERE = shapely.box(-135.01, 69.35, -134.9, 69.45)
SUMMER = Season(date(2023, 7, 1), date(2023, 8, 31))
SENTINEL2 = PRODUCTS["sentinel2"]


@pytest.fixture()
def api(tmp_path, monkeypatch):
    monkeypatch.setattr(stac, "BACKOFF", 0)
    with serving(tmp_path) as api:
        yield api


def chosen(api, season=SUMMER, skip=(), longitude=-135, collections=(S2,)):
    items = find(connect(Catalog(api.url)), collections, HERE, season)
    return [v.item.id for v in choose(items, SENTINEL2, season, longitude, skip)]


def test_all_pages_are_read(api):
    api.page = 2
    for k in range(5):
        api.add(f"s{k}", f"2023-07-1{k}")
    assert chosen(api) == [f"s{k}" for k in range(5)]
    assert api.asked.count("/search") == 3


def test_seasons_and_clouds(api):
    days = {"june": "2022-06-30", "a": "2022-07-15", "cloudy": "2022-07-16", "winter": "2023-01-15", "b": "2023-07-15"}
    for name, day in {**days, "august": "2023-08-01"}.items():
        api.add(name, day, cloud=61 if name == "cloudy" else 60 if name == "b" else 0)
    assert chosen(api, Season(date(2022, 7, 1), date(2023, 8, 31), (7,), 60)) == ["a", "b"]
    assert chosen(api, Season(date(2022, 7, 1), date(2023, 7, 31), (), 100)) == ["a", "cloudy", "winter", "b"]


def test_days_are_those_of_the_sun(api):
    """At 135 degrees west the sun is 9 hours late: what is 1 September in Greenwich is still August there."""
    api.add("evening", "2023-09-01", hour="03:00:00")
    api.add("morning", "2023-07-01", hour="03:00:00")
    assert chosen(api) == ["evening"]
    assert chosen(api, longitude=135) == ["morning"]


def test_what_lies_elsewhere_is_not_found(api):
    api.add("far", at=AT @ Affine.translation(5000, 0))
    assert chosen(api) == []


def test_a_tile_that_is_there_twice_is_read_once(api):
    """The last baseline, or the preferred collection; another satellite or tile of that day is something else."""
    same = {"grid:code": "MGRS-08WNB", "platform": "sentinel-2a"}
    api.add("old", baseline="03.01", **same)
    api.add("new", baseline="05.09", **same)
    api.add("b", **{**same, "platform": "sentinel-2b"})
    api.add("tile", **{**same, "grid:code": "MGRS-08WNC"})
    assert chosen(api) == ["b", "new", "tile"]
    api.add("c1", baseline="05.00", collection="sentinel-2-c1-l2a", raster={"scale": 1e-4, "offset": -0.1}, **same)
    assert chosen(api, collections=SENTINEL2.collections) == ["b", "c1", "tile"]


@pytest.mark.parametrize("part, key", [("assets", "nir"), ("properties", "eo:cloud_cover"),
                                       ("properties", "s2:processing_baseline")])  # fmt: skip
def test_an_item_without_what_is_needed_is_named(api, part, key):
    del api.add("broken")[part][key]
    api.add("whole")
    with pytest.raises(DataError, match=f"item broken: .*{key}.*--skip broken"):
        chosen(api)
    assert chosen(api, skip=["broken"]) == ["whole"]


def test_the_clearest_day_is_the_one_that_shows_most(api):
    east = AT @ Affine.translation(64, 0)
    api.add("cloudy-west", "2023-07-10", cloud=30)
    api.add("cloudy-east", "2023-07-10", cloud=30, at=east)
    api.add("half", "2023-07-11", cloud=0)
    items = find(connect(Catalog(api.url)), [S2], HERE, SUMMER)
    both = shapely.unary_union([shapely.geometry.shape(i["geometry"]) for i in api.items])
    views = choose(items, SENTINEL2, SUMMER, -135)
    assert [v.item.id for v in clearest(views, both)] == ["cloudy-east", "cloudy-west"]
    assert [v.item.id for v in clearest(views, shapely.geometry.shape(api.items[0]["geometry"]))] == ["half"]


# --- reflectance


@pytest.mark.parametrize(
    ("properties", "extra", "expected"),
    [
        ({"s2:processing_baseline": "03.01"}, {}, (1e-4, 0)),
        ({"s2:processing_baseline": "04.00"}, {}, (1e-4, -0.1)),
        ({"s2:processing_baseline": "05.11"}, {"raster:bands": [{"offset": 0}]}, (1e-4, 0)),
        ({}, {"raster:bands": [{"scale": 2e-4, "offset": -0.2}]}, (2e-4, -0.2)),
        ({}, {"bands": [{"raster:scale": 2e-4, "raster:offset": -0.2}]}, (2e-4, -0.2)),  # STAC 1.1
        ({}, {"raster:scale": 2e-4, "raster:offset": -0.2}, (2e-4, -0.2)),
        # Earth Search declares an offset even where it has applied it.
        ({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"},
         {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}, (1e-4, 0)),
        ({"earthsearch:boa_offset_applied": False}, {"raster:bands": [{"offset": -0.1}]}, (1e-4, -0.1)),
    ],
)  # fmt: skip
def test_offsets(properties, extra, expected):
    item = pystac.Item("a", None, None, datetime.now(UTC), properties)
    item.add_asset("red", pystac.Asset("red.tif", extra_fields=extra))
    assert reflectance(item, "red") == expected


def test_an_offset_that_nothing_tells_is_not_guessed():
    for properties in ({}, {"s2:processing_baseline": "new"}):
        item = pystac.Item("a", None, None, datetime.now(UTC), properties)
        item.add_asset("red", pystac.Asset("red.tif"))
        with pytest.raises(DataError, match="item a.*--skip a"):
            reflectance(item, "red")


# --- servers


def test_a_busy_server_is_asked_again(api):
    api.add("a")
    api.faults = {"/": 2, "/search": 3}
    assert chosen(api) == ["a"]
    api.faults = {"/search": 99}
    with pytest.raises(DataError, match="no usable answer.*503"):
        chosen(api)


@pytest.mark.parametrize("path", ["", "/a/red.tif", "/nowhere"])
def test_no_server_or_no_stac_api_is_one_line(api, path):
    api.add("a")
    url = "http://127.0.0.1:1" if not path else api.url + path
    with pytest.raises(DataError, match="no usable answer") as said:
        collections_of(connect(Catalog(url)))
    assert "\n" not in str(said.value) and len(str(said.value)) < 500


def test_a_catalog_without_search_is_refused(api, monkeypatch):
    monkeypatch.setattr("helpers.stac.CONFORMS", ["core"])
    with pytest.raises(DataError, match="no usable answer"):
        find(connect(Catalog(api.url)), [S2], HERE, SUMMER)


def test_catalogs_by_name_and_url():
    assert catalogs.catalog("pgc").url == "https://stac.pgc.umn.edu/api/v1/"
    assert catalogs.catalog("http://x/y").url == "http://x/y"
    with pytest.raises(ConfigError, match="earth-search, planetary-computer, pgc"):
        catalogs.catalog("pcg")


def test_open_buckets_are_read_by_https():
    way = Way(Catalog("http://x"), "dem", lambda url: pytest.fail("nothing to ask"))
    assert way("s3://bucket/a/b.tif") == "https://bucket.s3.amazonaws.com/a/b.tif"
    assert way("https://x/a.tif") == "https://x/a.tif"


def test_read_tokens_are_asked_for_once_until_they_end():
    asked, until = [], "2099-01-01T00:00:00Z"

    def read(url):
        asked.append(url)
        return f'{{"token": "t{len(asked)}", "msft:expiry": "{until}"}}'

    way = Way(Catalog("http://x", "http://x/token/{}"), "dem", read)
    assert [way("http://y/a.tif"), way("http://y/b.tif")] == ["http://y/a.tif?t1", "http://y/b.tif?t1"]
    until = "2020-01-01T00:00:00Z"
    other = Way(Catalog("http://x", "http://x/token/{}"), "s2", read)
    assert [other("a"), other("a")] == ["a?t2", "a?t3"]
    assert asked == ["http://x/token/dem", "http://x/token/s2", "http://x/token/s2"]
    with pytest.raises(DataError, match="no read token"):
        Way(Catalog("http://x", "http://x/{}"), "s2", lambda url: "<html>")("a")


def test_a_season_is_checked():
    for wrong in ({"start": date(2024, 1, 1)}, {"months": (0,)}, {"months": (13,)}, {"max_cloud": 101}):
        with pytest.raises(ConfigError):
            Season(**{"start": SUMMER.start, "end": SUMMER.end, **wrong})
    assert str(Season(SUMMER.start, SUMMER.end, (7, 8), 20)) == (
        "2023-07-01 to 2023-08-31, months 7,8, at most 20 % cloud"
    )
