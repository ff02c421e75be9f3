"""Layout (c), folders of co-registered GeoTIFFs: what is read, and every breach."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine

from rtslib.data.masks import decode
from rtslib.data.opening import open_chips
from rtslib.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (24, 30)


def write(path, bands, dtype, transform, **tags):
    path.parent.mkdir(exist_ok=True)
    profile = {"driver": "GTiff", "count": len(bands), "dtype": dtype, "height": SHAPE[0], "width": SHAPE[1]}
    profile |= {"crs": "EPSG:32643", "transform": transform, "nodata": tags.get("nodata")}
    with rasterio.open(path, "w", **profile) as f:
        for k, (name, array) in enumerate(bands.items(), start=1):
            f.write(np.broadcast_to(array, SHAPE).astype(dtype), k)
            f.set_band_description(k, name)
        f.scales = tags.get("scales", [1] * len(bands))


def label():
    """A 4 x 5 px slump, two of 6 px that touch at a corner, and one of 9 px that is too small."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 2:7] = 1
    mask[10:12, 10:13] = mask[12:14, 13:16] = 1
    mask[20:23, 20:23] = 1
    return mask


@pytest.fixture()
def folder(tmp_path):
    """Three chips, a, b and c, of sites 7 and 9, with constant bands; b has no slump."""
    for k, name in enumerate("abc"):
        t = Affine(10, 0, 500_000 + 1000 * k, 0, -10, 7_800_000)
        image = {"blue": 500, "green": 2000, "red": 1000, "nir": 3000 + k}
        write(tmp_path / "s2" / f"{name}.tif", image, "uint16", t, nodata=0, scales=[1e-4] * 4)
        write(tmp_path / "dem" / f"{name}.tif", {"relative_elevation": k, "slope": 2}, "float32", t)
        write(tmp_path / "mask" / f"{name}.tif", {"rts": label() * (name != "b")}, "uint8", t)
    (tmp_path / "chips.csv").write_text("chip,group,note\nc,9,x\na,7,y\nb,7,\n")
    return tmp_path


def table(folder, text):
    (folder / "chips.csv").write_text(text)


def test_opens(folder):
    chips = open_chips(folder)
    assert (
        chips.layout == "geotiff"
        and chips.has_groups
        and chips.notes == ("2 label components of fewer than 10 px are left out.",)
    )
    assert [(c.id, c.name, c.group, c.part, c.labelled) for c in chips.chips] == [
        (1, "c", "9", "train", True), (2, "a", "7", "train", True), (3, "b", "7", "train", True),
    ]  # fmt: skip
    assert chips.bands == (
        "blue", "green", "red", "nir", "relative_elevation", "slope", "ndvi", "ndwi", "shaded_relief",
    )  # fmt: skip
    assert set(chips.modalities()) == {"rgb", "spectral", "terrain"}
    first = chips.chips[0]
    assert (first.height, first.width, first.crs) == (*SHAPE, "EPSG:32643")
    assert first.transform == Affine(10, 0, 502_000, 0, -10, 7_800_000)
    assert [f.relative_to(folder).as_posix() for f in first.files] == ["s2/c.tif", "dem/c.tif"]


def test_reads(folder):
    chips = open_chips(folder)
    pixels = chips.read(chips.chips[0])
    assert pixels.dtype == np.float32 and pixels.shape == (9, *SHAPE)
    ndvi, ndwi = (3002 - 1000) / 4002, (2000 - 3002) / 5002
    expected = [0.05, 0.2, 0.1, 0.3002, 2, 2, ndvi, ndwi, 255 * np.sin(np.pi / 4)]
    for band, value in zip(pixels, expected, strict=True):
        np.testing.assert_allclose(band, value, rtol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(chips)).read(chips.chips[0]), pixels)


def test_instances_follow_the_label_rule(folder):
    chips = open_chips(folder)
    assert chips.dropped_instances == 2 and chips.instances[3] == ()
    slump, pair = chips.instances[2]
    assert (slump.area, slump.bbox) == (20, (2, 2, 5, 4)) and (pair.area, pair.bbox) == (12, (10, 10, 6, 4))
    big = label()
    big[20:23] = 0
    np.testing.assert_array_equal(decode(slump.rle) | decode(pair.rle), big == 1)
    assert len(chips.coco()["annotations"]) == 4


def test_without_mask_folder_no_chip_is_labelled(folder):
    for file in (folder / "mask").iterdir():
        file.unlink()
    (folder / "mask").rmdir()
    chips = open_chips(folder)
    assert not any(c.labelled for c in chips.chips) and chips.instances == {} and chips.notes == ()


