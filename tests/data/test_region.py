"""Regions: constants and planes through warping, the grid, voids, and windows."""

import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from helpers.regions import AT, FLAT, POLAR, SIZE, UTM, full, polar_grid, write
from rtslib.data.region import Source, open_region
from rtslib.errors import ConfigError


@pytest.fixture()
def wide(tmp_path):
    """A polar DEM of 25 m that covers the UTM raster on all sides."""
    dem = {"elevation": full(120, (80, 80))}
    return write(tmp_path / "dem.tif", dem, POLAR, polar_grid(25, (80, 80)), "int16", -32768)


# --- the grid, and values on it


def test_constants_survive_warping(tmp_path, wide):
    counts = {"red": full(1000), "nir": full(3000)}
    image = write(tmp_path / "image.tif", counts, dtype="uint16", nodata=0, scales=[1e-4] * 2)
    region = open_region([image, wide])
    assert region.bands == ("red", "nir", "elevation", "ndvi", "shaded_relief", "relative_elevation")
    assert (region.height, region.width, region.transform) == (*SIZE, AT) and region.crs.to_epsg() == 32608
    assert region.files == (image, wide) and region.warped == (wide,)
    pixels = region.read()
    assert pixels.dtype == np.float32 and pixels.shape == (6, *SIZE)
    for values, expected in zip(pixels, [0.1, 0.3, 120, 0.5, FLAT, 0]):
        np.testing.assert_allclose(values, expected, atol=1e-6, rtol=1e-6)


def test_a_raster_behind_a_url_is_read_like_a_file(tmp_path):
    image = write(tmp_path / "image.tif", {"red": np.arange(60 * 80).reshape(SIZE) / 4800})
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            port = server.stdout.readline().split("port ")[1].split()[0]
            far = open_region([f"http://127.0.0.1:{port}/image.tif"]).read(["red"])
        finally:
            server.kill()
    np.testing.assert_array_equal(far, open_region([image]).read(["red"]))


@pytest.mark.parametrize("pixel", [3, 10, 47])
def test_a_constant_on_finer_and_coarser_grids(tmp_path, pixel):
    image = {"shaded_relief": full(255, (400, 400))}
    image = write(tmp_path / "a.tif", image, at=AT @ Affine.translation(-150, -150))
    other = write(tmp_path / "b.tif", {"red": full(1, (20, 20))}, POLAR, polar_grid(pixel, (20, 20)))
    values = open_region([other, image]).read(["shaded_relief"])
    assert (values == 255).all()  # and not 255 + 1e-13, as the warper has it, which would be out of range


@pytest.mark.parametrize("pixel", [4, 10, 30])
def test_a_plane_survives_warping(tmp_path, pixel):
    side = 2400 // pixel
    at = polar_grid(pixel, (side, side))
    x, y = at @ np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    plane = 0.02 * (x - at.c) - 0.03 * (y - at.f)
    dem = write(tmp_path / "dem.tif", {"elevation": plane}, POLAR, at)
    found = open_region([write(tmp_path / "image.tif", {"red": full(1)}), dem]).read(["elevation"])[0]
    u, v = AT @ np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    x, y = np.array(transform(UTM, POLAR, u.ravel(), v.ravel()))
    expected = (0.02 * (x - at.c) - 0.03 * (y - at.f)).reshape(SIZE)
    np.testing.assert_allclose(found, expected, atol=0.01 * np.ptp(expected))


def test_warped_places_are_right_to_a_hundredth_of_a_pixel(tmp_path):
    at = polar_grid(100, (1200, 1200))
    x, y = np.meshgrid(np.arange(1200) + 0.5, np.arange(1200) + 0.5)
    image = write(tmp_path / "image.tif", {"red": x + 2 * y}, POLAR, at)
    grid = Affine(100, 0, 470_000, 0, -100, 7_730_000)  # 60 km: between straight and curved lie 0.7 px
    other = write(tmp_path / "other.tif", {"nir": full(1, (600, 600))}, at=grid)
    found = open_region([other, image]).read(["red"])[0]
    u, v = grid @ np.meshgrid(np.arange(600) + 0.5, np.arange(600) + 0.5)
    x, y = ~at @ np.array(transform(UTM, POLAR, u.ravel(), v.ravel()))
    np.testing.assert_allclose(found, (x + 2 * y).reshape(600, 600), atol=0.01)


