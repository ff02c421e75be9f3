"""Joined runs: a network and trees of one split, used like any other run."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from rtslib.cli.main import app
from rtslib.config import PROFILES, Config
from rtslib.data.opening import open_chips
from rtslib.data.splits import load_split, save_split, split_by_group
from rtslib.errors import ConfigError, DataError, OutputError
from rtslib.synthetic.chips import write_challenge
from rtslib.training.ensembling import assemble, ensemble_recipe
from rtslib.training.prediction import predict
from rtslib.training.runs import Run
from rtslib.training.trainer import obtain, train
from rtslib.training.weights import load_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Chips, and two runs of one split on them: a network and trees."""
    folder = tmp_path_factory.mktemp("joined")
    chipset = open_chips(write_challenge(folder / "chips", 24, 64, seed=3))
    modalities = {m: list(b) for m, b in chipset.modalities().items()}
    config = Config.make({**PROFILES["smoke"]["finetune"], "modalities": modalities, "tree_rounds": 20})
    split = split_by_group(chipset, 0.25, 0.25, 0)
    save_split(split, folder / "split.csv")
    for name in ("data", "trees"):
        train(chipset, folder / name, config.updated(fusion=name), split=split, progress=False)
    return folder, chipset, split


def starts(folder):
    return {name: Run(folder / name) for name in ("data", "trees")}


def test_a_joined_run_is_a_run(made, tmp_path):
    folder, chipset, split = made
    run = obtain(ensemble_recipe(starts(folder), chipset, split), Run(tmp_path / "both"), False)
    assert run.finished and run.record["steps"] == 0 and run.record["trained_parameters"] == 0
    assert run.record["parameters"] == sum(r.record["parameters"] for r in starts(folder).values())
    assert run.config.fusion == "ensemble" and [m["fusion"] for m in run.config.members] == ["data", "trees"]
    assert [m["temperature"] for m in run.config.members] == [1.0, 1.0]  # scores as the models gave them
    assert run.predictions("val").exists() and run.ledger.exists()
    chips = [c for c in chipset.chips if c.id in set(split.loc[split["side"] == "test", "chip"])]
    results = predict(load_model(run), chipset, chips)
    trees = predict(load_model(Run(folder / "trees")), chipset, chips)
    assert len(results) >= len(trees) > 0
    before = run.weights.stat().st_mtime_ns
    assert obtain(ensemble_recipe(starts(folder), chipset, split), run, False).weights.stat().st_mtime_ns == before
    with pytest.raises(OutputError):
        assemble(ensemble_recipe(starts(folder), chipset, split), run, resume=False)


def test_runs_that_do_not_go_together_are_refused(made, tmp_path):
    folder, chipset, split = made
    runs = starts(folder)
    with pytest.raises(ConfigError, match="two or more"):
        ensemble_recipe({"data": runs["data"]}, chipset, split)
    other = split.assign(side=split["side"].map({"train": "test", "test": "train", "val": "val"}))
    with pytest.raises(ConfigError, match=r"data was trained on \d+ chips that validate or test here"):
        ensemble_recipe(runs, chipset, other)
    odd = Run(tmp_path / "odd")
    runs["trees"].config.updated(tta=True).save(odd.folder / "config.json")
    with pytest.raises(ConfigError, match="differ in tta"):
        ensemble_recipe({"data": runs["data"], "odd": odd}, chipset, split)
    bare = Run(tmp_path / "bare")  # a run's folder from which the split was lost
    runs["trees"].config.save(bare.folder / "config.json")
    with pytest.raises(DataError, match="split.csv"):
        ensemble_recipe({"data": runs["data"], "bare": bare}, chipset, split)
    few = Run(tmp_path / "few")
    runs["trees"].config.updated(modalities={"rgb": ["red", "blue", "green"]}).save(few.folder / "config.json")
    with pytest.raises(ConfigError, match="few reads other bands as rgb"):
        ensemble_recipe({"data": runs["data"], "few": few}, chipset, split)


def test_the_command(made, tmp_path):
    folder, chipset, _ = made
    given = ["join", str(folder / "data"), str(folder / "trees"), "--data", str(folder / "chips")]
    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "both")])
    assert done.exit_code == 0 and "2 runs joined" in done.output
    split = load_split(tmp_path / "both" / "split.csv", chipset)
    pd.testing.assert_frame_equal(split, load_split(folder / "split.csv", chipset))
    again = CliRunner().invoke(app, ["join", str(folder / "data"), "--data", str(folder / "chips"), "--out", "x"])
    assert again.exit_code != 0
