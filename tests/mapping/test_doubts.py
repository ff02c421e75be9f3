"""Doubts: numbers that are not of the size of the training's are noted before work, with what to do."""

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from helpers.regions import SIZE, write
from rtslib.config import Config
from rtslib.data.grids import Grid
from rtslib.data.layers import Layer
from rtslib.data.rasters import Stack, open_stack
from rtslib.errors import ConfigError
from rtslib.mapping.doubts import doubts
from rtslib.mapping.plan import Options, plan


def said(tmp_path, mean, sd, values, band="red", stated=None):
    rgb = {"modalities": {"rgb": [band]}, "modality_mean": {"rgb": [mean]}, "modality_std": {"rgb": [sd]}}
    config = Config(**rgb)
    name = "elevation" if band == "relative_elevation" else band
    path = write(tmp_path / "a.tif", {name: values}, scales=stated)
    return doubts(plan(config, open_stack([path]), Options(32, 8)), config)


def numbers(mean, sd, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, SIZE).clip(0)


CASES = {
    "digital numbers": ((0.08, 0.04), (800, 400), "--scale red=0.0001 ("),
    "an offset": ((600, 250), (1600, 250), "--scale red=1 --offset red=-1000 ("),
    "both": ((0.08, 0.03), (1800, 300), "--scale red=0.0001 --offset red=-0.1 ("),
    "percent": ((0.08, 0.04), (8, 4), "--scale red=0.01 ("),
    "reflectance for bytes": ((90, 30), (90 / 255, 30 / 255), "--scale red=255 ("),
    "reflectance for digital numbers": ((800, 400), (0.08, 0.04), "--scale red=1e+04 ("),
    "nothing that fits": ((100, 1), (160, 1), "look at its unit, scale and offset"),
}


@pytest.mark.parametrize(("trained", "here", "expected"), CASES.values(), ids=CASES)
def test_other_units_are_noted(tmp_path, trained, here, expected):
    (one,) = said(tmp_path, *trained, numbers(*here))
    assert one.startswith("red is far from what the model was trained on: ") and expected in one and "\n" not in one


def test_what_the_model_knows_is_not_noted(tmp_path):
    for here in ((0.08, 0.04), (0.14, 0.04), (0.08, 0.1), (0.05, 0.01)):
        assert said(tmp_path, 0.08, 0.04, numbers(*here)) == []


def test_a_scale_that_is_there_is_reckoned_with(tmp_path):
    (one,) = said(tmp_path, 0.08, 0.04, numbers(800, 400), stated=[0.1])
    assert "--scale red=0.0001" in one  # of the file's numbers, not of those read


def test_heights_in_another_unit(tmp_path):
    slope = np.add.outer(np.arange(SIZE[0]), 3.0 * np.arange(SIZE[1])) + numbers(20, 2)
    assert said(tmp_path, 0, 2.5, slope, "relative_elevation") == []
    (one,) = said(tmp_path, 0, 2.5, slope * 10, "relative_elevation")
    assert "--scale elevation=0.1 (" in one


def test_a_band_of_one_value_or_none_is_noted_without_a_scale(tmp_path):
    (one,) = said(tmp_path, 90, 30, np.full(SIZE, 9e-3))
    assert one.startswith("red is far from") and "look at its unit" in one and "--scale" not in one
    rgb = {"modalities": {"rgb": ["red"], "t": ["slope"]}, "modality_mean": {"rgb": [90], "t": [5]}}
    config = Config(**rgb, modality_std={"rgb": [30], "t": [5]})
    red = write(tmp_path / "red.tif", {"red": np.zeros(SIZE)}, nodata=0)
    slope = write(tmp_path / "slope.tif", {"slope": numbers(5, 5).clip(0, 90)})
    (one,) = doubts(plan(config, open_stack([red, slope]), Options(32, 8)), config)
    assert one.startswith("red has no data wherever it was looked at, though other bands have")


def test_a_model_without_statistics_has_no_doubts(tmp_path):
    config = Config(modalities={"rgb": ["red"]})
    stack = open_stack([write(tmp_path / "a.tif", {"red": numbers(5, 1)})])
    assert doubts(plan(config, stack, Options(32, 8)), config) == []


def test_a_plan_of_absurd_size_is_refused_with_its_count():
    side, pixel = 2_000_000_000, 1e-4
    grid = Grid(CRS.from_epsg(3413), Affine(pixel, 0, 0, 0, -pixel, 0), side, side)
    stack, config = Stack((Layer("red", "x.tif", 1, 1, 0),), (), grid), Config(modalities={"rgb": ["red"]})
    with pytest.raises(ConfigError, match=r"a map of about 108,\d{3},\d{3},\d{3},\d{3} windows, .*at most 3,000,000"):
        plan(config, stack, Options())
    with pytest.raises(ConfigError, match="windows"):
        plan(config, stack, Options(), shapely.box(0, -10, 10, 0))
