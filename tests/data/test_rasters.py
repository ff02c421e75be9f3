"""Stacks of GeoTIFFs and derived bands: hand-known values, windows, and every breach of the contract."""

import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from rtslib.data import derive
from rtslib.data.grids import pixel_size
from rtslib.data.rasters import open_stack
from rtslib.errors import ConfigError, DataError

UTM = Affine(10, 0, 500_000, 0, -10, 7_800_000)
FLAT = 255 * np.sin(np.radians(45))


def write(path, bands, crs="EPSG:32643", transform=UTM, dtype="float32", nodata=None, scales=None, offsets=None):
    """Write {description: (H, W) array} as a GeoTIFF; a None description leaves the band unnamed."""
    arrays = [np.asarray(a) for a in bands.values()]
    height, width = arrays[0].shape
    profile = {"driver": "GTiff", "count": len(arrays), "dtype": dtype, "height": height, "width": width}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=nodata) as file:
        for k, (name, array) in enumerate(bands.items(), start=1):
            file.write(array.astype(dtype), k)
            if name:
                file.set_band_description(k, name.rstrip("+"))
        if scales:
            file.scales = scales
        if offsets:
            file.offsets = offsets
    return path


def full(value, shape=(6, 8)):
    return np.full(shape, value, dtype=np.float32)


@pytest.fixture()
def pair(tmp_path):
    """Imagery and terrain as sentinel_rts has them: scaled integers with nodata."""
    counts = {"blue": full(500), "green": full(2000), "red": full(1000), "nir": full(3000)}
    counts["nir"][0, 0] = 0
    s2 = write(tmp_path / "s2.tif", counts, dtype="uint16", nodata=0, scales=[1e-4] * 4)
    dem = {"relative_elevation": full(15_600), "slope": full(250)}
    dem["relative_elevation"][3, 4] = -32768
    path = tmp_path / "dem.tif"
    return s2, write(path, dem, dtype="int16", nodata=-32768, scales=[1 / 300, 0.01], offsets=[-50, 0])


def test_physical_values_and_derived_bands(pair):
    stack = open_stack(pair)
    assert stack.bands == (
        "blue", "green", "red", "nir", "relative_elevation", "slope", "ndvi", "ndwi", "shaded_relief",
    )  # fmt: skip
    assert (stack.height, stack.width, stack.transform) == (6, 8, UTM) and stack.crs.to_epsg() == 32643
    assert stack.files == pair and pixel_size(stack.grid) == (10, 10)
    pixels = stack.read()
    assert pixels.dtype == np.float32 and pixels.shape == (9, 6, 8)
    expected = [0.05, 0.2, 0.1, 0.3, 2.0, 2.5, 0.5, -0.2, FLAT]
    np.testing.assert_allclose(pixels[:, 5, 7], expected, rtol=1e-6)


def test_nodata_is_per_band_and_spreads_to_what_is_derived(pair):
    stack = open_stack(pair)
    empty = dict(zip(stack.bands, np.isnan(stack.read())))
    for band in ("nir", "ndvi", "ndwi"):
        assert np.argwhere(empty[band]).tolist() == [[0, 0]]
    assert not empty["red"].any() and not empty["slope"].any()
    assert np.argwhere(empty["relative_elevation"]).tolist() == [[3, 4]]
    ring = [[r, c] for r in (2, 3, 4) for c in (3, 4, 5)]
    assert np.argwhere(empty["shaded_relief"]).tolist() == ring


def test_read_chosen_bands_in_order_and_only_their_files(pair):
    stack = open_stack(pair)
    pair[1].unlink()
    assert stack.read(["ndwi", "red"])[:, 5, 5] == pytest.approx([-0.2, 0.1])
    with pytest.raises(DataError, match=r"dem\.tif: found unreadable pixels"):
        stack.read(["slope"])
    with pytest.raises(ConfigError, match="no band 'swir'"):
        stack.read(["swir"])


def test_stack_pickles(pair):
    stack = open_stack(pair)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack)).read(), stack.read())


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    """A stack with terrain, voids and clouds that differ at every pixel; and all of it read at once."""
    rng = np.random.default_rng(0)
    shape = (17, 23)
    bands = {b: rng.uniform(0, 1, shape) for b in ("red", "green", "nir")}
    bands["relative_elevation"] = rng.normal(0, 10, shape)
    bands["relative_elevation"][rng.uniform(size=shape) < 0.02] = np.nan
    bands["nir"][rng.uniform(size=shape) < 0.05] = -9999
    stack = open_stack([write(tmp_path_factory.mktemp("rough") / "all.tif", bands, nodata=-9999)])
    return stack, stack.read()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_equals_the_same_part_of_the_whole(rough, data):
    stack, whole = rough
    r0, c0 = data.draw(st.integers(0, 16)), data.draw(st.integers(0, 22))
    h, w = data.draw(st.integers(1, 17 - r0)), data.draw(st.integers(1, 23 - c0))
    part = stack.read(window=Window(c0, r0, w, h))
    np.testing.assert_array_equal(part, whole[:, r0 : r0 + h, c0 : c0 + w])


