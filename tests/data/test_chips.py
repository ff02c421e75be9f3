"""Chip sets: the layouts open to what was written, real data to known numbers."""

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from helpers.chip_folders import VALUES, annotation, box_mask, edit_json, pixels, write_challenge, write_coco
from rtslib.bands import CHALLENGE_BANDS
from rtslib.data.annotations import check_rle
from rtslib.data.chips import source_of
from rtslib.data.masks import decode, encode
from rtslib.data.opening import open_chips
from rtslib.errors import DataError

REAL = Path(__file__).parents[3] / "shared" / "data" / "maxar_rgb"


def test_challenge_chips_are_what_the_manifests_say(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    assert (chips.layout, chips.bands, chips.has_groups) == ("challenge", CHALLENGE_BANDS, True)
    assert [c.id for c in chips.chips] == [1, 2, 3, 100, 101]
    assert [c.part for c in chips.chips] == ["train"] * 3 + ["test"] * 2
    assert [c.labelled for c in chips.chips] == [True] * 3 + [False] * 2
    assert [c.group for c in chips.labelled()] == ["site0", "site0", "site1"]
    assert chips.chips[1].name == "train_nitze_001"
    assert chips.chips[1].files == (tmp_path / "train" / "images" / "train_nitze_001.npz",)
    assert {(c.height, c.width) for c in chips.chips} == {(20, 30)}
    assert (chips.notes, chips.dropped_instances, chips.id_offset) == ((), 0, 0)
    assert list(chips.modalities()) == ["rgb", "spectral", "terrain"]


def test_challenge_pixels_come_back_per_band(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    image = chips.read(chips.chips[0])
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((8, 20, 30), np.float32, True)
    for values, expected in zip(image, VALUES, strict=True):
        assert (values == np.float32(expected)).all()


def test_rows_and_columns_keep_their_places(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    array = pixels(20, 30)
    array[3, 17, 6] = 1234
    np.savez(chips.chips[0].files[0], image=array)
    image = chips.read(chips.chips[0])
    assert image[6, 3, 17] == 1234
    assert (image[6] == 2000).sum() == 20 * 30 - 1


@pytest.mark.parametrize("dtype", ["int16", "int32", "float16", "float32", "float64", ">f4"])
def test_any_real_type_is_read_as_float32(tmp_path, dtype):
    chips = open_chips(write_challenge(tmp_path))
    array = pixels(20, 30, dtype)
    np.savez(chips.chips[0].files[0], image=array)
    image = chips.read(chips.chips[0])
    assert image.dtype == np.float32
    assert np.array_equal(image, array.transpose(2, 0, 1).astype(np.float32))


def test_nan_is_nodata_where_a_band_may_be_undefined(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    array = pixels(20, 30)
    array[:2, :, [3, 4, 5, 6, 7]] = np.nan
    np.savez(chips.chips[0].files[0], image=array)
    assert np.isnan(chips.read(chips.chips[0])).sum() == 5 * 2 * 30


def test_instances_are_measured_on_the_mask_not_read_from_the_file(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    assert {i: len(v) for i, v in chips.instances.items()} == {1: 0, 2: 1, 3: 2}
    second = chips.instances[3][1]
    assert (second.area, second.bbox) == (20, (6, 2, 4, 5))
    assert np.array_equal(decode(second.rle), box_mask(20, 30, 6, 2, 4, 5))


def test_file_names_may_be_given_from_the_root(tmp_path):
    write_challenge(tmp_path)
    for name in ("metadata/train_manifest.csv", "train/annotations/instances_train.json"):
        path = tmp_path / name
        path.write_text(path.read_text().replace("train_yg_000", "train/images/train_yg_000"))
    assert open_chips(tmp_path).chips[0].name == "train_yg_000"


@pytest.mark.parametrize(
    "form", [list, lambda b: {"bands": list(b)}, lambda b: {"band_names": list(b)}, lambda b: dict(enumerate(b))]
)
def test_band_names_in_each_form(tmp_path, form):
    write_challenge(tmp_path)
    (tmp_path / "metadata" / "band_names.json").write_text(json.dumps(form(CHALLENGE_BANDS)))
    assert open_chips(tmp_path).bands == CHALLENGE_BANDS


def test_without_a_group_column_the_source_is_the_group(tmp_path):
    chips = open_chips(write_challenge(tmp_path, groups=False))
    assert not chips.has_groups
    assert [c.group for c in chips.chips] == ["yg", "nitze", "yg", "yg", "nitze"]


def test_source_of_a_name():
    assert source_of("train_nitze_042") == "nitze"
    assert source_of("valtest_yg_007") == "yg"
    assert source_of("chip_12") == "chip_12"
    assert source_of("20160821T181425_w_188") == "20160821T181425_w_188"


def test_training_ids_give_way_to_equal_test_ids(tmp_path):
    chips = open_chips(write_challenge(tmp_path, test_from=2))
    assert chips.id_offset == 10
    assert [c.id for c in chips.chips if c.part == "test"] == [2, 3]
    assert [c.id for c in chips.chips if c.part == "train"] == [11, 12, 13]
    assert {i: len(v) for i, v in chips.instances.items()} == {11: 0, 12: 1, 13: 2}
    assert chips.notes == ("2 image ids are in both manifests: training chips have their id + 10 here.",)


def test_a_release_without_its_test_part_opens_and_says_so(tmp_path):
    write_challenge(tmp_path, test=0)
    (tmp_path / "metadata" / "test_manifest.csv").unlink()
    (tmp_path / "test" / "images").rmdir()
    (tmp_path / "test").rmdir()
    chips = open_chips(tmp_path)
    assert len(chips.chips) == 3
    assert chips.notes == ("The folder has no test part.",)


def test_an_empty_test_manifest_means_no_test_chips(tmp_path):
    chips = open_chips(write_challenge(tmp_path, test=0))
    assert (len(chips.chips), chips.notes) == (3, ())


def test_coco_folder(tmp_path):
    chips = open_chips(write_coco(tmp_path))
    assert (chips.layout, chips.bands, chips.has_groups) == ("coco", ("red", "green", "blue"), False)
    assert [c.group for c in chips.chips] == ["nitze", "yg", "nitze"]
    assert all(c.labelled and c.part == "train" for c in chips.chips)
    image = chips.read(chips.chips[1])
    assert (image.shape, image.dtype) == ((3, 20, 30), np.float32)
    assert [np.unique(b).tolist() for b in image] == [[20], [20], [30]]
    instance = chips.instances[2][0]
    assert (instance.area, instance.bbox) == (20, (2, 3, 4, 5))
    assert chips.modalities() == {"rgb": ("red", "green", "blue")}


def test_images_alone_are_chips_to_predict_on(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "instances.json").unlink()
    chips = open_chips(tmp_path)
    assert (chips.layout, chips.bands, len(chips.chips)) == ("plain", ("red", "green", "blue"), 3)
    assert [c.id for c in chips.chips] == [1, 2, 3] and [c.name for c in chips.chips] == sorted(
        c.name for c in chips.chips
    )
    assert not any(c.labelled for c in chips.chips) and {c.part for c in chips.chips} == {"test"}
    assert chips.read(chips.chips[0]).dtype == np.float32 and "no instances.json" in chips.notes[0]
    twin = next((tmp_path / "images").iterdir())
    Image.new("RGB", (4, 4)).save(twin.with_suffix(".png" if twin.suffix != ".png" else ".jpg"))
    with pytest.raises(DataError, match="each name once"):
        open_chips(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no image"):
        open_chips(tmp_path)


def test_polygons_rle_and_uncompressed_rle_give_the_same_mask(tmp_path):
    write_coco(tmp_path)
    mask = box_mask(20, 30, 2, 3, 4, 5)
    columns = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(columns)) + 1
    runs = np.diff([0, *edges, columns.size]).tolist()

    def change(content):
        content["annotations"][0]["segmentation"] = encode(mask)
        content["annotations"][1]["segmentation"] = {"size": [20, 30], "counts": runs}

    edit_json(tmp_path / "instances.json", change)
    chips = open_chips(tmp_path)
    assert [chips.instances[i][0].rle for i in (1, 2, 3)] == [encode(mask)] * 3


def test_several_polygons_of_one_annotation_are_one_instance(tmp_path):
    write_coco(tmp_path, chips=1)
    rings = [[2, 3, 6, 3, 6, 8, 2, 8], [4, 3, 9, 3, 9, 8, 4, 8], [20, 0, 22, 0, 22, 2, 20, 2]]
    edit_json(tmp_path / "instances.json", lambda c: c["annotations"][0].update(segmentation=rings))
    (instance,) = open_chips(tmp_path).instances[1]
    expected = box_mask(20, 30, 2, 3, 7, 5) | box_mask(20, 30, 20, 0, 2, 2)
    assert np.array_equal(decode(instance.rle), expected)
    assert instance.area == 39


def test_instances_without_a_pixel_are_dropped_and_counted(tmp_path):
    write_coco(tmp_path)
    outside = [[40, 3, 44, 3, 44, 8]]
    edit_json(tmp_path / "instances.json", lambda c: c["annotations"].append(annotation(9, 2, outside)))
    chips = open_chips(tmp_path)
    assert (chips.dropped_instances, len(chips.instances[2])) == (1, 1)
    assert chips.notes == ("1 annotations cover no pixel and are left out.",)

    root = write_challenge(tmp_path / "a")
    empty = annotation(9, 1, encode(np.zeros((20, 30), dtype=bool)))
    edit_json(root / "train/annotations/instances_train.json", lambda c: c["annotations"].append(empty))
    assert (open_chips(root).dropped_instances, open_chips(root).instances[1]) == (1, ())


def test_images_that_are_not_listed_are_counted_in_notes(tmp_path):
    write_coco(tmp_path)
    Image.new("RGB", (5, 5)).save(tmp_path / "images" / "stray.jpg")
    assert open_chips(tmp_path).notes == ("1 images in images/ are not in instances.json and are left out.",)
    root = write_challenge(tmp_path / "a")
    np.savez(root / "test" / "images" / "stray.npz", image=pixels(2, 2))
    assert open_chips(root).notes == ("1 npz files in test/images are not in the manifest and are left out.",)


def test_coco_ground_truth_loads_in_pycocotools(tmp_path, capsys):
    chips = open_chips(write_challenge(tmp_path))
    truth = json.loads(json.dumps(chips.coco()))
    assert truth["categories"] == [{"id": 1, "name": "rts", "supercategory": "landform"}]
    assert [i["id"] for i in truth["images"]] == [1, 2, 3]
    assert [(a["id"], a["image_id"], a["area"], a["iscrowd"]) for a in truth["annotations"]] == [
        (1, 2, 20, 0), (2, 3, 20, 0), (3, 3, 20, 0)]  # fmt: skip
    index = COCO()
    index.dataset = truth
    index.createIndex()
    assert np.array_equal(index.annToMask(truth["annotations"][2]), box_mask(20, 30, 6, 2, 4, 5))
    some = chips.coco([chips.chips[2]])
    assert ([i["id"] for i in some["images"]], [a["id"] for a in some["annotations"]]) == ([3], [1, 2])
    with pytest.raises(DataError, match="without labels"):
        chips.coco([chips.chips[4]])


def test_coco_ground_truth_opens_again_as_the_same_instances(tmp_path):
    chips = open_chips(write_coco(tmp_path))
    (tmp_path / "instances.json").write_text(json.dumps(chips.coco()))
    assert open_chips(tmp_path).instances == chips.instances


def test_fingerprint_follows_names_sizes_and_annotations(tmp_path):
    root = write_challenge(tmp_path / "a")
    first = open_chips(root).fingerprint()
    assert len(first) == 64 and first == open_chips(write_challenge(tmp_path / "b")).fingerprint()
    larger = root / "train" / "images" / "train_yg_000.npz"
    np.savez(larger, image=pixels(20, 30))  # not compressed
    second = open_chips(root).fingerprint()
    manifest = root / "metadata" / "train_manifest.csv"
    manifest.write_text(manifest.read_text().replace("site0", "site7"))
    assert len({first, second, open_chips(root).fingerprint()}) == 3


def test_a_chip_set_can_be_sent_to_another_process(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    again = pickle.loads(pickle.dumps(chips))
    assert again.chips == chips.chips and again.instances == chips.instances
    assert np.array_equal(again.read(again.chips[0]), chips.read(chips.chips[0]))


def test_rle_strings_decode_as_in_pycocotools():
    rng = np.random.default_rng(0)
    for p in (0.001, 0.1, 0.5, 0.999):
        rle = encode(rng.random((57, 91)) < p)
        assert check_rle("x", rle, 57, 91) == rle
    for mask in (np.zeros((5, 4), bool), np.ones((5, 4), bool), np.ones((3000, 1100), bool)):
        assert check_rle("x", encode(mask), *mask.shape) == encode(mask)


def test_many_chips_open_quickly(tmp_path):
    root = write_challenge(tmp_path, train=200, test=0, size=(16, 16 * 80))
    start = time.process_time()
    open_chips(root)
    assert time.process_time() - start < 5


@pytest.mark.skipif(not REAL.is_dir(), reason="the real chips (shared/data) are not beside this checkout")
def test_real_maxar_chips():
    start = time.process_time()
    chips = open_chips(REAL)
    assert time.process_time() - start < 5
    assert (chips.layout, len(chips.chips), chips.dropped_instances, chips.notes) == ("coco", 756, 0, ())
    areas = sorted(i.area for found in chips.instances.values() for i in found)
    assert (len(areas), areas[0], areas[len(areas) // 2]) == (1783, 1, 680)
    assert all(chips.instances.values())
    groups = [c.group for c in chips.chips]
    assert {g: groups.count(g) for g in set(groups)} == {"nitze": 398, "yg": 358}
    for chip in chips.chips[::150]:
        image = chips.read(chip)
        assert image.shape == (3, chip.height, chip.width)
        assert 0 <= image.min() < image.max() <= 255
