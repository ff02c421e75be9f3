"""Layers: one rule for alpha bands, units that files state, and numbers that the user gives instead."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from helpers.regions import AT, SIZE, UTM, full, write
from rtslib.data.rasters import open_stack
from rtslib.data.region import open_region
from rtslib.errors import ConfigError, DataError

NAMES = ("red", "green", "blue", "nir")


def four_bands(path, fourth, names=NAMES, dtype="uint8", size=SIZE):
    """As rasterio writes four byte bands: the fourth is tagged alpha."""
    profile = {"driver": "GTiff", "count": 4, "dtype": dtype, "height": size[0], "width": size[1]}
    with rasterio.open(path, "w", **profile, crs=UTM, transform=AT) as file:
        for k in range(3):
            file.write(np.full(size, 10 * (k + 1), dtype), k + 1)
        file.write(np.broadcast_to(fourth, size).astype(dtype), 4)
        if dtype != "uint8":
            file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 2, ColorInterp.alpha]
        for k, name in enumerate(names, start=1):
            if name:
                file.set_band_description(k, name)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    return str(path)


def near_infrared(size=SIZE):
    values = np.random.default_rng(0).integers(1, 200, size)
    values[:10] = 0  # water
    return values


def read(path, way):
    """Through each door: as a stack (chips, scenes), as a source on its grid, and warped."""
    if way == "stack":
        return open_stack([path])
    half = write(f"{path}.grid.tif", {"slope": full(1)}, at=AT @ Affine.translation(0, 0.5))
    return open_region([path]) if way == "source" else open_region([half, path])


WAYS = pytest.mark.parametrize("way", ["stack", "source", "warped"])


@WAYS
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_described_band_is_data_whatever_its_tag(tmp_path, way, dtype):
    for name, nir in {"some": near_infrared(), "none": 0, "full": 255}.items():
        rgbn = read(four_bands(tmp_path / f"{name}.tif", nir, dtype=dtype), way).read(NAMES)
        assert (rgbn[:3, 2:-2] == np.array([10, 20, 30])[:, None, None]).all()  # also where NIR is 0
        if way != "warped":
            assert (rgbn[3] == nir).all()


@WAYS
def test_an_undescribed_alpha_band_that_is_a_mask_masks(tmp_path, way):
    alpha = np.zeros(SIZE)
    alpha[:, 20:] = 255
    alpha[:, 19] = 128  # a soft edge
    for top, dtype in ((255, "uint8"), (65535, "uint16"), (255, "uint16"), (1, "float32")):
        values = alpha if top == 255 else alpha / 255 * top
        where = four_bands(tmp_path / f"{dtype}{top}.tif", values, (*NAMES[:3], ""), dtype)
        stack = read(where, way)
        assert "nir" not in stack.bands
        got = stack.read(["red"])[0, 2:-2]
        assert np.isnan(got[:, :18]).all() and (got[:, 20:] == 10).all()


@WAYS
def test_an_undescribed_alpha_band_that_is_none_needs_a_name(tmp_path, way):
    path = four_bands(tmp_path / "a.tif", near_infrared(), (*NAMES[:3], ""))
    with pytest.raises(
        DataError, match="band 4: found no band description .tagged alpha, but its values are no mask's"
    ):
        read(path, way)


def test_names_of_a_source_follow_the_rule(tmp_path):
    nir, mask = (four_bands(tmp_path / f"{n}.tif", v, ()) for n, v in (("nir", near_infrared()), ("mask", 255)))
    for names in (",".join(NAMES), "red,green,blue,-"):
        assert (open_region([f"{nir}={names}"]).read(["red", "blue"]) == np.array([10, 30])[:, None, None]).all()
    assert open_region([f"{mask}=red,green,blue,-"]).bands == ("red", "green", "blue")
    with pytest.raises(DataError, match="band 4: found an alpha band as nir: its values are those of a mask"):
        open_region([f"{mask}={','.join(NAMES)}"])


def test_a_large_alpha_band_is_sampled(tmp_path):
    size = (1200, 1300)
    path = four_bands(tmp_path / "a.tif", near_infrared(size), ("red", "green", "blue", ""), size=size)
    with pytest.raises(DataError, match="tagged alpha"):
        open_stack([path])


# --- units


@pytest.mark.parametrize(
    ("band", "unit", "factor"),
    [("elevation", "feet", 0.3048), ("elevation", "m", 1), ("elevation", "", 1), ("relative_elevation", "cm", 0.01),
     ("elevation", "fathom", 1.8288), ("elevation", "yards", 0.9144), ("elevation", "m above the geoid", 1),
     ("slope", "radians", 57.29578), ("slope", "degrees", 1), ("red", "feet", 1)],
)  # fmt: skip
def test_units_that_files_state(tmp_path, band, unit, factor):
    path = write(tmp_path / "a.tif", {band: full(1)})
    with rasterio.open(path, "r+") as file:
        file.units = (unit,)
    for stack in (open_stack([path]), open_region([path])):
        assert stack.read([band])[0, 5, 5] == pytest.approx(factor)


def test_slope_in_percent_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", {"slope": full(20)})
    with rasterio.open(path, "r+") as file:
        file.units = ("percent",)
    with pytest.raises(DataError, match="found slope in percent, expected degrees"):
        open_stack([path])


# --- compound and other CRSs


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:32608+5773", 1), ("EPSG:32608+6360", 0.3048006)])
def test_a_vertical_crs_says_only_how_heights_count(tmp_path, crs, metres):
    image, dem = write(tmp_path / "a.tif", {"red": full(1)}), write(tmp_path / "dem.tif", {"elevation": full(100)}, crs)
    for paths in ([image, dem], [dem, image]):
        for stack in (open_stack(paths), open_region(paths)):
            assert stack.crs.to_epsg() == 32608
            assert stack.read(["elevation"])[0, 5, 5] == pytest.approx(100 * metres, rel=1e-5)
            assert stack.read(["relative_elevation"])[0, 30, 30] == pytest.approx(0, abs=1e-4)
        assert open_region(paths).warped == ()


@pytest.mark.parametrize("crs", ['LOCAL_CS["site",UNIT["metre",1]]', "EPSG:4978"], ids=["local", "geocentric"])
def test_a_crs_that_is_not_on_earth_is_refused(tmp_path, crs):
    path, other = write(tmp_path / "a.tif", {"red": full(1)}, crs), write(tmp_path / "b.tif", {"nir": full(1)})
    for sources in ([path], [other, path]):
        with pytest.raises(DataError, match=r"a\.tif: found .*no (place on Earth|CRS)"):
            open_region(sources)
    with pytest.raises(DataError, match="no place on Earth"):
        open_region([other], crs='LOCAL_CS["site",UNIT["metre",1]]', pixel_size=10)


# --- numbers of the user


@WAYS
def test_scale_offset_and_nodata_of_the_user(tmp_path, way):
    numbers = full(2000)
    numbers[:, :20] = 0
    path = write(tmp_path / "a.tif", {"red": numbers, "nir": full(3000)}, dtype="uint16")
    told = read(path, way).with_numbers({"red": 1e-4, "nir": 1e-4}, {"nir": -0.1}, {path: 0.0})
    red, nir = told.read(["red", "nir"])[:, 2:-2]
    assert np.isnan(red[:, :20]).all() and red[:, 21:] == pytest.approx(0.2) and nir == pytest.approx(0.2)
    assert np.isnan(read(path, way).with_numbers(nodata={"": 0.0}).read(["red"])[0, 5, 5])


@pytest.mark.parametrize(
    ("given", "message"),
    [({"scale": {"blue": 1.0}}, "scale of 'blue': the rasters hold nir, red"),
     ({"scale": {"red": 0.0}}, "scale 0.0 of red"), ({"offset": {"red": float("nan")}}, "offset nan of red"),
     ({"nodata": {"b.tif": 0.0}}, r"nodata of 'b\.tif': the rasters are .*a\.tif")],
)  # fmt: skip
def test_numbers_of_the_user_are_checked(tmp_path, given, message):
    stack = open_stack([write(tmp_path / "a.tif", {"red": full(1), "nir": full(1)})])
    with pytest.raises(ConfigError, match=message):
        stack.with_numbers(**given)


# --- sizes of a grid


@pytest.mark.parametrize(
    ("crs", "size", "message"),
    [("EPSG:3413", 1e-4, "about .* windows of 256 px: take a larger one, the finest source has pixels of"),
     ("EPSG:3413", 1e-300, "windows of 256 px"), ("EPSG:3413", 1e9, "leaves nothing to see"),
     ("EPSG:4326", 10, r"pixel_size=10 \(degrees of EPSG:4326\) leaves nothing to see"),
     ("EPSG:3413", float("inf"), "above 0"), ("EPSG:3413", -1, "above 0")],
)  # fmt: skip
def test_absurd_pixels_are_refused(tmp_path, crs, size, message):
    path = write(tmp_path / "a.tif", {"red": full(1)})
    with pytest.raises(ConfigError, match=message):
        open_region([path], crs=crs, pixel_size=size)


def test_sources_on_either_side_of_180_degrees(tmp_path):
    """In degrees, the grid goes on beyond 180, whichever way a source counts."""
    pixel = 0.01
    west = write(tmp_path / "w.tif", {"red": full(1)}, "EPSG:4326", Affine(pixel, 0, 179.5, 0, -pixel, 70))
    for start in (179.5, -180.5):
        at = Affine(pixel, 0, start, 0, -pixel, 70)
        other = write(tmp_path / f"{start}.tif", {"nir": full(2)}, "EPSG:4326", at)
        region = open_region([west, other])
        assert (region.read(["nir"])[0, 5:-5, 5:-5] == 2).all()
    polar = write(tmp_path / "p.tif", {"nir": full(2, (300, 300))}, "EPSG:3995", Affine(400, 0, -6e4, 0, -400, 2.3e6))
    assert (open_region([west, polar]).read(["nir"])[0, 20:40, 20:60] == 2).all()
    both = open_region([west, polar], crs="EPSG:4326", pixel_size=0.02)
    left, right = both.transform.c, both.transform.c + both.width * 0.02
    assert 177 < left < 180 < right < 183
