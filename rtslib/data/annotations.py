"""COCO annotation files: reading them, and refusing what would train on wrong labels.

A COCO file lists `images` (id, file name, size), `annotations` (one slump each: polygons or RLE) and
`categories`. Tools differ in what they put there and pycocotools believes all of it: run lengths that
do not add up read beyond a buffer, four numbers are taken for a box, an unknown image id scores as
nothing. So every entry is checked before pycocotools sees it. `bbox` and `area` of the file are not
used: both are computed from the mask. Which category is the slump says `rtslib.data.categories`.

A *crowd* (`iscrowd` 1) is to COCO a region of many instances, as RLE; brush tools write it for every mask. An RLE
crowd is read as one slump if one 8-connected part has `ONE_PART` of its pixels.

Format: https://cocodataset.org/#format-data; RLE strings as in `rleFrString` of the COCO API (Lin et al.
2014). Several polygons of one annotation are one instance (their union).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from scipy import ndimage

from rtslib.data.categories import slump_category
from rtslib.data.chips import Instance
from rtslib.data.imagepaths import is_absolute
from rtslib.data.masks import decode, encode, polygons_to_mask
from rtslib.errors import DataError
from rtslib.files import read_json

#: Least share of a crowd's pixels in its largest part, for it to be one slump: a brush leaves stray dots.
ONE_PART = 0.9


@dataclass(frozen=True)
class ImageEntry:
    """One entry of `images`: id, file name as listed, size in px."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class Annotations:
    """A COCO file whose structure is sound; masks are not decoded yet.

    Attributes:
        path: the file.
        images: image id -> entry.
        segmentations: image id -> (annotation id, segmentation as listed, whether it is a crowd), for every image.
        category: the one that was asked for, of several; else "".
        notes: plain sentences on what was left out or taken for something.
    """

    path: Path
    images: dict[int, ImageEntry]
    segmentations: dict[int, list[tuple[int, Any, bool]]]
    category: str
    notes: tuple[str, ...]


def read_annotations(path: Path, category: str = "") -> Annotations:
    """Read a COCO file and check everything but the masks.

    Args:
        path: the file.
        category: name of the category that is the slump, where there are several; "": there is one.

    Raises:
        ConfigError: there is no such category.
        DataError: no JSON object with the three lists, not one category of slumps (`rtslib.data.categories`), no
            image, a repeated image id, file name or annotation id, a size that is no positive integer, an
            annotation of an unknown image or category, or a crowd region drawn as polygons.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(path, f"JSON of type {_kind(content)}", "a JSON object with images and annotations")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            found = f"{key!r} of type {_kind(content[key])}" if key in content else f"no {key!r}"
            raise DataError(path, found, f"a list {key!r}")
    chosen = slump_category(path, content["categories"], content["annotations"], category)
    images = _images(path, content["images"])
    segmentations: dict[int, list[tuple[int, Any, bool]]] = {i: [] for i in images}
    for where, number, entry in _entries(path, "annotation", content["annotations"]):
        image, label, crowd = _integer(where, entry, "image_id"), entry.get("category_id"), entry.get("iscrowd", 0)
        if image not in images:
            raise DataError(where, f"image_id {image}", "the id of a listed image")
        if type(label) is not int or label not in chosen.listed:
            raise DataError(where, f"category_id {label!r}", f"one of {sorted(chosen.listed)} as listed")
        if label not in chosen.ids:
            continue
        if crowd not in (0, 1) or (crowd and not isinstance(entry.get("segmentation"), dict)):
            raise DataError(where, f"iscrowd {crowd!r}", "iscrowd 0", "a crowd is no instance")
        segmentations[image].append((number, entry.get("segmentation"), bool(crowd)))
    return Annotations(path, images, segmentations, chosen.asked, (*chosen.notes, *_oddities(images, segmentations)))


def _oddities(images: dict[int, ImageEntry], segmentations: dict[int, list[tuple[int, Any, bool]]]) -> list[str]:
    """Return notes on crowds and on paths of another machine."""
    crowds = sum(crowd for listed in segmentations.values() for _, _, crowd in listed)
    foreign = sum(is_absolute(entry.file_name) for entry in images.values())
    return [
        *([f"{crowds} masks have iscrowd 1, as brush tools write it: each is taken as one slump."] if crowds else []),
        *([f"{foreign} images are listed with a whole path; they were found here by its end."] if foreign else []),
    ]


def decode_instances(annotations: Annotations) -> tuple[dict[int, tuple[Instance, ...]], int]:
    """Turn every annotation into an instance.

    Check first that the listed sizes are those of the image files: they bound what is allocated here.

    Returns:
        Image id -> instances in file order, for every image, and the number of annotations left out
        because they cover no pixel.

    Raises:
        DataError: a segmentation is neither polygons nor RLE, polygons have too few or an odd count of
            numbers, non-finite ones, or vertices far outside, an RLE is damaged or of another size, or a crowd
            has several parts.
    """
    instances: dict[int, tuple[Instance, ...]] = {}
    dropped = 0
    for image, listed in annotations.segmentations.items():
        entry = annotations.images[image]
        found = []
        for number, segmentation, crowd in listed:
            where = f"{annotations.path}, annotation {number}"
            rle = _to_rle(where, segmentation, entry.height, entry.width)
            if crowd:
                _check_one_part(where, rle)
            found.append(Instance.from_rle(rle))
        instances[image] = tuple(i for i in found if i.area)
        dropped += len(found) - len(instances[image])
    return instances, dropped


def check_rle(where: str, rle: Any, height: int, width: int) -> dict:
    """Check an RLE, compressed or not, and return it compressed.

    Args:
        where: file and item, for errors.
        rle: {"size": [H, W], "counts": str or list of int}, as parsed from JSON.
        height, width: of the image, px.

    Returns:
        {"size": [H, W], "counts": str}.

    Raises:
        DataError: it is not of this form or size, or its runs do not fill the image exactly.
    """
    if not isinstance(rle, dict) or not {"size", "counts"} <= set(rle):
        raise DataError(where, f"a {_kind(rle)} as segmentation", "RLE with size and counts")
    if rle["size"] != [height, width]:
        raise DataError(where, f"RLE of size {rle['size']!r}", f"[{height}, {width}] as the image")
    counts = rle["counts"]
    runs = _runs(where, counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(type(n) is not int or n < 0 for n in runs):
        raise DataError(where, "RLE counts that are no run lengths", "a COCO RLE string or list of integers")
    if sum(runs) != height * width:
        raise DataError(where, f"RLE runs over {sum(runs)} px", f"{height} x {width} = {height * width} px")
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts}
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def _runs(where: str, text: str) -> list[int]:
    """Decode an RLE string: 5 bits a character, then differences to the run before last."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise DataError(where, f"RLE string with {character!r}", "characters '0' to 'o' (COCO RLE)")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise DataError(where, "an RLE string that breaks off", "a whole COCO RLE string")
    return runs


