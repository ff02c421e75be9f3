"""Classes of a COCO file, crowds, and names of images, as tools write them."""

import shutil

import numpy as np
import pytest

from helpers.chip_folders import annotation, box_mask, edit_json, write_challenge, write_coco
from rtslib.data.masks import encode
from rtslib.data.opening import open_chips
from rtslib.errors import ConfigError, DataError


def classes(root, listed, ids=None):
    """List other categories, (id, name, supercategory) each, and give the annotations their ids in turn."""

    def change(content):
        content["categories"] = [{"id": i, "name": n, "supercategory": s} for i, n, s in listed]
        for k, entry in enumerate(content["annotations"]):
            entry["category_id"] = (ids or [listed[-1][0]])[k % len(ids or [0])]

    edit_json(root / "instances.json", change)
    return root


ONE = {
    "from 0": [(0, "rts", "")],
    "another name": [(1, "thaw slump", "none")],
    "capitals": [(7, "RTS", None)],
    "a parent at 0": [(0, "slumps", "none"), (1, "RTS", "slumps")],
    "a parent of the same name": [(0, "rts", "none"), (1, "rts", "rts")],
    "background": [(0, "_background_", ""), (1, "slump", "")],
    "to be ignored": [(0, "__ignore__", ""), (1, "Background", ""), (2, "slump", "")],
    "its own parent": [(3, "slump", "slump")],
}


@pytest.mark.parametrize("listed", ONE.values(), ids=ONE)
def test_one_class_is_the_class(tmp_path, listed):
    plain = open_chips(write_coco(tmp_path / "a"))
    chips = open_chips(classes(write_coco(tmp_path / "b"), listed))
    assert chips.instances == plain.instances and chips.category == ""
    number, name, _ = listed[-1]
    said = () if (number, name) == (1, "rts") else (f"Category {name!r} (id {number}) is taken as rts.",)
    assert chips.notes == said
    assert {a["category_id"] for a in chips.coco()["annotations"]} == {1}


def test_a_release_may_name_its_class_so_too(tmp_path):
    write_challenge(tmp_path)
    edit_json(
        tmp_path / "train/annotations/instances_train.json",
        lambda c: (c["categories"][0].update(name="RTS", id=0), [a.update(category_id=0) for a in c["annotations"]]),
    )
    assert sum(map(len, open_chips(tmp_path).instances.values())) == 3


SEVERAL = [(1, "rts", ""), (2, "Lake", "")]


def test_of_several_one_has_to_be_named(tmp_path):
    classes(write_coco(tmp_path), SEVERAL, [1, 2, 1])
    with pytest.raises(DataError, match=r"2: 'rts' \(2 annotations\), 'Lake' \(1 annotations\).*--category NAME"):
        open_chips(tmp_path)
    chips = open_chips(tmp_path, "rts")
    assert [len(v) for v in chips.instances.values()] == [1, 0, 1]
    assert chips.notes == ("1 annotations of Lake are left out.",)
    other = open_chips(tmp_path, "lake")
    assert [len(v) for v in other.instances.values()] == [0, 1, 0] and len(other.chips) == 3
    assert other.fingerprint() != chips.fingerprint()
    with pytest.raises(ConfigError, match=r"no category 'slump' in .*: there are Lake, rts"):
        open_chips(tmp_path, "slump")


def test_a_parent_that_has_annotations_is_a_class(tmp_path):
    classes(write_coco(tmp_path), [(0, "slumps", "none"), (1, "rts", "slumps")], [0, 1])
    with pytest.raises(DataError, match="--category"):
        open_chips(tmp_path)
    assert sum(map(len, open_chips(tmp_path, "rts").instances.values())) == 1


def test_a_class_goes_with_a_coco_file(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "instances.json").unlink()
    with pytest.raises(ConfigError, match="has no COCO file"):
        open_chips(tmp_path, "rts")


@pytest.mark.parametrize("odd", [["a"], {"a": 1}, 3])
def test_a_parent_that_is_no_text_is_none(tmp_path, odd):
    assert len(open_chips(classes(write_coco(tmp_path), [(0, "a", odd)])).chips) == 3


# --- crowds


def crowd(root, mask, **more):
    edit_json(root / "instances.json", lambda c: c["annotations"][0].update(segmentation=encode(mask), **more))


