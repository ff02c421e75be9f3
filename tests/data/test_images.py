"""Images of chips: read as they are, or refused with the reason; orientation as the listed size has it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers.chip_folders import edit_json, write_coco
from rtslib.data.images import turn
from rtslib.data.opening import open_chips
from rtslib.errors import DataError

PNG = "images/train_nitze_001.png"


def put(root, array, name=PNG):
    """Write (H, W, 3) red, green, blue of 8 or 16 bits as PNG."""
    cv2.imwrite(str(root / name), np.ascontiguousarray(array[..., ::-1]))


def listed(root, **changes):
    edit_json(root / "instances.json", lambda c: c["images"][0].update(changes))


def corner(height, width):
    """A picture (height, width, 3), black but for its upper left pixel."""
    out = np.zeros((height, width, 3), np.uint8)
    out[0, 0] = (10, 20, 30)
    return out


def tagged(root, array, orientation, name=PNG, kind="PNG"):
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[0x112] = orientation
    image.save(root / name, format=kind, exif=exif)


def message(root, read=False):
    with pytest.raises(DataError) as caught:
        chips = open_chips(root)
        if read:
            chips.read(chips.chips[0])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sixteen_bits_are_sixteen_bits(tmp_path):
    array = np.random.default_rng(0).integers(0, 65535, (20, 30, 3)).astype(np.uint16)
    put(write_coco(tmp_path, chips=1), array)
    chips = open_chips(tmp_path)
    np.testing.assert_array_equal(chips.read(chips.chips[0]), array.transpose(2, 0, 1))
    (tmp_path / "instances.json").unlink()
    plain = open_chips(tmp_path)
    np.testing.assert_array_equal(plain.read(plain.chips[0]), array.transpose(2, 0, 1))


def test_bits_do_not_mix(tmp_path):
    put(write_coco(tmp_path), np.zeros((20, 30, 3), np.uint16))
    assert "train_yg_002.png: found 8 bits a band, expected 16 as train_nitze_001.png" in message(tmp_path)
    (tmp_path / "instances.json").unlink()
    assert "found 8 bits a band" in message(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_as_pillow_does(orientation):
    array = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    image.getexif()[0x112] = orientation
    np.testing.assert_array_equal(turn(array, orientation), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_turned_size_in_the_listing_turns(tmp_path, kind):
    tagged(write_coco(tmp_path, chips=1), np.kron(corner(4, 5), np.ones((8, 8, 1), np.uint8)), 6, kind=kind)
    listed(tmp_path, height=40, width=32)
    chips = open_chips(tmp_path)
    pixels = chips.read(chips.chips[0])
    assert pixels.shape == (3, 40, 32)
    np.testing.assert_allclose(pixels[:, 2, 29], (10, 20, 30), atol=3)  # upper left goes to the upper right
    assert pixels[:, 2, 2].max() < 4
    assert "1 images are turned by their EXIF orientation" in " ".join(chips.notes)


def test_a_stored_size_in_the_listing_does_not_turn(tmp_path):
    tagged(write_coco(tmp_path, chips=1), corner(20, 30), 8)
    chips = open_chips(tmp_path)
    assert chips.read(chips.chips[0])[:, 0, 0].tolist() == [10, 20, 30]
    assert "1 images are not turned by their EXIF orientation" in " ".join(chips.notes)


@pytest.mark.parametrize(("orientation", "shape"), [(2, (20, 30)), (3, (20, 30)), (4, (20, 30)), (6, (25, 25))])
def test_a_size_that_does_not_tell_is_refused(tmp_path, orientation, shape):
    tagged(write_coco(tmp_path, chips=1), corner(*shape), orientation)
    listed(tmp_path, height=shape[0], width=shape[1])
    said = message(tmp_path)
    assert f"orientation of {orientation}" in said and "as it was drawn on" in said


def test_a_size_that_is_neither_is_refused(tmp_path):
    tagged(write_coco(tmp_path, chips=1), corner(21, 30), 6)
    assert "found 21 x 30 px (height x width), expected 20 x 30 px as listed" in message(tmp_path)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_does_not_count(tmp_path, orientation):
    tagged(write_coco(tmp_path, chips=1), corner(20, 30), orientation)
    chips = open_chips(tmp_path)
    assert chips.read(chips.chips[0])[:, 0, 0].tolist() == [10, 20, 30] and chips.notes == ()


@pytest.mark.parametrize("orientation", [3, 6])
def test_nothing_drawn_is_turned(tmp_path, orientation):
    tagged(write_coco(tmp_path, chips=1), corner(20, 30), orientation)
    (tmp_path / "instances.json").unlink()
    chips = open_chips(tmp_path)
    pixels = chips.read(chips.chips[0])
    assert (
        pixels.shape
        == ((3, 20, 30) if orientation == 3 else (3, 30, 20))
        == (3, chips.chips[0].height, chips.chips[0].width)
    )
    assert (pixels[:, -1, -1] if orientation == 3 else pixels[:, 0, -1]).tolist() == [10, 20, 30]
    assert "1 images are turned" in chips.notes[1]


def test_sixteen_bits_turn_too(tmp_path):
    array = corner(20, 30).astype(np.uint16) * 1000
    put(write_coco(tmp_path, chips=1), array)
    data = (tmp_path / PNG).read_bytes()
    exif = Image.Exif()
    exif[0x112] = 6
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / PNG).write_bytes(data[:33] + chunk + data[33:])
    listed(tmp_path, height=30, width=20)
    chips = open_chips(tmp_path)
    assert chips.read(chips.chips[0])[:, 0, -1].tolist() == [10_000, 20_000, 30_000]
    # behind the pixels, the orientation is seen when these are read
    (tmp_path / PNG).write_bytes(data[:-12] + chunk + data[-12:])
    listed(tmp_path, height=20, width=30)
    chips = open_chips(tmp_path)
    assert chips.read(chips.chips[0])[:, 0, 0].tolist() == [10_000, 20_000, 30_000]


def test_what_a_file_is_stands_in_its_bytes(tmp_path):
    root = write_coco(tmp_path, chips=2)
    (root / PNG).rename(root / "images" / "a.jpg")
    listed(root, file_name="a.jpg")
    Image.new("RGB", (30, 20), (40, 50, 60)).save(root / "images" / "train_yg_002.png", format="JPEG", quality=100)
    chips = open_chips(root)
    assert chips.read(chips.chips[0])[:, 5, 5].tolist() == [10, 20, 30]
    np.testing.assert_allclose(chips.read(chips.chips[1])[:, 5, 5], (40, 50, 60), atol=2)


def test_the_first_picture_of_a_camera_is_the_picture(tmp_path):
    more = [Image.new("RGB", (8, 8))]
    Image.new("RGB", (30, 20), (40, 50, 60)).save(
        write_coco(tmp_path, chips=1) / PNG, format="MPO", save_all=True, append_images=more, quality=100
    )
    chips = open_chips(tmp_path)
    np.testing.assert_allclose(chips.read(chips.chips[0])[:, 5, 5], (40, 50, 60), atol=2)


OTHERS = {
    "LA": (lambda p: Image.new("LA", (30, 20)).save(p), "mode LA", "drop the alpha"),
    "1-bit": (lambda p: Image.new("1", (30, 20)).save(p), "mode 1", "one band is not colour"),
    "palette with transparency": (
        lambda p: Image.new("P", (30, 20)).save(p, transparency=3), "mode P", "convert('RGB')"),
    "transparent colour": (
        lambda p: Image.new("RGB", (30, 20)).save(p, transparency=(1, 2, 3)), "a transparent colour", "drop the alpha"),
    "animation": (
        lambda p: Image.new("RGB", (30, 20)).save(p, save_all=True, append_images=[Image.new("RGB", (30, 20), 1)]),
        "an animation of 2 pictures", "save one picture"),
    "grey JPEG": (lambda p: Image.new("L", (30, 20)).save(p, format="JPEG"), "mode L", "one band is not colour"),
    "GIF": (lambda p: Image.new("P", (30, 20)).save(p, format="GIF"), "no readable image, but a GIF", "JPEG or PNG"),
    "WebP": (lambda p: Image.new("RGB", (30, 20)).save(p, format="WEBP"), "but a WEBP", "JPEG or PNG"),
    "TIFF": (lambda p: Image.new("RGB", (30, 20)).save(p, format="TIFF"), "but a TIFF", "layout geotiff"),
    "empty": (lambda p: p.write_bytes(b""), "no readable image", "JPEG or PNG"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("labels", [True, False])
def test_what_is_no_plain_picture_is_refused(tmp_path, case, labels):
    save, found, fix = OTHERS[case]
    save(write_coco(tmp_path, chips=1) / PNG)
    if not labels:
        (tmp_path / "instances.json").unlink()
    said = message(tmp_path)
    assert PNG in said and found in said and fix in said


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_picture_is_refused_when_read(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(write_coco(tmp_path, chips=1) / PNG, format=kind)
    data = (tmp_path / PNG).read_bytes()
    (tmp_path / PNG).write_bytes(data[: len(data) * 3 // 4])
    assert "pixels that cannot be read" in message(tmp_path, read=True)


def test_labels_of_another_name_are_not_overlooked(tmp_path):
    root = write_coco(tmp_path)
    (root / "instances.json").rename(root / "annotations.coco.json")
    assert "annotations.coco.json is not read" in open_chips(root).notes[1]


def test_geotiffs_alone_are_pointed_to_their_layout(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "a.tif")
    assert "GeoTIFFs need chips.csv" in message(tmp_path)
