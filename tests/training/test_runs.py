"""Runs that are found again: by data, knobs, split and code; and what is in the way is moved aside."""

from pathlib import Path

import pandas as pd
import pytest

from rtslib.config import Config
from rtslib.errors import OutputError
from rtslib.files import write_json
from rtslib.training import trainer as training
from rtslib.training.code import code_hash
from rtslib.training.runs import Recipe, Run


class FakeSet:
    """A chip set of which nothing but its fingerprint is known."""

    root = Path("fake")
    layout = "coco"

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def fingerprint(self) -> str:
        return self.mark


@pytest.fixture
def trained(monkeypatch):
    """Stand-in for training that honours the run folder's rules; returns the list of folders trained."""
    calls = []

    def train(recipe, run, resume, progress):
        if not recipe.claim(run, resume):
            calls.append(run.name)
            write_json(run.folder / "run.json", {**recipe.record(run), "finished": True, "code": training.code_hash()})
            run.weights.write_bytes(b"")
        return run

    monkeypatch.setattr(training, "train_recipe", train)
    return calls


def test_runs_are_recognised_by_data_config_split_and_code(tmp_path, trained, monkeypatch, capsys):
    table, run = pd.DataFrame({"chip": [1], "side": ["train"]}), Run(tmp_path / "runs" / "rgb")

    def again(data="a", epochs=1, split=table):
        recipe = Recipe(Config(epochs=epochs), FakeSet(data), split)
        before = training.is_obtained(recipe, run)
        assert training.obtain(recipe, run) == run and training.is_obtained(recipe, run)
        return before

    assert not again() and again()
    assert trained == ["rgb"]
    again(epochs=2)
    assert len(trained) == 2 and (tmp_path / "runs" / "rgb.previous" / "run.json").exists()
    again(epochs=2, data="b")
    again(epochs=2, data="b", split=table.assign(side="test"))
    assert len(trained) == 4
    monkeypatch.setattr(training, "code_hash", lambda: "another code")
    assert not again(epochs=2, data="b", split=table.assign(side="test"))
    assert len(trained) == 5
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert said[-1] == "rgb: code changed since it was trained; kept as rgb.previous, trained anew"
    assert sorted(p.name for p in run.folder.parent.iterdir()) == ["rgb", "rgb.previous"]


def test_knobs_that_change_no_result_are_not_in_the_key():
    table = pd.DataFrame({"chip": [1], "side": ["train"]})
    keys = {
        Recipe(Config(**knobs), FakeSet("a"), table).key
        for knobs in (
            {}, {"workers": 3}, {"temperature": 2.0}, {"score_shift": 1.0}, {"devices": 2, "num_nodes": 4},
            {"strategy": "ddp"},
        )
    }  # fmt: skip
    assert len({Config(**knobs).digest for knobs in ({}, {"workers": 3}, {"devices": 4}, {"strategy": "ddp"})}) == 1
    assert len(keys) == 1 and Recipe(Config(lr=1.0), FakeSet("a"), table).key not in keys


def test_code_hash_follows_imports_and_ignores_comments(tmp_path):
    folder = tmp_path / "rtslib" / "training"
    folder.mkdir(parents=True)
    for name, text in {
        "trainer": "from rtslib.training import model", "prediction": "", "join": "import rtslib.training.lazily",
        "model": "def f():\n    from rtslib.training.deep import x", "deep": "x = 1", "lazily": "z = 1",
        "charts": "y = 1",
    }.items():  # fmt: skip
        (folder / f"{name}.py").write_text(text)

    def now() -> str:
        return code_hash.__wrapped__(tmp_path)

    first = now()
    (folder / "charts.py").write_text("y = 2")  # training imports no charts
    (folder / "deep.py").write_text("x = 1  # a comment")
    assert now() == first
    (folder / "deep.py").write_text("x = 2")
    second = now()
    (folder / "lazily.py").write_text("z = 2")
    assert len({first, second, now()}) == 3
    assert code_hash.__wrapped__() == code_hash()  # of the package itself: some file of each floor is in it


def test_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb" / "thesis.txt").write_text("dear")
    table = pd.DataFrame({"chip": [1], "side": ["train"]})
    with pytest.raises(OutputError, match="is not empty and holds no run"):
        training.train(FakeSet("a"), tmp_path / "rgb", Config(), split=table, resume=True)
    with pytest.raises(OutputError, match="is not empty and holds no run"):
        training.obtain(Recipe(Config(), FakeSet("a"), table), Run(tmp_path / "rgb"))
    assert (tmp_path / "rgb" / "thesis.txt").read_text() == "dear"
