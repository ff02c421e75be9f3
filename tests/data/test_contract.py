"""The data contract: every broken input is refused with one sentence that names file, found and expected.

Each case breaks one thing in a valid folder. `at` says when it must be refused: structure when the folder
is opened, values when the chip is read.
"""

import io
import json
import math
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from helpers.chip_folders import annotation, box_mask, edit_json, pixels, write_challenge, write_coco
from rtslib.data.masks import encode
from rtslib.data.opening import open_chips
from rtslib.errors import DataError

NPZ = "train/images/train_yg_000.npz"
TRAIN = "metadata/train_manifest.csv"
LABELS = "train/annotations/instances_train.json"
PNG = "images/train_nitze_001.png"
COCO = "instances.json"


def refused(root, file, found, expected, at="open"):
    """Assert that the folder is refused with a one-line message that has all three parts."""
    chips = open_chips(root) if at == "read" else None
    with pytest.raises(DataError) as caught:
        chips.read(chips.chips[0]) if chips else open_chips(root)
    error = caught.value
    assert file in error.where, error
    assert found in error.found, error
    assert expected in error.expected, error
    message = str(error)
    assert message.startswith(f"{error.where}: found {error.found}, expected {error.expected}")
    assert "\n" not in message


def put(array, key="image", **more):
    """Change that writes an npz of one array."""
    return lambda root: np.savez(root / NPZ, **{key: array}, **more)


def with_value(band, value, dtype=np.float32):
    """Change that writes a good array with one bad pixel."""
    array = pixels(20, 30, dtype)
    array[4, 5, band] = value
    return put(array)


