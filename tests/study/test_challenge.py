"""The challenge's recipe, on a tiny landscape with sites and on images without: one command, from chips to a file."""

import json

import pytest
from PIL import Image

import rtslib.config
from helpers.chip_folders import write_coco
from rtslib.cli.main import main
from rtslib.config import CHALLENGE, CHALLENGE_GPU
from rtslib.data.opening import open_chips
from rtslib.evaluation.submission import validate
from rtslib.study.challenge import RESULTS, RUN
from rtslib.synthetic.chips import write_challenge
from rtslib.training.runs import Run

TINY = {
    "backbone": "nano", "fpn_channels": 16, "head_channels": 16, "head_fc": 32, "head_convs": 0, "semantic": 1.0,
    "proposals": 20, "rpn_samples": 16, "roi_samples": 8, "batch_size": 4, "steps": 6, "val_fraction": 0.3,
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(rtslib.config, "CHALLENGE", TINY)


@pytest.mark.parametrize("recipe", [CHALLENGE, CHALLENGE_GPU])
def test_a_shipped_recipe_is_a_config_and_sees_as_many_crops(recipe):
    knobs = {k: v for k, v in recipe.items() if k != "steps"}
    config = rtslib.config.Config.make(knobs)
    assert config.pretrained and recipe["steps"] * config.batch_size == 24_000


def test_the_recipe_for_a_gpu_is_taken_when_asked_for(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(rtslib.config, "CHALLENGE_GPU", {**TINY, "head_convs": 1, "steps": 1})
    data = write_challenge(tmp_path / "data", 16, 64, seed=0, test_chips=3)
    command = ["challenge", "--data", str(data), "--new", str(data), "--out", str(tmp_path / "out"), "--gpu"]
    assert main(command) == 0 and Run(tmp_path / "out" / RUN).config.head_convs == 1


def test_from_chips_to_a_valid_file_and_nothing_trained_twice(tiny, tmp_path, capsys):
    data = write_challenge(tmp_path / "data", 16, 64, seed=0, test_chips=3)
    out = tmp_path / "out"
    command = ["challenge", "--data", str(data), "--new", str(data), "--out", str(out)]
    assert main(command) == 0 and "valid" in capsys.readouterr().out
    run = Run(out / RUN)
    assert run.finished and set(run.record["chips"]) == {"train", "val"} and run.config.epochs == 2
    assert validate(out / RESULTS, open_chips(data)) == []
    labelled = {c.id for c in open_chips(data).labelled()}
    assert not labelled & {r["image_id"] for r in json.loads((out / RESULTS).read_text())}
    when = run.weights.stat().st_mtime_ns
    assert main(command) == 0 and run.weights.stat().st_mtime_ns == when


def test_a_folder_of_images_alone_is_predicted(tiny, tmp_path, capsys):
    data, new = write_coco(tmp_path / "data"), tmp_path / "new"
    (new / "images").mkdir(parents=True)
    Image.new("RGB", (40, 32), (90, 80, 60)).save(new / "images" / "somewhere.png")
    assert main(["challenge", "--data", str(data), "--new", str(new), "--out", str(tmp_path / "out")]) == 0
    assert validate(tmp_path / "out" / RESULTS, open_chips(new)) == []
    assert main(["challenge", "--data", str(new), "--new", str(new), "--out", str(tmp_path / "other")]) == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_new_chips_without_a_band_are_refused_before_training(tiny, tmp_path, capsys):
    data, new = write_challenge(tmp_path / "data", 16, 64, seed=0), write_coco(tmp_path / "new")
    assert main(["challenge", "--data", str(data), "--new", str(new), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "out").exists()
