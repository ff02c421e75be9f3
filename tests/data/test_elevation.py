"""Raw elevation on chips: what is derived from it is what a region derives."""

import numpy as np
import rasterio
from affine import Affine

from rtslib.data.opening import open_chips
from rtslib.data.region import open_region

AT = Affine(4, 0, 500_000, 0, -4, 7_700_000)


def write(path, bands, dtype):
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": len(bands), "dtype": dtype, "height": 60, "width": 80, "crs": "EPSG:32608"}
    with rasterio.open(path, "w", transform=AT, **profile) as file:
        for k, (name, values) in enumerate(bands.items(), start=1):
            file.write(np.broadcast_to(values, (60, 80)).astype(dtype), k)
            file.set_band_description(k, name)


def test_chips_derive_terrain_from_elevation_as_a_region_does(tmp_path):
    heights = np.random.default_rng(0).normal(100, 3, (60, 80)).astype("float32")
    write(tmp_path / "dem" / "a.tif", {"elevation": heights}, "float32")
    (tmp_path / "chips.csv").write_text("chip,group\na,1\n")
    chips = open_chips(tmp_path)
    assert list(chips.modalities()) == ["terrain"]
    pixels = chips.read(chips.chips[0])
    region = open_region([str(tmp_path / "dem" / "a.tif")])
    for band in ("relative_elevation", "shaded_relief"):
        np.testing.assert_allclose(pixels[chips.bands.index(band)], region.read([band])[0], atol=1e-4)


def test_a_fourth_byte_band_that_is_tagged_as_alpha_hides_no_colour(tmp_path):
    infrared = np.random.default_rng(0).integers(0, 200, (60, 80))
    infrared[:20] = 0
    write(tmp_path / "s" / "a.tif", {"red": 5, "green": 6, "blue": 7, "nir": infrared}, "uint8")
    (tmp_path / "chips.csv").write_text("chip,group\na,1\n")
    chips = open_chips(tmp_path)
    assert not np.isnan(chips.read(chips.chips[0])[:4]).any()