def _to_rle(where: str, segmentation: Any, height: int, width: int) -> dict:
    """Check polygons or RLE and return compressed RLE; an outline around no pixel gives an empty mask."""
    if isinstance(segmentation, dict):
        return check_rle(where, segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        empty = segmentation is None or segmentation == []
        found = "no segmentation" if empty else f"a {_kind(segmentation)} as segmentation"
        raise DataError(where, found, "polygons or RLE")
    for ring in segmentation:
        if not isinstance(ring, list):
            raise DataError(where, f"a {_kind(ring)} as polygon", "a list of numbers x1, y1, x2, y2, ...")
        if len(ring) < 6 or len(ring) % 2:
            raise DataError(where, f"a polygon of {len(ring)} numbers", "an even count of 6 or more")
        bad = [v for v in ring if type(v) is not int and not (type(v) is float and math.isfinite(v))]
        if bad:
            raise DataError(where, f"polygon coordinate {bad[0]!r}", "finite numbers")
        for values, side, axis in ((ring[::2], width, "x"), (ring[1::2], height, "y")):
            far = [v for v in values if not -side <= v <= 2 * side]
            if far:
                raise DataError(
                    where, f"polygon vertex at {axis} = {far[0]}", f"px of the chip (0 to {side})",
                    "outlines may reach beyond the chip, by its own size at most",
                )  # fmt: skip
    return encode(polygons_to_mask(segmentation, height, width))


def _images(path: Path, entries: list) -> dict[int, ImageEntry]:
    """Check the list of images."""
    images: dict[int, ImageEntry] = {}
    names: set[str] = set()
    for where, number, entry in _entries(path, "image", entries):
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(where, f"file_name {name!r}", "a file name")
        if name in names:
            raise DataError(where, f"file_name {name!r} a second time", "each file listed once")
        height, width = (_integer(where, entry, key, low=1) for key in ("height", "width"))
        names.add(name)
        images[number] = ImageEntry(number, name, height, width)
    if not images:
        raise DataError(path, "no images", "at least one image")
    return images


def _entries(path: Path, what: str, entries: list) -> Iterator[tuple[str, int, dict]]:
    """Yield (where, id, entry) of a list of objects whose ids differ."""
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        where = f"{path}, {what} at position {position}"
        if not isinstance(entry, dict):
            raise DataError(where, f"a {_kind(entry)}", "an object")
        number = _integer(where, entry, "id")
        if number in seen:
            raise DataError(where, f"id {number} a second time", f"each {what} id once")
        seen.add(number)
        yield f"{path}, {what} {number}", number, entry


def _check_one_part(where: str, rle: dict) -> None:
    """Raise DataError unless nearly all pixels of a crowd hang together."""
    labels, count = ndimage.label(decode(rle), structure=np.ones((3, 3), dtype=int))
    sizes = np.bincount(labels.ravel())[1:]
    if count and sizes.max() < ONE_PART * sizes.sum():
        raise DataError(where, f"iscrowd 1 on {count} parts", "one slump", "draw each, or iscrowd 0 if they are one")


def _integer(where: str, entry: dict, key: str, low: int = 0) -> int:
    """Return an integer field of an entry."""
    value = entry.get(key)
    if type(value) is not int or value < low:
        found = f"{key} {value!r}" if key in entry else f"no {key}"
        raise DataError(where, found, f"an integer of {low} or more")
    return value


def _kind(value: Any) -> str:
    """Say in JSON's terms what a value is."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
