"""Regions: derived terrain, what is a source, and every breach at the door and when pixels are read."""

import zipfile

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.windows import Window

from helpers.regions import AT, FLAT, POLAR, SIZE, UTM, full, write
from rtslib.data import derive
from rtslib.data.rasters import open_stack
from rtslib.data.region import Source, open_region, parse_source
from rtslib.errors import ConfigError, DataError
from rtslib.synthetic import terrain

# --- derived terrain


def test_relative_elevation_by_hand():
    np.testing.assert_allclose(derive.relative_elevation(full(321.7), (4, 4)), 0, atol=1e-9)
    spike = full(0)
    spike[30, 40] = 10
    for size, n in (((4, 4), 489), ((10, 10), 81), ((10, 25), 31), ((50, 50), 5), ((60, 60), 1)):
        found = derive.relative_elevation(spike, size)
        assert found.dtype == np.float32 and found[30, 40] == pytest.approx(10 * (1 - 1 / n), abs=1e-6)
        assert (found < 0).sum() == n - 1 and found[found < 0] == pytest.approx(-10 / n, abs=1e-6)


def test_relative_elevation_leaves_voids_out():
    z = full(100)
    z[30, 40] = np.nan
    found = derive.relative_elevation(z, (10, 10))
    assert np.argwhere(np.isnan(found)).tolist() == [[30, 40]]
    np.testing.assert_allclose(found[~np.isnan(found)], 0, atol=1e-9)
    assert np.isnan(derive.relative_elevation(full(np.nan), (10, 10))).all()


def test_relative_elevation_is_that_of_the_synthetic_terrain():
    z = np.random.default_rng(0).normal(50, 10, SIZE).astype(np.float32)
    z[25, 30] = np.nan
    inside = np.s_[12:-12, 12:-12]
    found, expected = derive.relative_elevation(z, (4, 4)), terrain.relative_elevation(z)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)


def test_relative_elevation_of_feet_and_oblong_pixels(tmp_path):
    dem = full(0)
    dem[30, 40] = 10
    feet = Affine(32.8, 0, 6_000_000, 0, -82.0, 2_000_000)  # a little below 10 m x 25 m
    region = open_region([write(tmp_path / "dem.tif", {"elevation": dem}, "EPSG:2225", feet)])
    whole = region.read(["relative_elevation"])[0]
    assert whole[30, 40] == pytest.approx(10 * (1 - 1 / 31), abs=1e-5)
    part = region.read(["relative_elevation"], Window(44, 30, 9, 9))[0]
    np.testing.assert_allclose(part, whole[30:39, 44:53], atol=1e-6)
    assert part[0, 0] == pytest.approx(-10 / 31, abs=1e-5)


def test_shaded_relief_prefers_the_raw_dem(tmp_path):
    rising = full(0) + 10.0 * np.arange(SIZE[1])  # by 1 to the east
    dem = write(tmp_path / "dem.tif", {"elevation": rising})
    low = write(tmp_path / "low.tif", {"relative_elevation": full(0)})
    assert open_region([low]).read(["shaded_relief"])[0, 9, 9] == pytest.approx(FLAT)
    region = open_region([low, dem])
    assert region.bands == ("relative_elevation", "elevation", "shaded_relief")
    assert region.read(["shaded_relief"])[0, 9, 9] == pytest.approx(255 * (np.sqrt(0.5) + 0.5) / np.sqrt(2))
    assert region.layers_of(["shaded_relief"]) == {"elevation"}
    assert region.layers_of(["relative_elevation"]) == {"relative_elevation"}


def test_stacks_derive_as_regions_do(tmp_path):
    rising = full(0) + 10.0 * np.arange(SIZE[1])
    path = write(tmp_path / "dem.tif", {"elevation": rising})
    stack, region = open_stack([path]), open_region([path])
    assert stack.bands == region.bands == ("elevation", "shaded_relief", "relative_elevation")
    whole = stack.read()
    np.testing.assert_array_equal(whole, region.read())
    np.testing.assert_allclose(stack.read(window=Window(30, 20, 9, 7)), whole[:, 20:27, 30:39], atol=1e-4)
    stack = open_stack([write(tmp_path / "a.tif", {"elevation": full(1), "relative_elevation": full(0)})])
    assert stack.layers_of(["shaded_relief"]) == {"elevation"}


def test_terrain_needs_metres_only_if_derived(tmp_path):
    degrees = {"crs": "EPSG:4326", "at": Affine(1e-3, 0, -135, 0, -1e-3, 69)}
    dem = write(tmp_path / "dem.tif", {"elevation": full(1)}, **degrees)
    with pytest.raises(DataError, match=r"from .*dem\.tif: found a geographic CRS \(EPSG:4326\).*give crs and pixel_"):
        open_region([dem])
    assert open_region([dem], crs=POLAR, pixel_size=30).derived == ("shaded_relief", "relative_elevation")
    whole = {"elevation": full(1), "relative_elevation": full(2), "shaded_relief": full(3)}
    region = open_region([write(tmp_path / "whole.tif", whole, **degrees)])
    assert region.derived == () and (region.read(["relative_elevation"]) == 2).all()
    with pytest.raises(DataError, match="found pixels of 60 m, expected at most 50 m"):
        open_region([dem], crs=POLAR, pixel_size=60)


