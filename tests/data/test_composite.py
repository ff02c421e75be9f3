"""Composites: medians of constants, clouds, offsets, and tiles side by side."""

from datetime import date

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

from helpers.stac import AT, S2, SIDE, UTM, serving
from rtslib.data import composite as module
from rtslib.data.catalogs import PRODUCTS, Catalog, Way
from rtslib.data.composite import NO_ELEVATION, NODATA, composite, elevation, median
from rtslib.data.stac import Season, View, choose
from rtslib.errors import DataError

BOX = GeoBox((SIDE, SIDE), AT, UTM)
BANDS = ("red", "green", "blue", "nir")
COLLECTIONS = PRODUCTS["sentinel2"].collections


@pytest.fixture()
def api(tmp_path, monkeypatch):
    monkeypatch.setitem(module.GDAL, "GDAL_HTTP_RETRY_DELAY", 0.01)
    with serving(tmp_path) as api:
        yield api


def made(api, box=BOX, bands=BANDS):
    import pystac

    items = [pystac.Item.from_dict(i) for i in api.items]
    season = Season(date(2015, 1, 1), date(2030, 1, 1), (), 100)
    views = choose(items, PRODUCTS["sentinel2"], season, -135)
    return composite(views, bands, box, {c: Way(Catalog(api.url), c, lambda url: "") for c in COLLECTIONS})


def test_the_median_of_three_days_and_all_bands(api):
    for day, red in enumerate([2000, 9000, 3000]):
        api.add(f"d{day}", f"2023-07-1{day}", red)
    assert made(api).shape == (4, SIDE, SIDE) and made(api).dtype == np.int16
    assert [np.unique(band).tolist() for band in made(api)] == [[2000], [2100], [2200], [2300]]


def test_clouds_do_not_count(api):
    """The west is cloudy on the first day, the east on the second, the north on both."""
    scl = np.full((2, SIDE, SIDE), 4)
    scl[0, :, :32], scl[1, :, 32:], scl[:, :8] = 9, 3, 8
    api.add("a", "2023-07-10", 2000, scl=scl[0])
    api.add("b", "2023-07-11", 4000, scl=scl[1])
    red = made(api)[0]
    assert (red[8:, :32] == 3000).all() and (red[8:, 32:] == 1000).all() and (red[:8] == NODATA).all()


@pytest.mark.parametrize(("scl", "counts"), [(k, k in (2, 4, 5, 6, 7, 11)) for k in range(12)])
def test_classes_that_count(api, scl, counts):
    api.add("a", scl=scl)
    assert (made(api, bands=("red",)) == (500 if counts else NODATA)).all()


def test_days_of_all_baselines_compare(api):
    """0.1 each, with and without 1000 added, and with the addition taken off by the catalog."""
    api.add("old", "2021-07-10", 1000, baseline="03.01")
    api.add("new", "2023-07-10", 2000, baseline="05.09", raster={"scale": 1e-4, "offset": -0.1})
    api.add("applied", "2023-07-11", 1000, baseline="05.09", raster={"scale": 1e-4, "offset": -0.1},
            **{"earthsearch:boa_offset_applied": True})  # fmt: skip
    api.add("coarse", "2023-07-12", 500, raster={"scale": 2e-4, "offset": 0})
    assert (made(api, bands=("red",)) == 1000).all()


def test_dark_pixels_are_negative_and_bright_ones_end(api):
    api.add("dark", red=1)
    assert (made(api, bands=("red",)) == -999).all()
    api.items.clear()
    api.add("bright", red=65000)
    assert (made(api, bands=("red",)) == 32767).all()


def test_tiles_of_one_day_lie_side_by_side(api):
    """They overlap by half; the day counts once, so that it cannot outvote the other one."""
    api.add("west", "2023-07-10", 2000, at=AT @ Affine.translation(-32, 0))
    api.add("mid", "2023-07-10", 2000)
    api.add("other", "2023-07-11", 6000)
    assert (made(api)[0] == 3000).all()
    api.items.pop()
    api.items.pop(1)
    red = made(api)[0]
    assert (red[:, :32] == 1000).all() and (red[:, 32:] == NODATA).all()


def test_tiles_of_one_day_from_two_collections_and_baselines(api):
    api.add("west", "2023-07-10", 1000, at=AT @ Affine.translation(-32, 0), baseline="03.01")
    api.add("mid", "2023-07-10", 2000, collection="sentinel-2-c1-l2a")
    assert (made(api, bands=("red",)) == 1000).all()


def test_tiles_of_two_utm_zones_on_a_polar_grid(api):
    """Both show the border of zones 8 and 9 at 132 degrees west, where 500 km of each lie far away."""
    from rasterio.warp import transform

    size, where = 300, (-132, 69.5)
    for zone, name in [(32608, "eight"), (32609, "nine")]:
        (x,), (y,) = transform("EPSG:4326", zone, *([v] for v in where))
        corner = x - 10 * size if zone == 32608 else x
        api.add(name, red=2000, crs=f"EPSG:{zone}", at=Affine(10, 0, corner, 0, -10, y + 5 * size), size=size)
    (x,), (y,) = transform("EPSG:4326", "EPSG:3413", *([v] for v in where))
    red = made(api, GeoBox((60, 60), Affine(10, 0, x - 300, 0, -10, y + 300), "EPSG:3413"), ("red",))
    assert (red == 1000).mean() > 0.9 and set(np.unique(red)) <= {1000, NODATA}  # their edges are not quite parallel


def test_a_busy_server_is_asked_again(api):
    api.add("a", red=2000)
    api.faults = {"/a/red.tif": 2, "/a/scl.tif": 3}
    assert (made(api, bands=("red",)) == 1000).all()


@pytest.mark.parametrize("fault", ["gone", "cut", "text"])
def test_a_broken_raster_is_named(api, fault):
    api.add("whole", "2023-07-10")
    api.add("broken", "2023-07-11", red=np.random.default_rng(0).integers(1, 9999, (SIDE, SIDE)))
    path = api.folder / "broken" / "red.tif"
    data = path.read_bytes()
    path.unlink() if fault == "gone" else path.write_bytes(data[: len(data) // 2] if fault == "cut" else b"soup")
    with pytest.raises(DataError, match="item broken: .*asset red unreadable.*--skip broken"):
        made(api)


def test_elevations(api):
    import pystac

    api.dem("west", 100, at=AT @ Affine.translation(-32, 0))
    api.dem("south", -3.5, at=AT @ Affine.translation(0, 32))
    views = [View(pystac.Item.from_dict(i), None, {"elevation": ("data", 1.0, 0.0)}) for i in api.items]
    found = elevation(views, BOX, {"cop-dem-glo-30": Way(Catalog(""), "", lambda url: "")})
    assert found.shape == (1, SIDE, SIDE) and found.dtype == np.float32
    (z,) = found
    assert (z[:32, :32] == 100).all() and (z[32:, 32:] == -3.5).all() and (z[:32, 32:] == NO_ELEVATION).all()


@settings(deadline=None)
@given(arrays(np.int16, st.tuples(st.integers(1, 6), st.just(2), st.just(3)), elements=st.integers(-32768, -32760)))
def test_the_median_is_numpys(values):
    masked = np.ma.masked_equal(values.astype(float), NODATA)
    expected = np.rint(np.ma.median(masked, axis=0)).filled(NODATA)
    np.testing.assert_array_equal(median(values), expected)


def test_collections_have_names():
    assert S2 in COLLECTIONS
