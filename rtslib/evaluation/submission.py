"""Submissions: the challenge's results file, and its rules.

A *submission* is one JSON file in COCO's results format: a list with one entry per predicted instance,
`{"image_id": int, "category_id": 1, "segmentation": {"size": [h, w], "counts": str}, "score": float}`.
The segmentation is the mask of one instance as compressed RLE (`rtslib.data.masks`), of the chip's own size. A
chip may have any number of entries, none included.

Malformed run lengths make pycocotools read outside its buffers, so they are checked before they get there.

Sources: 2026 GeoAI Arctic Challenge, submission page; COCO results format,
https://cocodataset.org/#format-results.
"""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtslib.data.annotations import check_rle
from rtslib.data.chips import CATEGORY, ChipSet
from rtslib.errors import DataError
from rtslib.files import read_json


def rle_fault(rle: Any, height: int, width: int) -> str:
    """Say what is wrong with a compressed RLE of an image of `height` x `width` px.

    Args:
        rle: anything; right is `{"size": [height, width], "counts": str}`.

    Returns:
        What was found, as a noun phrase; "" when the RLE is right and safe to give to pycocotools.
    """
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        return f"a segmentation {reprlib.repr(rle)}"
    size, counts = rle["size"], rle["counts"]
    if not isinstance(size, list) or [type(n) for n in size] != [int, int] or size != [height, width]:
        return f"RLE size {reprlib.repr(size)}"
    if not isinstance(counts, str):
        return "uncompressed RLE counts" if isinstance(counts, list) else f"RLE counts {reprlib.repr(counts)}"
    try:
        check_rle("", rle, height, width)
    except DataError as e:
        return e.found
    return ""


def breaches(entry: Any, sizes: Mapping[int, tuple[int, int]]) -> list[tuple[str, str]]:
    """List how one entry of a submission breaks the rules.

    Args:
        entry: one element of the list, as JSON gave it.
        sizes: chip id -> (height, width) px, of the chips that may have predictions.

    Returns:
        Pairs (found, expected), noun phrases; empty for a good entry. Keys beyond the four are allowed.
    """
    if not isinstance(entry, dict):
        return [(f"{reprlib.repr(entry)}", "an object with image_id, category_id, segmentation and score")]
    missing = [k for k in ("image_id", "category_id", "segmentation", "score") if k not in entry]
    out = [(f"no {k}", "image_id, category_id, segmentation and score") for k in missing]
    chip, score = entry.get("image_id"), entry.get("score")
    size = sizes.get(chip) if type(chip) is int else None
    if "image_id" in entry and size is None:
        what = "the id of one of the" if type(chip) is int else "an integer, the id of one of the"
        out.append((f"image_id {reprlib.repr(chip)}", f"{what} {len(sizes)} chips to predict"))
    category = entry.get("category_id")
    if "category_id" in entry and not (type(category) is int and category == CATEGORY["id"]):
        out.append((f"category_id {reprlib.repr(category)}", f"{CATEGORY['id']} (rts)"))
    if "segmentation" in entry and size is not None and (fault := rle_fault(entry["segmentation"], *size)):
        h, w = size
        out.append((fault, f'a compressed RLE {{"size": [{h}, {w}], "counts": str}} of {h * w} px in all'))
    if "score" in entry and not (type(score) in (int, float) and 0 <= score <= 1):
        out.append((f"score {reprlib.repr(score)}", "a number from 0 to 1"))
    return out


def validate(file: str | Path, chipset: ChipSet) -> list[str]:
    """Check a results file against the challenge's rules.

    Args:
        file: JSON in COCO's results format.
        chipset: the data set that was predicted. The entries must be on its test chips; where the set
            has no test chips (RGB + COCO, GeoTIFFs, a release without its test part), on its labelled ones.

    Returns:
        One line per breach, with the index of the entry from 0: `entry 17: found score 1.5, expected
        a number from 0 to 1`. Empty: the submission is valid. An empty list of predictions is valid.

    Raises:
        DataError: there is no such file, or no JSON in it.
    """
    entries = read_json(file)
    if not isinstance(entries, list):
        return [f"{file}: found {reprlib.repr(entries)}, expected a list of predictions"]
    chips = [c for c in chipset.chips if c.part == "test"] or [c for c in chipset.chips if c.labelled]
    sizes = {c.id: (c.height, c.width) for c in chips}
    return [
        f"entry {i}: found {found}, expected {expected}"
        for i, entry in enumerate(entries)
        for found, expected in breaches(entry, sizes)
    ]