# --- sources


def test_paths_of_gdal(tmp_path):
    image = write(tmp_path / "a & b.tif", {"red": full(4)}, at=AT @ Affine.translation(0.5, 0))
    grid = write(tmp_path / "grid.tif", {"nir": full(1)})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.write(image, "a.tif")
    for path in (image, f"/vsizip/{tmp_path}/a.zip/a.tif", f"file://{image}"):
        region = open_region([grid, path])
        assert region.files == (grid, path) and (region.read(["red"])[0, :, 1:] == 4).all()
        assert (open_region([path]).read(["red"]) == 4).all()


def test_names_given_replace_descriptions(tmp_path):
    data = {"red": full(1), "-": full(2), "swir": full(3)}
    path = write(tmp_path / "a.tif", data)
    region = open_region([f"{path}=blue,-,nir"])
    assert region.bands == ("blue", "nir") and (region.read()[:, 0, 0] == [1, 3]).all()
    assert open_region([f"{path}=-,red,-", f"{path}=-,-,nir"]).bands == ("red", "nir", "ndvi")


def test_parse_source(tmp_path):
    path = write(tmp_path / "a=b.tif", {"red": full(1)})
    url = "https://example.org/a.tif?token=abc"
    assert parse_source(path) == Source(path) and parse_source(f"{path}=red") == Source(path, ("red",))
    assert parse_source("a.tif=red,-,nir") == Source("a.tif", ("red", "-", "nir"))
    assert parse_source("a.tif") == Source("a.tif") and parse_source(url) == Source(url)
    assert parse_source(f"/vsicurl/{url}") == Source(f"/vsicurl/{url}")
    assert parse_source(f"{url}=green,-") == Source(url, ("green", "-"))
    for text in (f"{path}=red,gren", f"{path}=", "gone.tif=gren", f"{url}=red,gren"):
        with pytest.raises(ConfigError, match="names a band '(gren|)': take red, green, blue, .*, or - to skip one"):
            parse_source(text)


# --- breaches at the door

