"""What is refused before a training begins."""

import pytest

from helpers.chip_folders import edit_json, write_coco
from helpers.models import TINY_KNOBS
from rtslib.cli.main import main
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.data.splits import split_by_group
from rtslib.errors import TrainingError
from rtslib.training.beginning import prepared
from rtslib.training.runs import Recipe

RGB = {"modalities": {"rgb": ["red", "green", "blue"]}}


def recipe(root):
    chips = open_chips(root)
    return Recipe(Config.make(RGB), chips, split_by_group(chips, val=0, test=0.3))


def only(root, image):
    """Leave the annotations of one image, None: of none."""
    edit_json(root / "instances.json", lambda c: c.update(
        annotations=[a for a in c["annotations"] if a["image_id"] == image]))  # fmt: skip
    return root


def test_training_needs_a_slump(tmp_path):
    """nitze (chips 1 and 3) trains, yg (chip 2) tests."""
    assert prepared(recipe(only(write_coco(tmp_path / "a"), 3)))[1].keys() == {"train", "test"}
    for name, image in (("none", None), ("on the test side", 2)):
        with pytest.raises(TrainingError, match="none of 2 training chips has a slump"):
            prepared(recipe(only(write_coco(tmp_path / name), image)))


@pytest.mark.parametrize("fusion", ["single", "trees"])
def test_such_a_set_leaves_nothing_behind(tmp_path, capsys, fusion):
    root, out = only(write_coco(tmp_path / "data"), None), tmp_path / "run"
    knobs = [a for knob in [*TINY_KNOBS, *(["fusion=trees"] if fusion == "trees" else [])] for a in ("--set", knob)]
    assert main(["train", "--data", str(root), "--out", str(out), *knobs]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: ") and "has a slump" in said[-1] and not out.exists()


def test_other_classes_alone_are_no_slumps(tmp_path):
    root = write_coco(tmp_path)
    edit_json(root / "instances.json", lambda c: c["categories"].append({"id": 2, "name": "lake"}))
    edit_json(root / "instances.json", lambda c: [a.update(category_id=2) for a in c["annotations"]])
    chips = open_chips(root, "rts")
    with pytest.raises(TrainingError, match="has a slump"):
        prepared(Recipe(Config.make(RGB), chips, split_by_group(chips, val=0, test=0.3)))