def test_finer_sources_are_averaged_alike_everywhere(tmp_path):
    chess = np.indices((800, 300)).sum(axis=0) % 2 * 2.0  # 0 and 2 m by pixels of 1 m, in a corner of GDAL's blocks
    dem = write(tmp_path / "dem.tif", {"elevation": chess}, at=Affine(1, 0, 503_000.6, 0, -1, 7_699_004.1))
    image = write(tmp_path / "image.tif", {"red": full(1, (300, 700))})
    found = open_region([image, dem]).read(["elevation"])
    known = ~np.isnan(found)
    assert known.sum() == 80 * 30
    np.testing.assert_allclose(found[known], 1, atol=0.01)


def test_a_grid_over_all_sources(tmp_path, wide):
    far = write(tmp_path / "far.tif", {"red": full(7)}, at=AT @ Affine.translation(300, 0))
    region = open_region([wide, far], crs=POLAR, pixel_size=20)
    assert region.crs.to_epsg() == 3413 and (region.transform.a, region.transform.e) == (20, -20)
    assert region.transform.c % 20 == region.transform.f % 20 == 0
    right, bottom = region.transform @ (region.width, region.height)
    bounds = (region.transform.c, bottom, right, region.transform.f)
    for path in (wide, far):
        with rasterio.open(path) as file:
            inner = transform_bounds(file.crs, POLAR, *file.bounds)
        assert bounds[0] <= inner[0] and bounds[1] <= inner[1] and bounds[2] >= inner[2] and bounds[3] >= inner[3]
    elevation, red = region.read(["elevation", "red"])
    assert np.nanmax(elevation) == np.nanmin(elevation) == 120 and np.nanmin(red) == np.nanmax(red) == 7
    assert not (~np.isnan(elevation) & ~np.isnan(red)).any()
    assert (~np.isnan(elevation)).sum() == pytest.approx((80 * 25 / 20) ** 2, rel=0.03)


def test_a_grid_that_happens_to_be_that_of_a_source(tmp_path):
    image = write(tmp_path / "image.tif", {"red": full(1)})
    region = open_region([image], crs=UTM, pixel_size=10)
    assert region.grid == open_region([image]).grid and region.warped == ()


def test_reference_picks_the_source(tmp_path, wide):
    image = write(tmp_path / "image.tif", {"red": full(1)})
    region = open_region([image, wide], reference=1)
    assert region.crs.to_epsg() == 3413 and (region.height, region.width) == (80, 80) and region.warped == (image,)


# --- nodata


def test_nodata_and_what_is_not_covered_are_nan_for_each_source(tmp_path):
    red, dem = full(5), full(50, (30, 40))
    red[3, 4], dem[10, 10] = 0, -9999
    image = write(tmp_path / "image.tif", {"red": red}, dtype="uint8", nodata=0)
    half = AT @ Affine.scale(2) @ Affine.translation(20, 0)  # 20 m pixels from column 40 on
    dem = write(tmp_path / "dem.tif", {"relative_elevation": dem}, at=half, nodata=-9999)
    plain = write(tmp_path / "plain.tif", {"nir": full(7, (30, 20))}, dtype="uint8", at=AT @ Affine.scale(2))
    red, dem, nir = open_region([image, dem, plain]).read(["red", "relative_elevation", "nir"])
    assert np.argwhere(np.isnan(red)).tolist() == [[3, 4]] and np.nanmin(red) == np.nanmax(red) == 5
    void = np.isnan(dem)
    assert void[:, :40].all() and np.argwhere(void[:, 40:]).tolist() == [[r, c] for r in (20, 21) for c in (20, 21)]
    assert np.nanmin(dem) == np.nanmax(dem) == 50
    assert np.isnan(nir[:, 40:]).all() and (nir[:, :40] == 7).all()