def test_numbered_instances_stay_apart_where_they_touch(folder):
    """Values 3 and 7 side by side are two slumps, a third of 9 px is too small."""
    shutil.rmtree(folder / "mask")
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[2:6, 2:7], numbers[2:6, 7:12], numbers[20:23, 20:23] = 3, 7, 9
    for k, name in enumerate("abc"):
        t = Affine(10, 0, 500_000 + 1000 * k, 0, -10, 7_800_000)
        write(folder / "instances" / f"{name}.tif", {"instance": numbers * (name == "a")}, "uint8", t)
    chips = open_chips(folder)
    assert [len(chips.instances[c.id]) for c in chips.chips] == [0, 2, 0] and chips.dropped_instances == 1
    masks = [decode(i.rle) for i in chips.instances[2]]
    assert (masks[0] == (numbers == 3)).all() and (masks[1] == (numbers == 7)).all()
    write(folder / "instances" / "a.tif", {"instance": numbers * -1.0}, "int16", UTM_A)
    with pytest.raises(DataError, match="a.tif: found value -9, expected 0 or more"):
        open_chips(folder)
    (folder / "mask").mkdir()
    with pytest.raises(DataError, match="both mask/ and instances/"):
        open_chips(folder)


def test_identical_rows_count_once_and_are_noted(folder):
    table(folder, "chip,group\na,7\nb,7\na,7\n")
    chips = open_chips(folder)
    assert [c.name for c in chips.chips] == ["a", "b"]
    assert "chips.csv repeats 1 rows exactly, which count once: a." in chips.notes


def test_files_not_listed_are_noted(folder):
    table(folder, "chip,group\na,7\n")
    notes = open_chips(folder).notes
    for source in ("s2", "dem", "mask"):
        assert f"{source}/ has 2 rasters not in chips.csv, left out, such as b." in notes


def test_another_ending_is_said(folder):
    for path in folder.glob("*/*.tif"):
        path.rename(path.with_suffix(".TIF"))
    with pytest.raises(DataError, match=r"no folder with \*\.tif .*names have to end in \.tif"):
        open_chips(folder)