CHANGES = {
    "no crs": ({"crs": None}, "found no CRS"),
    "rotated": (
        {"at": AT @ Affine.rotation(5)},
        "found a rotated grid, expected a north-up grid (warp it with gdalwarp)",
    ),
    "south up": ({"at": Affine(10, 0, 500_000, 0, 10, 7_700_000)}, "expected a north-up grid (warp it with gdalwarp)"),
    "unnamed": ({"bands": {"-": full(1)}}, "band 1: found no band description, expected one of red, "),
    "unknown": ({"bands": {"swir": full(1)}}, "band 1: found band 'swir', expected one of red, "),
    "twice": ({"bands": {"red": full(1)}}, "band 1: found a second band 'red' (the first: "),
    "twice in one": ({"bands": {"slope": full(1), "slope+": full(1)}}, "band 2: found a second band 'slope'"),
    "complex": ({"dtype": "complex64"}, "band 1: found dtype complex64"),
    "scale": ({"scales": [0.0]}, "band 1: found scale 0.0 and offset 0.0"),
    "alpha": (
        {"bands": {"nir": full(1), "-": full(2)}, "dtype": "uint8", "alpha": 2},
        "band 2: found no band description (tagged alpha, but its values are no mask's)",
    ),
    "only alpha": ({"bands": {"-": full(255)}, "dtype": "uint8", "alpha": 1}, "found no band that is read"),
    "elsewhere": ({"at": AT @ Affine.translation(200, 0)}, "found no part of it on the region's grid"),
    "touching": ({"at": AT @ Affine.translation(80, 0)}, "found no part of it on the region's grid"),
    "other zone": ({"crs": "EPSG:32640"}, "found no part of it on the region's grid"),
    "nowhere": (
        {"at": Affine(10, 0, 5e9, 0, -10, 7e9), "crs": "EPSG:32640"},
        "found an extent that has no place in EPSG:",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_breaches_at_the_door(tmp_path, change, message):
    first = write(tmp_path / "first.tif", {"red": full(1)})
    second = write(tmp_path / "second.tif", **({"bands": {"slope": full(1)}} | change))
    with pytest.raises(DataError) as e:
        open_region([first, second])
    assert str(e.value).startswith(second) and message in str(e.value) and "\n" not in str(e.value)


def test_sources_that_are_none(tmp_path):
    with pytest.raises(DataError, match="found no source"):
        open_region([])
    with pytest.raises(DataError, match=r"gone\.tif: found no such file"):
        open_region([str(tmp_path / "gone.tif")])
    (tmp_path / "text.tif").write_text("not a raster")
    for path in (tmp_path / "text.tif", f"/vsizip/{tmp_path}/gone.zip/a.tif"):
        with pytest.raises(DataError, match=r"tif: found no readable raster"):
            open_region([str(path)])


def test_a_raster_that_is_none_yet_says_what_it_is(tmp_path):
    with pytest.raises(DataError, match="found a folder, expected a GeoTIFF"):
        open_region([str(tmp_path)])
    points, palette = (write(tmp_path / f"{n}.tif", {"red": full(1)}, dtype="uint8", crs=None if n == "points" else UTM,
                             at=None if n == "points" else AT) for n in ("points", "palette"))  # fmt: skip
    with rasterio.open(points, "r+") as file:
        file.gcps = (
            [GroundControlPoint(r, c, 10.0 * c, -10.0 * r) for r, c in ((0, 0), (0, 80), (60, 0))],
            rasterio.CRS.from_string(UTM),
        )
    with pytest.raises(DataError, match=r"ground control points in place of a grid, .*gdalwarp"):
        open_region([points])
    with rasterio.open(palette, "r+") as file:
        file.write_colormap(1, {k: (k, 0, 0, 255) for k in range(256)})
    with pytest.raises(DataError, match=r"band 1: found red as numbers of a palette's colours"):
        open_region([palette])
    assert open_region([f"{palette}=slope"]).bands == ("slope",)  # numbers that have no colours but on a screen
    container = tmp_path / "a.nc"
    rasterio.shutil.copy(write(tmp_path / "two.tif", {"red": full(1), "nir": full(2)}), container, driver="netCDF")
    with pytest.raises(DataError, match=r"a container without bands of its own \(datasets in it: netcdf:.*Band1"):
        open_region([str(container)])


def test_a_vrt_of_a_raster_that_is_gone_names_it(tmp_path):
    part, vrt = write(tmp_path / "part.tif", {"red": full(1)}), tmp_path / "a.vrt"
    rasterio.shutil.copy(part, vrt, driver="VRT")
    (tmp_path / "part.tif").unlink()
    with pytest.raises(DataError, match=r"a\.vrt: found unreadable pixels: .*part\.tif: No such file"):
        open_region([str(vrt)]).read()


def test_names_that_do_not_fit(tmp_path):
    path = write(tmp_path / "a.tif", {"red": full(1), "nir": full(1)})
    with pytest.raises(DataError, match=r"a\.tif: found 2 bands, expected 3 as named \(red,-,nir\)"):
        open_region([f"{path}=red,-,nir"])
    with pytest.raises(DataError, match="band 2: found band 'swir', expected one of red"):
        open_region([Source(path, ("red", "swir"))])
    with pytest.raises(DataError, match="found no band that is read"):
        open_region([f"{path}=-,-"])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"crs": POLAR}, "give both, or neither"),
        ({"pixel_size": 10}, "give both, or neither"),
        ({"crs": POLAR, "pixel_size": 0}, "pixel_size=0: give the side of a pixel"),
        ({"crs": POLAR, "pixel_size": -5}, "pixel_size=-5: give the side of a pixel"),
        ({"crs": POLAR, "pixel_size": float("nan")}, "pixel_size=nan: give the side of a pixel"),
        ({"crs": "EPSG:999999", "pixel_size": 5}, "crs='EPSG:999999' is none"),
        ({"reference": 1}, "reference=1 is none of 1 sources"),
        ({"reference": -1}, "reference=-1 is none of 1 sources"),
        ({"reference": None}, "reference=None is none of 1 sources"),
    ],
)
def test_knobs_are_checked(tmp_path, knobs, message):
    path = write(tmp_path / "a.tif", {"red": full(1)})
    with pytest.raises(ConfigError) as e:
        open_region([path], **knobs)
    assert message in str(e.value) and "\n" not in str(e.value)
    assert open_region([path], reference=None, crs=POLAR, pixel_size=5).read().shape[0] == 1


# --- breaches found at reading


@pytest.mark.parametrize("shift", [0, 0.5], ids=["direct", "warped"])
def test_values_are_checked(tmp_path, shift):
    grid, at = write(tmp_path / "grid.tif", {"blue": full(1)}), AT @ Affine.translation(shift, 0)
    bad = {"ndvi": full(1.5), "red": full(np.nan), "nir": full(-1)}
    region = open_region([grid, write(tmp_path / "bad.tif", bad, at=at)])
    for k, (name, found) in enumerate({"ndvi": "ndvi 1.5", "red": "NaN at", "nir": "nir -1"}.items(), start=1):
        with pytest.raises(DataError, match=rf"bad\.tif, band {k}: found {found}"):
            region.read([name])


@pytest.mark.parametrize("shift", [0, 0.5], ids=["direct", "warped"])
def test_broken_files_are_errors(tmp_path, shift):
    grid, at = write(tmp_path / "grid.tif", {"blue": full(1, (200, 200))}), AT @ Affine.translation(shift, 0)
    path = tmp_path / "a.tif"
    write(path, {"red": np.random.default_rng(0).uniform(0, 1, (200, 200))}, at=at)
    region = open_region([grid, str(path)])
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"a\.tif: found unreadable pixels"):
        region.read(["red"])
    path.unlink()
    with pytest.raises(DataError, match=r"a\.tif: found unreadable pixels"):
        region.read(["red"])