def test_shaded_relief_has_no_frame_of_nan(rough):
    stack, whole = rough
    voids = np.isnan(whole[stack.bands.index("relative_elevation")])
    near = np.zeros_like(voids)
    for r, c in np.argwhere(voids):
        near[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2] = True
    np.testing.assert_array_equal(np.isnan(whole[stack.bands.index("shaded_relief")]), near)


@pytest.mark.parametrize("window", [(0, 0, 9, 1), (-1, 0, 3, 3), (0, 0, 0, 2), (8, 0, 1, 1)])
def test_window_outside_is_refused(pair, window):
    with pytest.raises(ValueError, match="not inside the 6 x 8 px grid"):
        open_stack(pair).read(window=Window(*window))


def test_supplied_bands_are_not_derived_again(tmp_path):
    bands = {"red": full(0.1), "nir": full(0.3), "ndvi": full(0.25), "relative_elevation": full(0)}
    stack = open_stack([write(tmp_path / "a.tif", bands | {"shaded_relief": full(100)})])
    assert stack.bands == (*bands, "shaded_relief") and stack.derived == ()
    assert (stack.read(["ndvi"]) == 0.25).all() and (stack.read(["shaded_relief"]) == 100).all()


# --- derived bands


def test_indices_by_hand():
    red, nir = np.array([[1.0, 0, 3, np.nan, -0.1]]), np.array([[3.0, 0, 3, 1, 0.4]])
    np.testing.assert_array_equal(derive.ndvi(red, nir), np.float32([[0.5, np.nan, 0, np.nan, 1]]))
    np.testing.assert_array_equal(derive.ndwi(red, nir), np.float32([[-0.5, np.nan, 0, np.nan, -1]]))
    assert derive.ndvi(red, nir).dtype == np.float32


@pytest.mark.parametrize(
    ("east", "north", "expected"),
    [
        (0, 0, FLAT),
        (1, 0, 255 * (np.sqrt(0.5) + 0.5) / np.sqrt(2)),  # rises to the east: faces west
        (-1, 0, 255 * (np.sqrt(0.5) - 0.5) / np.sqrt(2)),
        (0, -1, 255 * (np.sqrt(0.5) + 0.5) / np.sqrt(2)),  # rises to the south: faces north
        (np.sqrt(0.5), -np.sqrt(0.5), 255),  # 45 degrees, faces the sun
        (-np.sqrt(0.5), np.sqrt(0.5), 0),  # 45 degrees away from it: grazed
        (-2, 2, 0),
    ],
)
def test_shaded_relief_of_planes(east, north, expected):
    rows, cols = np.mgrid[0:5, 0:6]
    plane = 4.0 * cols * east - 2.0 * rows * north  # pixels of 4 x 2 m, row 0 in the north
    shade = derive.shaded_relief(plane, (4, 2))
    assert shade.dtype == np.float32 and shade.shape == (5, 6)
    np.testing.assert_allclose(shade[1:-1, 1:-1], expected, atol=1e-4)


def test_shaded_relief_of_feet(tmp_path):
    feet = Affine(10, 0, 0, 0, -10, 0)
    slope = np.arange(8.0) * 3.048 * np.ones((6, 1))  # 10 ft = 3.048 m: rises by 1 to the east
    stack = open_stack([write(tmp_path / "a.tif", {"relative_elevation": slope}, "EPSG:2225", feet)])
    assert pixel_size(stack.grid) == pytest.approx((3.048, 3.048), rel=1e-5)
    facing_west = 255 * (np.sqrt(0.5) + 0.5) / np.sqrt(2)
    np.testing.assert_allclose(stack.read(["shaded_relief"])[0, 1:-1, 1:-1], facing_west, rtol=1e-4)


# --- breaches found at opening