@pytest.mark.parametrize("shift", [0, 0.5], ids=["direct", "warped"])
@pytest.mark.parametrize("bands", [2, 3, 4])
def test_alpha_bands_are_masks(tmp_path, bands, shift):
    alpha, names = full(255), ["red", "green", "blue"][: bands - 1]
    alpha[:, :40] = 0
    data = {name: full(9) for name in names} | {"-": alpha}
    rgba = write(tmp_path / "rgba.tif", data, dtype="uint8", alpha=bands, at=AT @ Affine.translation(shift, 0))
    grid = write(tmp_path / "grid.tif", {"nir": full(1)})
    for source in (rgba, Source(rgba, (*names, "-"))):
        values = open_region([grid, source]).read(names)
        assert np.isnan(values[:, :, :40]).all() and (values[:, :, 41:] == 9).all()


@pytest.mark.parametrize("shift", [0, 0.5], ids=["direct", "warped"])
def test_masks_and_voids_of_any_band_hold(tmp_path, shift):
    at = AT @ Affine.translation(shift, 0)
    image = write(tmp_path / "mask.tif", {"red": full(9), "nir": full(9)}, at=at, mask=np.indices(SIZE)[0] > 9)
    dem, slope = full(3), full(4)
    dem[30, 30], slope[40, 50] = np.nan, -1
    dem = write(tmp_path / "dem.tif", {"relative_elevation": dem, "slope": slope}, at=at, nodata=-1)
    grid = write(tmp_path / "grid.tif", {"blue": full(1)})
    red, nir, dem, slope = open_region([grid, image, dem]).read(["red", "nir", "relative_elevation", "slope"])[:, :, 1:]
    for values in (red, nir):
        assert np.isnan(values[:10]).all() and (values[10:] == 9).all()
    assert np.isnan(dem).sum() == 1 and np.isnan(dem[30, 28:31]).any() and np.nanmin(dem) == np.nanmax(dem) == 3
    assert np.isnan(slope).sum() == 1 and np.isnan(slope[40, 48:51]).any() and np.nanmin(slope) == np.nanmax(slope) == 4


# --- windows


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    """A region of noise with voids, direct and warped, larger than GDAL's blocks; and all of it read at once."""
    folder, rng = tmp_path_factory.mktemp("rough"), np.random.default_rng(0)
    image = {b: rng.uniform(0.1, 1, (300, 700)) for b in ("red", "green", "nir")}
    image["nir"][rng.uniform(size=(300, 700)) < 0.01] = -9
    image = write(folder / "image.tif", image, nodata=-9)
    dem = rng.normal(500, 40, (250, 400))
    dem[rng.uniform(size=dem.shape) < 0.01] = np.nan
    (x,), (y,) = transform(UTM, POLAR, [503_500], [7_698_500])
    dem = write(folder / "dem.tif", {"elevation": dem}, POLAR, Affine(17, 0, x - 3400, 0, -17, y + 2000))
    region = open_region([image, dem])
    return region, region.read()


def test_rough_is_covered_in_part(rough):
    region, whole = rough
    known = 1 - np.isnan(whole).mean(axis=(1, 2))
    assert region.derived == ("ndvi", "ndwi", "shaded_relief", "relative_elevation") and (known > 0.3).all()
    assert np.isnan(whole[region.bands.index("elevation")]).any()


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_window_equals_the_same_part_of_the_whole(rough, data):
    region, whole = rough
    r0, c0 = data.draw(st.integers(0, 299)), data.draw(st.integers(0, 699))
    h, w = data.draw(st.integers(1, 300 - r0)), data.draw(st.integers(1, 700 - c0))
    part, cut = region.read(window=Window(c0, r0, w, h)), whole[:, r0 : r0 + h, c0 : c0 + w]
    read = len(region.layers)
    np.testing.assert_array_equal(part[:read], cut[:read])
    np.testing.assert_allclose(part[read:], cut[read:], atol=1e-6, rtol=2e-7)
    one = region.read(["relative_elevation"], Window(c0, r0, w, h))
    np.testing.assert_allclose(one[0], cut[region.bands.index("relative_elevation")], atol=1e-6, rtol=2e-7)