def test_a_mask_of_a_brush_is_one_slump(tmp_path):
    mask = box_mask(20, 30, 2, 3, 6, 5)
    mask[15, 20] = True  # a stray dot
    crowd(write_coco(tmp_path), mask, iscrowd=1)
    chips = open_chips(tmp_path)
    assert [i.area for i in chips.instances[1]] == [31]
    assert chips.notes == ("1 masks have iscrowd 1, as brush tools write it: each is taken as one slump.",)


def test_a_crowd_of_several_is_refused(tmp_path):
    crowd(write_coco(tmp_path), box_mask(20, 30, 2, 3, 4, 5) | box_mask(20, 30, 20, 3, 4, 5), iscrowd=1)
    with pytest.raises(DataError, match="annotation 1: found iscrowd 1 on 2 parts, expected one slump"):
        open_chips(tmp_path)


def test_several_parts_that_are_no_crowd_stay_one(tmp_path):
    crowd(write_coco(tmp_path), box_mask(20, 30, 2, 3, 4, 5) | box_mask(20, 30, 20, 3, 4, 5), iscrowd=0)
    assert [i.area for i in open_chips(tmp_path).instances[1]] == [40]


def test_an_empty_crowd_covers_nothing(tmp_path):
    crowd(write_coco(tmp_path), np.zeros((20, 30), bool), iscrowd=True)
    assert open_chips(tmp_path).dropped_instances == 1


# --- names of images


def named(root, name):
    """Put the first image into images/siteA and list it by `name`; the others into images/siteB."""
    for folder in ("siteA", "siteB"):
        (root / "images" / folder).mkdir()

    def change(content):
        for k, image in enumerate(content["images"]):
            folder = "siteB" if k else "siteA"
            shutil.move(root / "images" / image["file_name"], root / "images" / folder / f"{k}.png")
            image["file_name"] = f"siteB/{k}.png" if k else name

    edit_json(root / "instances.json", change)
    return root


@pytest.mark.parametrize("name", [
    "siteA/0.png", "./siteA/0.png", "images/siteA/0.png", r"siteA\0.png", r".\siteA\0.png", r"images\siteA\0.png",
    r"..\images\siteA\0.png", "../images/siteA/0.png", "data/images/siteA/0.png", 
    r"C:\Users\anna\chips\images\siteA\0.png",
    "C:/chips/siteA/0.png", r"\\server\share\siteA\0.png", "/data/ben/chips/images/siteA/0.png", "/siteA/0.png",
])  # fmt: skip
def test_names_as_tools_write_them(tmp_path, name):
    chips = open_chips(named(write_coco(tmp_path), name))
    assert (chips.chips[0].name, chips.chips[0].group) == ("siteA/0", "siteA")
    whole = name[0] in "/C" or name.startswith(r"\\")
    assert any("whole path" in n for n in chips.notes) == whole


def test_a_whole_path_in_a_flat_folder(tmp_path):
    write_coco(tmp_path)
    edit_json(tmp_path / "instances.json", lambda c: [
        i.update(file_name=f"D:\\x\\siteA\\{i['file_name']}") for i in c["images"]])  # fmt: skip
    assert [c.name for c in open_chips(tmp_path).chips][0] == "train_nitze_001"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", r"C:\siteA\..\..\instances.json", r"..\instances.json", "C:", "/", "//"]
)
def test_names_that_leave_stay_refused(tmp_path, name):
    with pytest.raises(DataError, match="inside images/|no file"):
        open_chips(named(write_coco(tmp_path), name))


def test_two_whole_paths_of_one_file_are_refused(tmp_path):
    write_coco(tmp_path)
    names = ("/a/train_yg_002.png", "/b/train_yg_002.png")
    edit_json(tmp_path / "instances.json", lambda c: [i.update(file_name=n) for i, n in zip(c["images"], names)])
    with pytest.raises(DataError, match="a second time"):
        open_chips(tmp_path)


def test_a_backslash_may_be_part_of_a_name(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "images" / "train_nitze_001.png").rename(tmp_path / "images" / "a\\b.png")
    edit_json(tmp_path / "instances.json", lambda c: c["images"][0].update(file_name="a\\b.png"))
    assert open_chips(tmp_path).chips[0].name == "a\\b"


def test_annotations_beyond_the_chip_are_counted(tmp_path):
    write_coco(tmp_path, chips=1)
    edit_json(tmp_path / "instances.json", lambda c: c.update(annotations=[annotation(1, 1, [[40, 3, 44, 3, 44, 8]])]))
    assert open_chips(tmp_path).notes == ("1 annotations cover no pixel and are left out.",)
