"""Files as a user has them: three rasters of three CRSs and slumps in degrees, that fit the scene they come from."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from rtslib.data.cutting.origins import date_of
from rtslib.data.region import open_region
from rtslib.data.scenes import open_scene
from rtslib.synthetic.own import write_own_files
from rtslib.synthetic.scene import write_scene


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    return write_own_files(root / "own", 128, seed=3), write_scene(root / "scene", 128, seed=3)


def test_each_file_has_its_own_grid_and_a_date(places):
    own, _ = places
    found = {}
    for name in ("rgb", "nir", "dem"):
        with rasterio.open(own / f"{name}.tif") as file:
            found[name] = (file.crs.to_epsg(), file.descriptions)
            assert date_of(file.tags()) == "2025-07-20"
    assert found == {"rgb": (3413, ("red", "green", "blue")), "nir": (32609, ("nir",)), "dem": (3995, ("elevation",))}
    assert gpd.read_file(own / "slumps.gpkg").crs == "EPSG:4326"


def test_they_give_the_bands_of_the_scene_again(places):
    own, scene = places
    region, stack = open_region([str(own / f"{n}.tif") for n in ("rgb", "nir", "dem")]), open_scene(scene).stack
    inner = np.s_[30:-30, 30:-30]  # away from the edge, where a disc of 100 m is not whole
    for band, least in (("red", 1), ("ndvi", 0.9), ("relative_elevation", 0.6)):
        a, b = region.read([band])[0][inner], stack.read([band])[0][inner]
        both = ~np.isnan(a + b)
        assert both.mean() > 0.5 and np.corrcoef(a[both], b[both])[0, 1] >= least - 1e-6
    known, again = open_scene(scene).truth, gpd.read_file(own / "slumps.gpkg").to_crs(stack.crs)
    assert len(again) == len(known) and again.area.sum() == pytest.approx(known.area.sum(), rel=1e-6)
