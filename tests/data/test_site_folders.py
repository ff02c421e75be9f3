"""Site groups by folders: which folder is the site, and where none is guessed."""

from pathlib import Path

import pytest
from PIL import Image

from helpers.chip_folders import edit_json, write_challenge, write_coco
from rtslib.data.layouts.sites import site_groups
from rtslib.data.opening import open_chips
from rtslib.data.splits import split_by_group
from rtslib.errors import DataError

WAYS = {
    "a folder a site": (["a/1", "a/2", "b/1"], ["a", "a", "b"]),
    "sites in one folder": (["all/a/1", "all/a/2", "all/b/1"], ["a", "a", "b"]),
    "sides": (["train/a/1", "val/a/1", "Test/b/1"], ["a", "a", "b"]),
    "sides in one folder": (["x/train/a/1", "x/valid/b/1"], ["a", "b"]),
    "dates": (["2019/a/1", "2020-07-01/a/1", "20200701/b/1"], ["a", "a", "b"]),
    "dates in sites": (["a/2019/1", "a/2020/1", "b/2019/1"], ["a", "a", "b"]),
    "one site": (["a/1", "a/2"], ["a", "a"]),
    "a site of several depths": (["a/1", "a/x/1", "b/1"], ["a", "a", "b"]),
}
NONE = {"side alone": ["train/p_1", "val/p_2"], "dates alone": ["2019/p_1", "2020/p_2"], "no folder": ["p_1", "p_2"]}


@pytest.mark.parametrize(("names", "groups"), WAYS.values(), ids=WAYS)
def test_folders_are_sites(names, groups):
    found, known, notes = site_groups(Path("images"), names)
    assert (found, known) == (groups, True) and f"the {len(set(groups))} folders of images/" in notes[0]


@pytest.mark.parametrize("names", NONE.values(), ids=NONE)
def test_nothing_is_guessed(names):
    found, known, notes = site_groups(Path("images"), names)
    assert (found, known) == (["p_1", "p_2"], False) and "Nothing says which chips are of one site" in notes[0]


def test_sources_stay_groups_without_a_note():
    assert site_groups(Path("x"), ["train_yg_1", "train_yg_2"]) == (["yg", "yg"], False, [])


def test_some_in_folders_and_some_not_are_refused():
    with pytest.raises(DataError, match="1 of 3 images in no site's folder, such as c"):
        site_groups(Path("images"), ["a/1", "b/1", "c"])


def in_folders(root):
    """Six images 1.png, 2.png in each of three folders, written over a folder of layout (b)."""
    write_coco(root, chips=6)

    def change(content):
        for k, image in enumerate(content["images"]):
            old, name = root / "images" / image["file_name"], f"site{'ABC'[k // 2]}/{k % 2 + 1}.png"
            (root / "images" / name).parent.mkdir(exist_ok=True)
            old.rename(root / "images" / name)
            image["file_name"] = name

    edit_json(root / "instances.json", change)
    return root


def test_a_site_lies_on_one_side(tmp_path):
    chips = open_chips(in_folders(tmp_path))
    assert chips.has_groups and [c.group for c in chips.chips] == ["siteA"] * 2 + ["siteB"] * 2 + ["siteC"] * 2
    assert [c.name for c in chips.chips][:3] == ["siteA/1", "siteA/2", "siteB/1"]
    split = split_by_group(chips)
    assert set(split["side"]) == {"train", "val", "test"} and (split.groupby("group")["side"].nunique() == 1).all()


def test_names_of_folders_go_round(tmp_path):
    """Equal file names in two folders stay two images in what is written."""
    chips = open_chips(in_folders(tmp_path))
    again = chips.coco()
    assert [i["file_name"] for i in again["images"]][:3] == ["siteA/1.png", "siteA/2.png", "siteB/1.png"]
    edit_json(tmp_path / "instances.json", lambda c: c.update(again))
    assert open_chips(tmp_path).instances == chips.instances


def test_images_not_listed_are_found_in_folders(tmp_path):
    Image.new("RGB", (5, 5)).save(in_folders(tmp_path) / "images" / "siteA" / "9.png")
    assert "1 images in images/ are not in instances.json and are left out." in open_chips(tmp_path).notes


def test_folders_without_labels_are_predicted(tmp_path):
    (in_folders(tmp_path) / "instances.json").unlink()
    assert [c.name for c in open_chips(tmp_path).chips][:2] == ["siteA/1", "siteA/2"]


def test_a_release_in_folders(tmp_path):
    write_challenge(tmp_path, train=2, groups=False)
    folder = tmp_path / "train" / "images"
    for name, site in (("train_yg_000.npz", "a"), ("train_nitze_001.npz", "b")):
        (folder / site).mkdir()
        (folder / name).rename(folder / site / name)
        for listing in ("metadata/train_manifest.csv", "train/annotations/instances_train.json"):
            text = (tmp_path / listing).read_text()
            (tmp_path / listing).write_text(text.replace(name, f"{site}/{name}"))
    chips = open_chips(tmp_path)
    assert [c.group for c in chips.labelled()] == ["a", "b"]
