"""Derived bands made as on a model's chips: the same ground must look the same to it, whatever files a map is given."""

import pickle

import numpy as np
import pytest
from rasterio.windows import Window

from helpers.regions import AT, SIZE, UTM, write
from rtslib.config import Config
from rtslib.data import derive
from rtslib.data.opening import open_chips
from rtslib.data.rasters import open_stack
from rtslib.data.region import open_region
from rtslib.errors import DataError
from rtslib.mapping.plan import Options, plan

RELIEF = {"shaded_relief": ("relative_elevation",)}


@pytest.fixture()
def slope():
    """A hillside of about 8 degrees with bumps, metres."""
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    return 0.14 * (rows + cols) * abs(AT.a) / 2**0.5 + np.random.default_rng(0).normal(0, 0.4, SIZE)


@pytest.fixture()
def dem(tmp_path, slope):
    return write(tmp_path / "dem.tif", {"elevation": slope}, UTM)


@pytest.fixture()
def chips(tmp_path, slope):
    """The same ground as a chip set with relative elevation, as `sentinel_rts` has it."""
    relative = derive.relative_elevation(slope, (AT.a, -AT.e))
    (tmp_path / "set" / "dem").mkdir(parents=True)
    write(tmp_path / "set" / "dem" / "a.tif", {"relative_elevation": relative}, UTM)
    (tmp_path / "set" / "chips.csv").write_text("chip,group\na,1\n")
    return open_chips(tmp_path / "set")


def test_the_same_ground_is_shaded_the_same(dem, chips):
    """Unasked, a region shades the DEM itself: on a slope that is another picture."""
    assert chips.derived == RELIEF
    shade = chips.read(chips.chips[0])[chips.bands.index("shaded_relief")]
    asked, unasked = open_region([dem]).deriving(chips.derived), open_region([dem])
    np.testing.assert_allclose(asked.read(["shaded_relief"])[0], shade, atol=0.02)
    off = unasked.read(["shaded_relief"])[0] - shade
    assert abs(off.mean()) > shade.std()
    assert pickle.loads(pickle.dumps(asked)).derivations == asked.derivations == {
        "shaded_relief": ("relative_elevation",), "relative_elevation": ("elevation",)}  # fmt: skip


def test_a_window_reads_the_margins_of_both_steps(dem):
    region, window = open_region([dem]).deriving(RELIEF), Window(30, 20, 25, 20)
    whole = region.read(["shaded_relief"])[0][20:40, 30:55]
    np.testing.assert_allclose(region.read(["shaded_relief"], window)[0], whole, atol=1e-3)


def test_a_file_gives_way_to_how_the_model_was_trained(tmp_path, chips):
    """A supplied shaded relief was lit by another sun, or of another surface."""
    relative = tmp_path / "set" / "dem" / "a.tif"
    shade = write(tmp_path / "shade.tif", {"shaded_relief": np.full(SIZE, 77.0)}, UTM)
    stack = open_stack([relative, shade])
    assert stack.read(["shaded_relief"])[0].mean() == 77
    told = stack.deriving(chips.derived)
    assert sorted(told.bands) == sorted(stack.bands)
    np.testing.assert_array_equal(told.read(["shaded_relief"]), chips.read(chips.chips[0])[[-1]])


def test_what_cannot_be_made_the_same_way_is_refused_and_what_is_absent_is_not(tmp_path, dem):
    shade = write(tmp_path / "shade.tif", {"shaded_relief": np.full(SIZE, 77.0)}, UTM)
    with pytest.raises(
        DataError, match=r"shaded_relief computed from what its maker took.*from relative_elevation, as"
    ):
        open_region([shade]).deriving(RELIEF)
    red = write(tmp_path / "red.tif", {"red": np.full(SIZE, 0.1)}, UTM)
    assert open_region([red]).deriving(RELIEF).bands == ("red",)


def test_a_map_follows_its_model(dem, chips):
    config = Config.make({"modalities": {"terrain": ["relative_elevation", "shaded_relief"]}, "derived": chips.derived})
    todo = plan(config, open_region([dem]), Options())
    assert todo.region.derivations["shaded_relief"] == ("relative_elevation",)
    plain = plan(config.updated(derived={}), open_region([dem]), Options())
    assert plain.region.derivations["shaded_relief"] == ("elevation",)