def test_coco_outlines_over_geotiffs_as_the_docs_have_it(tmp_path, monkeypatch):
    """Run as it stands, for two images in folders of their sites, of which one slump is drawn over another."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "your_data.md").read_text(), re.M | re.S)
    shapes = {1: [[2, 2, 12, 2, 12, 12, 2, 12]], 2: [[20, 8, 26, 8, 26, 14, 20, 14]]}
    images = [{"id": k, "file_name": f"site {k}/a.tif", "height": 20, "width": 30} for k in shapes]
    for entry in images:
        path = tmp_path / "coco" / "images" / entry["file_name"]
        path.parent.mkdir(parents=True)
        with rasterio.open(path, "w", driver="GTiff", count=3, dtype="uint8", height=20, width=30, crs="EPSG:32608",
                           transform=UTM_A) as file:  # fmt: skip
            file.write(np.full((3, 20, 30), 9, np.uint8))
    annotations = [{"id": k, "image_id": k, "category_id": 1, "segmentation": s} for k, s in shapes.items()]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "rts"}]}
    (tmp_path / "coco" / "instances.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"but a TIFF, .*docs/your_data\.md"):
        open_chips("coco")
    exec(code, {})
    chips = open_chips("chips")
    assert chips.notes == () and chips.bands == ("red", "green", "blue") and chips.chips[0].crs == "EPSG:32608"
    assert [c.group for c in chips.chips] == ["site 1", "site 2"]
    assert [[i.area for i in chips.instances[c.id]] for c in chips.chips] == [[100], [36]]


TABLES = {
    "conflict": ("chip,group\na,7\na,8\n", "chips.csv, chip a: found two rows with different values"),
    "no group": ("chip,site\na,7\n", "chips.csv: found columns chip, site, expected also group"),
    "no chips": ("chip,group\n", "chips.csv: found no chip, expected at least one row"),
    "empty file": ("", "chips.csv: found no readable table"),
    "blank group": ("chip,group\na,7\nb,\n", "chips.csv, line 3: found an empty group"),
    "ragged": ("chip,group\na,7\nb,7,8,9\n", "chips.csv: found no readable table"),
    "missing": ("chip,group\nd,7\n", "d.tif: found no such file, expected a GeoTIFF"),
    "climbs out": ("chip,group\n../../d,7\n", "file name '../../d.tif', expected a relative path that stays"),
}


@pytest.mark.parametrize(("text", "message"), TABLES.values(), ids=TABLES)
def test_breaches_of_the_table(folder, text, message):
    table(folder, text)
    with pytest.raises(DataError) as e:
        open_chips(folder)
    assert message in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("source", ["s2", "dem", "mask"])
def test_listed_chip_missing_in_one_source(folder, source):
    (folder / source / "b.tif").unlink()
    with pytest.raises(DataError, match=rf"{source}/b\.tif: found no such file"):
        open_chips(folder)


UTM_A = Affine(10, 0, 500_000, 0, -10, 7_800_000)
UTM_B = Affine(10, 0, 501_000, 0, -10, 7_800_000)
FILES = {
    "value 7": ("mask", {"rts": 7 * label()}, "uint8", UTM_B, "found value 7 at 41 px, expected 0 and 1"),
    "value 255": ("mask", {"rts": 255 * label()}, "uint8", UTM_B, "found value 255 at 41 px"),
    "negative": ("mask", {"rts": -1}, "int16", UTM_B, "found value -1 at 720 px"),
    "float mask": ("mask", {"rts": label()}, "float32", UTM_B, "found dtype float32, expected integers"),
    "two bands": ("mask", {"rts": 0, "more": 0}, "uint8", UTM_B, "found 2 bands, expected one band"),
    "mask moved": ("mask", {"rts": 0}, "uint8", UTM_B @ Affine.translation(1, 0), "found a grid 1 px off "),
    "dem moved": ("dem", {"slope": 0}, "uint8", UTM_B @ Affine.translation(1, 0), "found a grid 1 px off "),
    "other bands": ("dem", {"slope": 2}, "float32", UTM_B, "chip b: found bands blue, green, red, nir, s"),
    "band order": ("s2", {"red": 1, "green": 1, "blue": 1, "nir": 1}, "uint16", UTM_B, "as in chip c"),
}


@pytest.mark.parametrize(("source", "bands", "dtype", "transform", "message"), FILES.values(), ids=FILES)
def test_breaches_of_a_file(folder, source, bands, dtype, transform, message):
    write(folder / source / "b.tif", bands, dtype, transform)
    with pytest.raises(DataError) as e:
        open_chips(folder)
    assert message in str(e.value) and "\n" not in str(e.value)


def test_mask_of_another_size(folder):
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 24, "width": 31}
    with rasterio.open(folder / "mask" / "b.tif", "w", **profile, crs="EPSG:32643", transform=UTM_B) as f:
        f.write(np.zeros((24, 31), np.uint8), 1)
    with pytest.raises(DataError, match=r"mask/b\.tif: found 24 x 31 px, expected 24 x 30 px as .*s2/b\.tif"):
        open_chips(folder)


def test_no_source(tmp_path):
    table(tmp_path, "chip,group\na,7\n")
    with pytest.raises(DataError, match=r"found no folder with \*\.tif besides mask/ and instances/"):
        open_chips(tmp_path)


# --- the real set


@pytest.fixture(scope="module")
def sentinel(pytestconfig):
    root = pytestconfig.rootpath.parent / "shared" / "data" / "sentinel_rts"
    if not root.is_dir():
        pytest.skip("real data ../shared/data/sentinel_rts is not here")
    return open_chips(root)


def test_sentinel_counts(sentinel):
    assert len(sentinel.chips) == 170 and len({c.group for c in sentinel.chips}) == 57
    areas = [i.area for found in sentinel.instances.values() for i in found]
    assert (len(areas), sentinel.dropped_instances, np.median(areas), min(areas)) == (294, 68, 50.5, 10)
    assert any("repeats 2 rows exactly" in note for note in sentinel.notes)


def test_sentinel_pixels_agree_with_its_table(sentinel):
    rows = pd.read_csv(sentinel.root / "chips.csv").drop_duplicates().set_index("chip")
    for chip in sentinel.chips[::10]:
        row = rows.loc[chip.name]
        assert chip.transform @ (0, 0) == (row.left, row.top)
        assert chip.transform @ (chip.width, chip.height) == (row.right, row.bottom)
        assert chip.crs == f"EPSG:{row.epsg:.0f}"
        pixels = sentinel.read(chip)
        imagery = [sentinel.bands.index(b) for b in ("blue", "green", "red", "nir")]
        assert np.isnan(pixels[imagery]).any(axis=0).mean() == pytest.approx(row.empty_s2, abs=1e-3)
        assert np.nanmax(pixels[sentinel.bands.index("relative_elevation")]) < 59.3


def test_sentinel_validity_is_per_modality(sentinel):
    chip = next(c for c in sentinel.chips if c.name == "20160821T181425_w_188")
    empty = dict(zip(sentinel.bands, np.isnan(sentinel.read(chip)).mean(axis=(1, 2))))
    for band in ("red", "green", "blue", "nir", "ndvi", "ndwi"):
        assert empty[band] > 0.99
    for band in ("relative_elevation", "slope", "shaded_relief"):
        assert empty[band] == 0
