"""`train --profile`: ready-made knobs from the command line; `--version`, and the program's two names."""

import math
import sys

import numpy as np
import pytest
from affine import Affine

import rtslib
import rtslib.training.trainer as trainer
from helpers.regions import write
from rtslib.cli.main import main
from rtslib.config import PROFILES
from rtslib.training.runs import Run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("profile") / "data"
    assert main(["synth", str(out), "--chips", "12", "--size", "48"]) == 0
    return out


@pytest.fixture
def asked(monkeypatch):
    """What `train` would train: (config, split), instead of a training."""
    found = []
    monkeypatch.setattr(trainer, "train", lambda chips, out, config, **k: found.append((config, k["split"])))
    return found


def test_a_profile_is_one_training_from_start_to_end(data, asked, tmp_path):
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), "--profile", "quick"]) == 0
    ((config, split),) = asked
    wanted = PROFILES["quick"]["transfer"]
    assert {k: getattr(config, k) for k in wanted if k != "steps"} == {k: v for k, v in wanted.items() if k != "steps"}
    trained = int(12 * (1 - config.val_fraction - config.test_fraction))  # whole sites, so not to the chip
    steps = config.epochs * math.ceil(trained / config.batch_size)
    assert split is None and steps == pytest.approx(wanted["steps"], rel=0.5)
    assert list(config.modalities) == ["rgb", "spectral", "terrain"]


@pytest.mark.parametrize(("side", "scale", "crop"), [(5, 3.0, 64), (35, 2.0, 96), (60, 1.2, 160)])
def test_rasters_are_enlarged_as_their_slumps_need(asked, tmp_path, side, scale, crop):
    """Two groups of one chip with one slump of side x side px; what an option says stays."""
    for k in range(2):
        at = Affine(4, 0, 500_000 + 400 * k, 0, -4, 7_700_000)
        labels = np.zeros((64, 64), np.uint8)
        labels[4 : 4 + side, 4 : 4 + side] = 1
        for folder, bands in (("rgb", dict.fromkeys(("red", "green", "blue"), labels + 1)), ("mask", {"-": labels})):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            write(tmp_path / "set" / folder / f"{k}.tif", bands, at=at, dtype="uint8")
    (tmp_path / "set" / "chips.csv").write_text("chip,group\n0,a\n1,b\n")
    args = ["train", "--data", str(tmp_path / "set"), "--out", str(tmp_path / "run"), "--profile", "quick"]
    assert main(args) == 0 and main([*args, "--set", "scale=2.5", "--set", "crop=32"]) == 0
    assert [(config.scale, config.crop) for config, _ in asked] == [(scale, crop), (2.5, 32)]


def test_knobs_win_over_a_profile(data, asked, tmp_path):
    args = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--profile", "quick"]
    assert main([*args, "--set", "epochs=3", "--set", "fusion=data", "--set", 'modalities={"rgb":["red"]}']) == 0
    ((config, _),) = asked
    assert (config.epochs, config.fusion, config.modalities) == (3, "data", {"rgb": ["red"]})


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--profile", "quick", "--config", "knobs.json"], "give either --profile or --config"),
        (["--profile", "fast"], "quick"),
        (["--profile", "quick", "--set", "epochz=3"], "unknown key 'epochz'"),
    ],
)
def test_bad_profiles_are_refused(data, asked, tmp_path, capsys, more, part):
    capsys.readouterr()
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *more]) == 2
    assert part in capsys.readouterr().err and not asked and not (tmp_path / "run").exists()


def test_the_same_command_goes_on(data, tmp_path):
    args = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--profile", "smoke", "--set", "fusion=data"]
    assert main(args) == 0
    made = Run(tmp_path / "run").record
    assert made["finished"] and main(args) == 2 and main([*args, "--resume"]) == 0
    assert Run(tmp_path / "run").record == made


def test_version_and_names(capsys, monkeypatch):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rtslib {rtslib.__version__}\n"
    for typed, shown in (("/bin/rtslib", "rtslib"), ("rtslib/__main__.py", "python -m rtslib")):
        monkeypatch.setattr(sys, "argv", [typed])
        assert main(["train", "--nonsense"]) == 2
        assert f"(see {shown} train --help)" in capsys.readouterr().err