def cut(root):
    """Truncate an npz."""
    data = (root / NPZ).read_bytes()
    (root / NPZ).write_bytes(data[: len(data) * 2 // 3])


def damage(root):
    """Flip bytes in the middle of the compressed pixels; zip directory and header stay whole."""
    rng = np.random.default_rng(0)
    array = pixels(20, 30) + rng.random((20, 30, 8)).astype(np.float32) * 0.1
    np.savez_compressed(root / NPZ, image=array)
    data = bytearray((root / NPZ).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    (root / NPZ).write_bytes(bytes(data))


def short_member(root):
    """Write an npz whose array member ends before its pixels do."""
    buffer = io.BytesIO()
    np.save(buffer, pixels(20, 30))
    with zipfile.ZipFile(root / NPZ, "w") as file:
        file.writestr("image.npy", buffer.getvalue()[:-100])


def write(name, content):
    """Change that overwrites a file."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda root: (root / name).write_bytes(data)


def replace(name, old, new):
    """Change that replaces text in a file, which must be there."""

    def change(root):
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return change


def remove(name):
    """Change that deletes a file."""
    return lambda root: (root / name).unlink()


BANDS = json.dumps(["red", "green", "blue", "nir", "ndvi", "relative_elevation", "shaded_relief", "ndwi"])
HEADER = "image_id,file_name,height,width\n"

CHALLENGE = {
    "band order": (
        write("metadata/band_names.json", BANDS), "band_names.json", "'blue', 'nir'", "'blue', 'ndvi'"),
    "raw elevation": (
        write("metadata/band_names.json", BANDS.replace("relative_", "")), "band_names.json", "'elevation'", "'ndvi'"),
    "band count": (write("metadata/band_names.json", '["red"]'), "band_names.json", "['red']", "'ndwi'"),
    "band names no list": (write("metadata/band_names.json", "7"), "band_names.json", "bands 7", "'red'"),
    "band names no JSON": (
        write("metadata/band_names.json", "[red"), "band_names.json", "no readable JSON", "JSON"),
    "no manifest": (remove(TRAIN), "train_manifest.csv", "no such file", "image_id, file_name"),
    "no test manifest": (
        remove("metadata/test_manifest.csv"), "test_manifest.csv", "no such file", "image_id"),
    "manifest without a column": (
        replace(TRAIN, "height", "rows"), "train_manifest.csv", "'rows'", "'height'"),
    "manifest not UTF-8": (write(TRAIN, b"\xff\xfe\x00"), "train_manifest.csv", "no readable CSV", "UTF-8"),
    "manifest empty": (write(TRAIN, ""), "train_manifest.csv", "columns []", "'image_id'"),
    "manifest without rows": (write(TRAIN, HEADER), "train_manifest.csv", "no rows", "one training image"),
    "manifest row too short": (
        replace(TRAIN, "20,30,x,site1", "20"), "line 4", "fewer values", "6, one a column"),
    "manifest row too long": (
        replace(TRAIN, "20,30,x,site1", "20,30,x,site1,9"), "line 4", "more", "6, one a column"),
    "manifest id no number": (
        replace(TRAIN, "2,train", "b,train"), "manifest.csv, line 3", "image_id 'b'", "whole"),
    "manifest id negative": (
        replace(TRAIN, "2,train", "-2,train"), "manifest.csv, line 3", "'-2'", "whole number"),
    "manifest size zero": (replace(TRAIN, "000.npz,20", "000.npz,0"), "line 2", "height '0'", "size in px"),
    "manifest id twice": (replace(TRAIN, "2,train", "1,train"), "line 3", "image_id 1 a second time", "once"),
    "manifest file twice": (
        replace(TRAIN, "nitze_001", "yg_000"), "line 3", "train_yg_000.npz' a second", "once"),
    "manifest group empty": (replace(TRAIN, "site1", " "), "line 4", "no group", "a group for every image"),
    "manifest name leaves": (
        replace(TRAIN, "train_yg_000", "../../x"), "line 2", "../../x.npz", "inside train/images"),
    "manifest name absolute": (
        replace(TRAIN, "train_yg_000", "/etc/x"), "line 2", "/etc/x.npz", "inside train/images"),
    "manifest name by a detour": (
        replace(TRAIN, "train_yg_000", "a/../train_yg_000"), "line 2", "a/../train_yg_000", "plain name"),
    "npz missing": (
        remove(NPZ), "train_manifest.csv, line 2", "no file 'train_yg_000.npz'", "every listed image"),
    "test npz missing": (
        remove("test/images/test_yg_000.npz"), "test_manifest.csv, line 2", "no file", "listed image"),
    "npz truncated": (cut, NPZ, "truncated or damaged npz", "an npz file"),
    "npz member truncated": (short_member, NPZ, "19100 bytes", "(20, 30, 8) of float32"),
    "npz empty": (write(NPZ, b""), NPZ, "an empty file", "an npz file"),
    "npz is a pickle": (write(NPZ, pickle.dumps({"image": 1})), NPZ, "a Python pickle", "an npz file"),
    "npz is an npy": (
        lambda r: np.save((r / NPZ).open("wb"), pixels(20, 30)), NPZ, "single array (npy)", "an npz"),
    "npz is text": (write(NPZ, "hello"), NPZ, "no npz", "an npz file"),
    "npz with another array": (put(pixels(20, 30), key="img"), NPZ, "arrays ['img']", "an array `image`"),
    "npz pickled array": (put(pixels(20, 30).astype(object)), NPZ, "a pickled array", "plain numbers"),
    "npz of booleans": (put(pixels(20, 30) > 0), NPZ, "dtype bool", "real numbers"),
    "npz of complex": (put(pixels(20, 30).astype(complex)), NPZ, "dtype complex128", "real numbers"),
    "npz of text": (put(pixels(20, 30).astype(str)), NPZ, "dtype <U", "real numbers"),
    "npz with 7 bands": (put(pixels(20, 30)[..., :7]), NPZ, "(20, 30, 7)", "(20, 30, 8)"),
    "npz channels first": (
        put(pixels(20, 30).transpose(2, 0, 1)), NPZ, "(8, 20, 30), channels first", "bands last"),
    "npz turned": (put(pixels(30, 20)), NPZ, "(30, 20, 8)", "(20, 30, 8)"),
    "npz of two dimensions": (put(pixels(20, 30)[..., 0]), NPZ, "shape (20, 30)", "(20, 30, 8)"),
    "annotation file missing": (remove(LABELS), "instances_train.json", "no such file", "JSON"),
    "annotation file without an image": (
        lambda r: edit_json(r / LABELS, lambda c: c["images"].pop(0)),
        LABELS, "no image with id 1", "every image"),
    "annotation file with an image more": (
        replace(TRAIN, "1,train_yg_000.npz,20,30,x,site0\n", ""), "instances_train.json, image 1",
        "an image that train_manifest.csv lacks", "the same images"),
    "annotation file of other sizes": (
        lambda r: edit_json(r / LABELS, lambda c: c["images"][0].update(height=30, width=20)),
        "instances_train.json, image 1", "(30, 20, 'train_yg_000.npz')", "(20, 30, 'train_yg_000.npz')"),
    "annotation file of other names": (
        lambda r: edit_json(r / LABELS, lambda c: [
            i.update(id=n) for n, i in zip((3, 2, 1), c["images"], strict=True)]),
        "instances_train.json, image 3", "(20, 30, 'train_yg_000.npz')", "(20, 30, 'train_yg_002.npz')"),
}  # fmt: skip

PIXELS = {
    "NaN in red": (with_value(0, np.nan), "yg_000.npz, band red", "NaN in 1 px", "a number in every pixel"),
    "infinite nir": (with_value(6, np.inf), "band nir", "inf in 1 px", "-0.2 to 65535"),
    "minus infinity in ndvi": (with_value(3, -np.inf), "band ndvi", "-inf in 1 px", "-1 to 1"),
    "ndwi above 1": (with_value(7, 1.5), "band ndwi", "1.5 in 1 px", "-1 to 1 (1)"),
    "DEM fill value": (with_value(4, -9999), "band relative_elevation", "-9999 in 1 px", "-1000 to 1000 (m)"),
    "negative red": (with_value(0, -5), "band red", "-5 in 1 px", "-0.2 to 65535"),
    "beyond float32": (with_value(6, 1e300, np.float64), "band nir", "inf in 1 px", "65535"),
    "damaged pixels": (damage, NPZ, "array `image` that cannot be read", "a whole npz file"),
}


def first(**changes):
    """Change of the first annotation of instances.json."""
    return lambda root: edit_json(root / COCO, lambda c: c["annotations"][0].update(changes))


def image(**changes):
    """Change of the first image entry of instances.json."""
    return lambda root: edit_json(root / COCO, lambda c: c["images"][0].update(changes))


def content(change):
    """Change of all of instances.json."""
    return lambda root: edit_json(root / COCO, change)


def rle(counts, size=(20, 30)):
    """Change of the first segmentation into an RLE."""
    return first(segmentation={"size": list(size), "counts": counts})


def save(mode, suffix="PNG", size=(30, 20)):
    """Change that saves the first image in another mode, format or size (width, height)."""
    return lambda root: Image.new(mode, size).save(root / PNG, format=suffix)


def cut_png(root):
    """Truncate a PNG behind its header."""
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / PNG)
    (root / PNG).write_bytes((root / PNG).read_bytes()[:400])


ONE, FIRST = "instances.json, annotation 1", "instances.json, image 1"
SQUARE = [2, 3, 6, 3, 6, 8, 2, 8]
GOOD = encode(box_mask(20, 30, 2, 3, 4, 5))["counts"]

COCO_FILE = {
    "no JSON": (write(COCO, "{"), COCO, "no readable JSON", "a JSON file"),
    "nested without end": (write(COCO, "[" * 100_000), COCO, "no readable JSON", "a JSON file"),
    "a number without end": (write(COCO, "9" * 5000), COCO, "no readable JSON", "a JSON file"),
    "not UTF-8": (write(COCO, b"\xff{}"), COCO, "no readable JSON", "a JSON file"),
    "a list": (write(COCO, "[]"), COCO, "JSON of type list", "a JSON object"),
    "no annotations": (content(lambda c: c.pop("annotations")), COCO, "no 'annotations'", "a list"),
    "images no list": (
        content(lambda c: c.update(images={})), COCO, "'images' of type object", "a list 'images'"),
    "no images": (content(lambda c: c.update(images=[], annotations=[])), COCO, "no images", "at least one"),
    "unknown category listed": (
        content(lambda c: c["categories"].append({"id": 2, "name": "lake"})), "instances.json, categories",
        "2: 'rts' (3 annotations), 'lake' (0 annotations)", "one"),
    "category without a name": (
        content(lambda c: c["categories"][0].pop("name")), "category at position 0", "'id': 1", "and a name"),
    "category id no integer": (
        content(lambda c: c["categories"][0].update(id="1")), "category at position 0", "'id': '1'", "whole number"),
    "category id a truth value": (
        content(lambda c: c["categories"][0].update(id=True)), "category at position 0", "True", "whole number"),
    "category id twice": (
        content(lambda c: c["categories"].append({"id": 1, "name": "b"})), "position 1", "id 1 a second time", "once"),
    "no category": (content(lambda c: c.update(categories=[])), "instances.json, categories", "0: none", "one"),
    "unknown category used": (first(category_id=2), ONE, "category_id 2", "one of [1]"),
    "no category used": (first(category_id=None), ONE, "category_id None", "one of [1]"),
    "category used by a truth value": (first(category_id=True), ONE, "category_id True", "one of [1]"),
    "image id twice": (
        content(lambda c: c["images"][1].update(id=1)),
        "image at position 1", "id 1 a second time", "image id once"),
    "image id no integer": (image(id="1"), "image at position 0", "id '1'", "an integer"),
    "image without id": (content(lambda c: c["images"][0].pop("id")), "position 0", "no id", "an integer"),
    "image no object": (
        content(lambda c: c["images"].insert(0, 5)), "image at position 0", "a number", "an object"),
    "image file twice": (
        image(file_name="train_yg_002.png"), "image 2", "train_yg_002.png' a second", "once"),
    "image file twice by prefix": (
        image(file_name="images/train_yg_002.png"), "image 2", "train_yg_002.png' a second", "once"),
    "image without name": (image(file_name=""), FIRST, "file_name ''", "a file name"),
    "image size negative": (image(height=-20), FIRST, "height -20", "an integer of 1 or more"),
    "image size a float": (image(width=30.5), FIRST, "width 30.5", "an integer of 1 or more"),
    "image name leaves": (image(file_name="../instances.json"), FIRST, "../instances.json", "inside images/"),
    "image name absolute": (image(file_name="/etc/passwd"), FIRST, "/etc/passwd", "inside images/"),
    "image name with a null": (image(file_name="a\0b.png"), FIRST, "a\\x00b.png", "inside images/"),
    "image name too long": (image(file_name="a" * 5000), FIRST, "file name 'aaa", "inside images/"),
    "image missing": (remove(PNG), FIRST, "no file 'train_nitze_001.png'", "every listed image to exist"),
    "annotation id twice": (
        content(lambda c: c["annotations"][2].update(id=1)),
        "annotation at position 2", "id 1 a second", "once"),
    "annotation of no image": (first(image_id=77), ONE, "image_id 77", "a listed image"),
    "annotation without image id": (
        content(lambda c: c["annotations"][0].pop("image_id")), ONE, "no image_id", "an integer"),
    "crowd": (first(iscrowd=1), ONE, "iscrowd 1", "iscrowd 0"),
    "no segmentation": (first(segmentation=None), ONE, "no segmentation", "polygons or RLE"),
    "empty segmentation": (first(segmentation=[]), ONE, "no segmentation", "polygons or RLE"),
    "segmentation a string": (first(segmentation=GOOD), ONE, "a string", "polygons or RLE"),
    "polygon not nested": (first(segmentation=SQUARE), ONE, "a number as polygon", "a list of numbers"),
    "polygon of odd length": (
        first(segmentation=[SQUARE[:-1]]), ONE, "7 numbers", "an even count of 6 or more"),
    "polygon like a box": (
        first(segmentation=[[2, 3, 4, 5]]), ONE, "4 numbers", "an even count of 6 or more"),
    "polygon with NaN": (
        first(segmentation=[[*SQUARE[:-1], math.nan]]), ONE, "coordinate nan", "finite numbers"),
    "polygon infinite": (
        first(segmentation=[[*SQUARE[:-1], math.inf]]), ONE, "coordinate inf", "finite numbers"),
    "polygon with text": (first(segmentation=[[*SQUARE[:-1], "8"]]), ONE, "coordinate '8'", "finite numbers"),
    "polygon far outside": (first(segmentation=[[2, 3, 600, 3, 6, 8]]), ONE, "x = 600", "0 to 30"),
    "polygon in a huge number": (first(segmentation=[[2, 3, 6, 10**400, 6, 8]]), ONE, "y = 1000", "0 to 20"),
    "RLE of the wrong size": (rle(GOOD, (30, 20)), ONE, "RLE of size [30, 20]", "[20, 30]"),
    "RLE without counts": (
        first(segmentation={"size": [20, 30]}), ONE, "as segmentation", "RLE with size and counts"),
    "RLE too short": (rle(encode(box_mask(20, 29, 2, 3, 4, 5))["counts"]), ONE, "580 px", "20 x 30 = 600 px"),
    "RLE too long": (rle(GOOD + "1"), ONE, "px", "20 x 30 = 600 px"),
    "RLE that breaks off": (rle(GOOD + "P"), ONE, "an RLE string that breaks off", "a whole COCO RLE string"),
    "RLE with a wrong character": (rle("é" + GOOD), ONE, "'é'", "COCO RLE"),
    "RLE with a number without end": (rle("o" * 50), ONE, "RLE string with", "COCO RLE"),
    "RLE of negative runs": (rle([700, -100]), ONE, "no run lengths", "list of integers"),
    "RLE of fractions": (rle([300.5, 299.5]), ONE, "no run lengths", "list of integers"),
    "RLE counts that do not fill": (rle([300, 20]), ONE, "runs over 320 px", "600 px"),
    "RLE counts null": (rle(None), ONE, "no run lengths", "a COCO RLE string"),
    "image of another size": (save("RGB", size=(20, 30)), PNG, "30 x 20 px", "20 x 30 px as listed"),
    "image with alpha": (save("RGBA"), PNG, "mode RGBA", "8-bit RGB"),
    "image grey": (save("L"), PNG, "mode L", "8-bit RGB"),
    "image with a palette": (save("P"), PNG, "mode P", "8-bit RGB"),
    "image of 16 bits": (save("I;16"), PNG, "mode I;16", "8-bit RGB"),
    "image in CMYK": (save("CMYK", "JPEG"), PNG, "mode CMYK", "8-bit RGB"),
    "image of another format": (save("RGB", "TIFF"), PNG, "no readable image", "a JPEG or PNG file"),
    "image no image": (write(PNG, "hello"), PNG, "no readable image", "a JPEG or PNG file"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHALLENGE)
def test_challenge_release_refused_at_the_door(tmp_path, case):
    change, *parts = CHALLENGE[case]
    change(write_challenge(tmp_path))
    refused(tmp_path, *parts)


@pytest.mark.parametrize("case", PIXELS)
def test_pixels_refused_at_reading(tmp_path, case):
    change, *parts = PIXELS[case]
    change(write_challenge(tmp_path))
    refused(tmp_path, *parts, at="read")


@pytest.mark.parametrize("case", COCO_FILE)
def test_coco_folder_refused_at_the_door(tmp_path, case):
    change, *parts = COCO_FILE[case]
    change(write_coco(tmp_path))
    refused(tmp_path, *parts)


def test_truncated_image_refused_at_reading(tmp_path):
    cut_png(write_coco(tmp_path))
    refused(tmp_path, PNG, "pixels that cannot be read", "a whole image", at="read")


def test_file_replaced_after_opening_is_refused(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    np.savez(tmp_path / NPZ, image=pixels(21, 30))
    with pytest.raises(DataError, match=r"shape \(21, 30, 8\), expected \(20, 30, 8\)"):
        chips.read(chips.chips[0])
    (tmp_path / NPZ).unlink()
    with pytest.raises(DataError, match="No such file"):
        chips.read(chips.chips[0])
    with pytest.raises(DataError, match="No such file"):
        chips.fingerprint()


def test_the_way_out_is_named(tmp_path):
    np.savez(write_challenge(tmp_path / "a") / NPZ, image=pixels(20, 30).transpose(2, 0, 1))
    with pytest.raises(DataError, match=r"\(save np.moveaxis\(image, 0, -1\)\)"):
        open_chips(tmp_path / "a")
    Image.new("RGBA", (30, 20)).save(write_coco(tmp_path / "b") / PNG)
    with pytest.raises(DataError, match="drop the alpha band"):
        open_chips(tmp_path / "b")


@pytest.mark.parametrize("name", ["missing", "file", "empty"])
def test_folder_of_no_layout(tmp_path, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    found = {"missing": "no such folder", "file": "a file"}.get(name, "none of the known layouts")
    expected = "a folder of chips" if name in ("missing", "file") else "images/ with instances.json"
    refused(tmp_path / name, name, found, expected)
    if name == "empty":
        refused(tmp_path / name, name, found, "metadata/band_names.json")
        refused(tmp_path / name, name, found, "chips.csv")


def test_folder_of_two_layouts(tmp_path):
    write_challenge(tmp_path)
    write_coco(tmp_path)
    refused(tmp_path, tmp_path.name, "more than one layout", "one of")


def test_annotations_of_a_release_are_checked_like_any(tmp_path):
    write_challenge(tmp_path)
    bad = annotation(9, 1, {"size": [20, 31], "counts": "0"})
    edit_json(tmp_path / LABELS, lambda c: c["annotations"].append(bad))
    refused(tmp_path, "instances_train.json, annotation 9", "size [20, 31]", "[20, 30]")