GRIDS = {
    "size": ({"bands": {"slope": full(1, (6, 9))}}, "found 6 x 9 px, expected 6 x 8 px as "),
    "crs": ({"crs": "EPSG:32644"}, "found CRS EPSG:32644, expected EPSG:32643 as "),
    "shift": ({"transform": UTM @ Affine.translation(0.5, 0)}, "found a grid 0.5 px off "),
    "resolution": ({"transform": UTM @ Affine.scale(1.01)}, "found a grid 0.08 px off "),
    "no crs": ({"crs": None}, "found no CRS, expected a raster with a CRS"),
    "rotated": ({"transform": UTM @ Affine.rotation(5)}, "found a rotated grid, expected a north-up grid"),
    "south up": ({"transform": Affine(10, 0, 0, 0, 10, 0)}, "found pixels of 10 x 10 map units"),
    "unnamed": ({"bands": {None: full(1)}}, "band 1: found no band description, expected one of red, "),
    "unknown": ({"bands": {"swir": full(1)}}, "band 1: found band 'swir', expected one of red, green"),
    "duplicate": ({"bands": {"red": full(1)}}, "band 1: found a second band 'red'"),
    "twice in one": ({"bands": {"slope": full(1), "slope+": full(1)}}, "band 2: found a second band 'slope'"),
    "complex": ({"dtype": "complex64"}, "band 1: found dtype complex64, expected a real number type"),
    "scale": ({"scales": [0.0]}, "band 1: found scale 0.0 and offset 0.0, expected finite ones"),
}


@pytest.mark.parametrize(("change", "message"), GRIDS.values(), ids=GRIDS)
def test_breaches_at_opening(tmp_path, change, message):
    first = write(tmp_path / "first.tif", {"red": full(1)})
    second = write(tmp_path / "second.tif", **({"bands": {"slope": full(1)}} | change))
    with pytest.raises(DataError) as e:
        open_stack([first, second])
    assert str(e.value).startswith(str(second)) and message in str(e.value) and "\n" not in str(e.value)


def test_alignment_within_a_hundredth_of_a_pixel_is_rounding(tmp_path):
    first = write(tmp_path / "first.tif", {"red": full(1)})
    moved = UTM @ Affine.translation(0.004, 0)
    assert open_stack([first, write(tmp_path / "second.tif", {"slope": full(1)}, transform=moved)]).bands


def test_geographic_crs_only_where_no_metres_are_needed(tmp_path):
    degrees = Affine(0.001, 0, 75, 0, -0.001, 70)
    image = write(tmp_path / "image.tif", {"red": full(1)}, "EPSG:4326", degrees)
    assert open_stack([image]).bands == ("red",)
    dem = write(tmp_path / "dem.tif", {"relative_elevation": full(1)}, "EPSG:4326", degrees)
    with pytest.raises(DataError, match=r"geographic CRS \(EPSG:4326\).*reproject, or supply these bands"):
        open_stack([dem])


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="found no file"):
        open_stack([])
    with pytest.raises(DataError, match=r"gone\.tif: found no such file, expected a GeoTIFF"):
        open_stack([tmp_path / "gone.tif"])
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(DataError, match=r"text\.tif: found no readable raster"):
        open_stack([tmp_path / "text.tif"])


# --- breaches found at reading

VALUES = {
    "above": ({"ndvi": full(1.5)}, {}, "found ndvi 1.5, expected -1 to 1 (see its scale, offset and nod"),
    "below": ({"slope": full(-3)}, {}, "band 1: found slope -3, expected 0 to 90 (degree)"),
    "scaled": ({"slope": full(9100)}, {"dtype": "int16", "scales": [0.01]}, "found slope 91, expected 0 to"),
    "infinite": ({"slope": full(np.inf)}, {}, "found slope inf, expected 0 to 90 (degree)"),
    "nan": ({"red": np.where(np.arange(48).reshape(6, 8) < 7, np.nan, 1)}, {}, "found NaN at 7 px of red"),
    "nan beside nodata": ({"red": full(np.nan)}, {"nodata": -9999}, "found NaN at 48 px of red, expected n"),
}


@pytest.mark.parametrize(("bands", "tags", "message"), VALUES.values(), ids=VALUES)
def test_breaches_at_reading(tmp_path, bands, tags, message):
    path = write(tmp_path / "a.tif", bands, **tags)
    with pytest.raises(DataError) as e:
        open_stack([path]).read()
    assert str(e.value).startswith(f"{path}, band 1: ") and message in str(e.value)


def test_nan_is_data_where_tagged_or_allowed(tmp_path):
    tagged = write(tmp_path / "a.tif", {"red": full(np.nan)}, nodata=np.nan)
    void = write(tmp_path / "b.tif", {"relative_elevation": full(np.nan)})
    assert np.isnan(open_stack([tagged, void]).read()).all()


def test_truncated_file(tmp_path):
    noise = np.random.default_rng(0).uniform(0, 1, (200, 200))
    path = write(tmp_path / "a.tif", {"red": noise})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"a\.tif: found .*"):
        open_stack([path]).read()
