"""The challenge's rules for a results file, on good files and on broken ones."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from rtslib.data.masks import decode, encode
from rtslib.errors import DataError
from rtslib.evaluation.submission import breaches, rle_fault, validate

H, W = 20, 30


@dataclass(frozen=True)
class FakeChip:
    id: int
    part: str
    labelled: bool
    height: int = H
    width: int = W


@dataclass(frozen=True)
class FakeSet:
    chips: tuple[FakeChip, ...]


RELEASE = FakeSet((FakeChip(1, "train", True), FakeChip(7, "test", False), FakeChip(8, "test", False, 5, 5)))
MASK = np.zeros((H, W), dtype=bool)
MASK[3:9, 4:11] = True
GOOD = {"image_id": 7, "category_id": 1, "segmentation": encode(MASK), "score": 0.5}


def write(folder: Path, value: object) -> Path:
    file = folder / "results.json"
    file.write_text(json.dumps(value))
    return file


def with_rle(**changes: object) -> dict:
    return {**GOOD, "segmentation": {**GOOD["segmentation"], **changes}}


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [GOOD],
        [GOOD, {**GOOD, "score": 1}, {**GOOD, "score": 0, "bbox": [1, 2, 3, 4]}],
        [{**GOOD, "image_id": 8, "segmentation": encode(np.ones((5, 5), dtype=bool))}],
    ],
)
def test_valid_files(tmp_path, entries):
    assert validate(write(tmp_path, entries), RELEASE) == []


CORRUPT = [
    ({**GOOD, "image_id": 1}, "found image_id 1, expected the id of one of the 2 chips to predict"),
    ({**GOOD, "image_id": "7"}, "found image_id '7', expected an integer, the id of one of the 2 chips"),
    ({**GOOD, "image_id": 7.0}, "found image_id 7.0, expected an integer"),
    ({**GOOD, "image_id": True}, "found image_id True, expected an integer"),
    ({**GOOD, "image_id": None}, "found image_id None, expected an integer"),
    ({**GOOD, "image_id": [7]}, "found image_id [7], expected an integer"),
    ({**GOOD, "category_id": 2}, "found category_id 2, expected 1 (rts)"),
    ({**GOOD, "category_id": True}, "found category_id True, expected 1"),
    ({**GOOD, "category_id": 1.0}, "found category_id 1.0, expected 1"),
    ({**GOOD, "category_id": "1"}, "found category_id '1', expected 1"),
    ({**GOOD, "score": 1.5}, "found score 1.5, expected a number from 0 to 1"),
    ({**GOOD, "score": -0.1}, "found score -0.1, expected"),
    ({**GOOD, "score": "0.5"}, "found score '0.5', expected"),
    ({**GOOD, "score": True}, "found score True, expected"),
    ({**GOOD, "score": None}, "found score None, expected"),
    ({**GOOD, "score": float("nan")}, "found score nan, expected"),
    ({**GOOD, "score": float("inf")}, "found score inf, expected"),
    ({**GOOD, "score": 10**400}, "found score 1000"),
    ({**GOOD, "segmentation": [[1, 1, 5, 1, 5, 5]]}, "found a segmentation [[1, 1, 5, 1, 5, 5]], expec"),
    ({**GOOD, "segmentation": None}, "found a segmentation None, expected a compressed RLE"),
    ({**GOOD, "segmentation": {"size": [H, W]}}, "found a segmentation {'size': [20, 30]}, expected"),
    (with_rle(size=[W, H]), 'RLE size [30, 20], expected a compressed RLE {"size": [20, 30], "counts": str}'),
    (with_rle(size=[H]), "found RLE size [20], expected"),
    (with_rle(size=[H, True]), "found RLE size [20, True], expected"),
    (with_rle(size=[20.0, 30.0]), "found RLE size [20.0, 30.0], expected"),
    (with_rle(size="20x30"), "found RLE size '20x30', expected"),
    (with_rle(counts=[83, 6, 511]), "found uncompressed RLE counts, expected"),
    (with_rle(counts=5), "found RLE counts 5, expected"),
    (with_rle(counts=""), "found RLE runs over 0 px, expected"),
    (with_rle(counts="T3"), "found RLE runs over 100 px, expected"),
    (with_rle(counts="\x00"), "found RLE string with '\\x00', expected"),
    (with_rle(counts="hé"), "found RLE string with 'é', expected"),
    (with_rle(counts=GOOD["segmentation"]["counts"] + "p"), "found RLE string with 'p'"),
    (with_rle(counts="oooooooooooooo"), "found RLE string with 'o'"),
    (with_rle(counts="O"), "found RLE counts that are no run lengths"),
    (with_rle(counts="T"), "found an RLE string that breaks off"),
    (17, "found 17, expected an object"),
    ([GOOD], "expected an object"),
    (None, "found None, expected an object"),
]


@pytest.mark.parametrize(("entry", "message"), CORRUPT)
def test_a_breach_is_one_line_with_its_index(tmp_path, entry, message):
    found = validate(write(tmp_path, [GOOD, GOOD, entry, GOOD]), RELEASE)
    assert len(found) == 1 and "\n" not in found[0]
    assert found[0].startswith("entry 2: found ") and message in found[0]


@pytest.mark.parametrize("key", list(GOOD))
def test_a_missing_key(tmp_path, key):
    entry = {k: v for k, v in GOOD.items() if k != key}
    assert validate(write(tmp_path, [entry]), RELEASE) == [
        f"entry 0: found no {key}, expected image_id, category_id, segmentation and score"
    ]


def test_every_breach_is_listed(tmp_path):
    found = validate(write(tmp_path, [{**GOOD, "score": 2, "category_id": 0}, GOOD, {}]), RELEASE)
    assert [line.split(":")[0] for line in found] == ["entry 0"] * 2 + ["entry 2"] * 4


@pytest.mark.parametrize("root", [{"annotations": []}, "x", 3, None])
def test_the_root_is_a_list(tmp_path, root):
    (line,) = validate(write(tmp_path, root), RELEASE)
    assert line.endswith("expected a list of predictions")


@pytest.mark.parametrize(
    "text", ["", "[", '[{"image_id": }]', "[" * 100_000, "[" + "1" * 5000 + "]", b"\xff\xfe[]"], ids=range(6)
)
def test_what_is_no_json(tmp_path, text):
    file = tmp_path / "results.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"results\.json: found no readable JSON"):
        validate(file, RELEASE)


def test_a_missing_file_or_a_folder(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        validate(tmp_path / "none.json", RELEASE)
    with pytest.raises(DataError, match="no readable JSON"):
        validate(tmp_path, RELEASE)


def test_a_set_without_test_chips_is_checked_on_its_labelled_ones(tmp_path):
    labelled = FakeSet((FakeChip(7, "train", True), FakeChip(9, "train", False)))
    assert validate(write(tmp_path, [GOOD]), labelled) == []
    assert len(validate(write(tmp_path, [{**GOOD, "image_id": 9}]), labelled)) == 1


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_what_pycocotools_encodes_is_valid(mask):
    h, w = mask.shape
    assert rle_fault(encode(mask), h, w) == ""
    assert rle_fault(encode(mask), h, w + 1).startswith("RLE size")


@given(st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=12), st.integers(1, 2000))
def test_counts_that_pass_are_safe_to_decode(counts, height):
    rle = {"size": [height, 1], "counts": counts}
    if rle_fault(rle, height, 1) == "":
        assert decode(rle).sum() == coco_mask.area(rle) <= height


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*GOOD, "size", "counts"]), JSON)
def test_any_json_in_any_place_is_judged(key, value):
    entry = with_rle(**{key: value}) if key in ("size", "counts") else {**GOOD, key: value}
    for found, expected in breaches(entry, {7: (H, W)}):
        assert found and expected and "\n" not in found + expected