def test_windows_do_not_depend_on_what_was_read_before(rough):
    region, whole = rough
    with ThreadPoolExecutor(1) as other:  # a thread has its own datasets
        part = other.submit(region.read, ["elevation"], Window(411, 133, 50, 60)).result()
    np.testing.assert_array_equal(part[0], whole[region.bands.index("elevation"), 133:193, 411:461])


def test_pickles_and_travels(rough):
    region, whole = rough
    twin = pickle.loads(pickle.dumps(region))
    assert twin == region
    np.testing.assert_array_equal(twin.read(), whole)
    for method in ("spawn", "fork"):
        with ProcessPoolExecutor(1, get_context(method)) as pool:
            part = pool.submit(twin.read, ["elevation"], Window(411, 133, 50, 60)).result()
        np.testing.assert_array_equal(part[0], whole[region.bands.index("elevation"), 133:193, 411:461])


def test_windows_and_bands_are_checked(rough):
    with pytest.raises(ValueError, match="not inside the 300 x 700 px grid"):
        rough[0].read(window=Window(0, 0, 701, 1))
    with pytest.raises(ConfigError, match="no band 'slope' in .*image.tif: there are"):
        rough[0].read(["slope"])
    assert rough[0].read([], Window(0, 0, 5, 4)).shape == (0, 4, 5)


@pytest.mark.parametrize(("west", "east"), [(-180, 180), (0, 360), (170, 190), (-190, -170), (-360, 0)])
@pytest.mark.parametrize("crs", [POLAR, "EPSG:32601", "EPSG:4326", "turned"])
def test_a_source_in_degrees_is_read_on_both_sides_of_180(tmp_path, west, east, crs):
    """On grids that cross 180, all of it is there, in any way that a raster can have it: 50 + 40 cos(4 longitude)."""
    columns = round((east - west) / 0.1)
    numbers = 50 + 40 * np.cos(np.radians(4 * (west + 0.1 * (np.arange(columns) + 0.5))))
    at = Affine(0.1, 0, west, 0, -0.1, 72)
    source = write(tmp_path / "a.tif", {"nir": np.tile(numbers, (40, 1))}, "EPSG:4326", at)
    if crs in ("EPSG:4326", "turned"):
        crs, at, shape = "EPSG:4326", Affine(0.04, 0, 179 if crs == "turned" else -181, 0, -0.04, 71), (20, 50)
    else:
        (x,), (y,) = transform("EPSG:4326", crs, [180], [70])
        at, shape = Affine(2000, 0, x - 5e4, 0, -2000, y + 5e4), (50, 50)
    region = open_region([write(tmp_path / "grid.tif", {"red": np.ones(shape)}, crs, at), source])
    row, column = np.indices(shape)
    lon, _ = transform(crs, "EPSG:4326", *(np.ravel(v) for v in at @ (column + 0.5, row + 0.5)))
    assert np.ptp(lon) > 180 or crs == "EPSG:4326"
    expected = 50 + 40 * np.cos(np.radians(4 * np.reshape(lon, shape)))
    np.testing.assert_allclose(region.read(["nir"])[0], expected, atol=0.3)


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    region = open_region([write(tmp_path / "a.tif", {"red": full(1)})])
    assert (region.read() == 1).all()
    write(tmp_path / "new.tif", {"red": full(2, SIZE), "slope": full(3)})
    (tmp_path / "new.tif").replace(tmp_path / "a.tif")
    assert (region.read() == 2).all()
