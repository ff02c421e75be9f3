"""`train --profile`: ready-made knobs from the command line; `--version`, and the program's two names."""

import math
import sys

import pytest

import rtslib
import rtslib.training.trainer as trainer
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
