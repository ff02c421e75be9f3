"""Many runs at once: in workers, killed and resumed."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from dask.distributed import LocalCluster

from helpers import failing
from rtslib import files
from rtslib.config import PROFILES
from rtslib.errors import ConfigError, DataError, TrainingError
from rtslib.study import grid, redraw
from rtslib.study.plan import two_stage
from rtslib.study.process import in_own_process
from rtslib.study.study import Study
from rtslib.study.tables import run_study
from rtslib.synthetic.chips import write_challenge
from rtslib.training.logs import read_log

GO = """
import sys
from rtslib.study.study import Study
from rtslib.study.tables import run_study
if __name__ == "__main__":
    run_study(Study(profile="smoke"), "out", names=sys.argv[1:], seeds=[0], workers=2)
"""


def copy_of_the_package(root: Path) -> Path:
    """Copy the package, whose runs lie beside it; return the folder of those of seed 0."""
    shutil.copytree(files.ROOT / "rtslib", root / "rtslib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "go.py").write_text(GO)
    return root / "runs" / "synthetic-smoke" / "models" / "split0-seed0"


def start(root: Path, log: Path, *names: str) -> subprocess.Popen:
    """Start a study of the copy."""
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        return subprocess.Popen([sys.executable, "go.py", *names], cwd=root, env=env, stdout=file, stderr=file)


def test_a_killed_study_goes_on_where_it_stopped(tmp_path):
    models, names = copy_of_the_package(tmp_path), ("data", "residual_frozen", "decision")
    first, deadline = start(tmp_path, tmp_path / "first.log", *names), time.monotonic() + 300
    while not (models / "spectral" / "predictions_test.json").exists():
        assert time.monotonic() < deadline and first.poll() is None, (tmp_path / "first.log").read_text()
        time.sleep(0.1)
    below = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert len(below) >= 4 and not alive  # workers and the processes of their runs end with the study
    done = {p: p.stat().st_mtime_ns for p in models.glob("*/predictions_test.json")}
    weights = {p.parent / "model.pt": (p.parent / "model.pt").stat().st_mtime_ns for p in done}
    second = start(tmp_path, tmp_path / "second.log", *names)
    assert second.wait(timeout=400) == 0, (tmp_path / "second.log").read_text()
    assert all(p.stat().st_mtime_ns == t for p, t in (done | weights).items()) and len(done) >= 1
    said = (tmp_path / "second.log").read_text()
    assert "10 of 10: decision, seed 0" in said and "it/s" not in said  # no bars of several trainings over each other
    check_tables(tmp_path / "out", models)


def check_tables(out: Path, models: Path) -> None:
    runs = pd.read_csv(out / "tables" / "runs.csv").set_index("model")
    assert list(runs.index) == [p for p in two_stage(("rgb", "spectral", "terrain")) if p in runs.index]
    assert {"rgb", "rgb_continued", "data", "residual_frozen", "decision"} <= set(runs.index) and len(runs) == 10
    assert runs.loc["residual_frozen", "trained_parameters"] < runs.loc["residual_frozen", "parameters"] / 2
    assert runs.loc["decision", "trained_parameters"] == 0 and np.isnan(runs.loc["decision", "seconds_per_step"])
    assert runs.loc["decision", "macs"] == runs.loc[["rgb", "spectral", "terrain"], "macs"].sum()
    assert (
        runs.loc["data", "image_passes"]
        == runs.loc["residual_frozen", "image_passes"]
        == runs.loc["decision", "image_passes"]
    )
    assert (runs["peak_memory_mib"] > 200).all() and runs["AP50"].between(0, 1).all()
    missing = pd.read_csv(out / "tables" / "missing.csv")
    assert set(missing["model"]) == {"data", "decision"} and set(missing["hidden"]) == {
        "nothing",
        "terrain",
        "spectral",
    }
    gains = pd.read_csv(out / "tables" / "gains.csv")
    assert set(gains["over"]) == {"data", "rgb_continued"} and len(gains) == 18
    assert {p.stem for p in redraw.draw_all(out)} == {  # no `compute`: of the ways to train there is one
        "scores", "forest", "sizes", "missing", "reliability", "precision_recall"
    }  # fmt: skip
    assert not list(models.glob("*.previous"))


def test_a_run_of_a_lost_worker_is_done_again_from_its_last_epoch(tmp_path):
    """kill -9 of a worker in the middle of a run: another one goes on with it, and nothing is trained twice."""
    run = copy_of_the_package(tmp_path) / "rgb"
    config = tmp_path / "rtslib" / "config.py"
    before = config.read_text()
    config.write_text(before.replace('"proposals": 20, "epochs": 1,', '"proposals": 20, "epochs": 12,'))
    assert config.read_text() != before
    study, deadline = start(tmp_path, tmp_path / "log", "rgb"), time.monotonic() + 300
    while len(read_log(run / "log.csv")) < 3:
        assert time.monotonic() < deadline and study.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    trains = [p for p in psutil.Process(study.pid).children(recursive=True) if "study.process" in " ".join(p.cmdline())]
    before = (run / "log.csv").read_text().splitlines()[:3]  # the last epoch may have no checkpoint yet
    os.kill(trains[0].ppid(), signal.SIGKILL)
    assert study.wait(timeout=400) == 0, (tmp_path / "log").read_text()
    rows = read_log(run / "log.csv")
    assert [int(r["epoch"]) for r in rows] == list(range(12))
    assert (run / "log.csv").read_text().splitlines()[:3] == before  # these epochs were not trained again
    assert "1 of 1: rgb, seed 0" in (tmp_path / "log").read_text()


def test_runs_are_listed_and_wrong_ones_refused():
    study = Study(profile="smoke")
    listed = grid.study_runs(study, ["rgb_continued"], [0, 1])
    assert [(r.name, r.seed) for r in listed] == [("rgb", 0), ("rgb_continued", 0), ("rgb", 1), ("rgb_continued", 1)]
    with pytest.raises(ConfigError, match="no seed"):
        grid.study_runs(study, [], [])
    with pytest.raises(ConfigError, match="no run 'late'"):
        grid.study_runs(study, ["late"], [0])
    with pytest.raises(ConfigError, match="workers=0"):
        grid.perform_all([replace(study, seed=77).run("rgb")], 0)
    with pytest.raises(ConfigError, match="kind 'both': choose one of two_stage, transfer"):
        run_study(Study(profile="smoke", kind="both"), "out")


def test_a_transfer_starts_from_runs_of_the_profile_that_its_own_names(tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "long", {**PROFILES["smoke"], "landscape": "smoke"})
    data = str(write_challenge(tmp_path / "chips", 12, 64, seed=1))
    study = Study(data, "long", kind="transfer")
    listed = grid.study_runs(study, ["rgb"], [0])
    assert [(r.name, r.study.profile, r.study.data) for r in listed] == [
        ("rgb", "smoke", ""), ("rgb_continued", "smoke", ""), ("rgb", "long", data),
    ]  # fmt: skip
    assert listed[-1].starts == {"all": listed[1]} and listed[1].made.folder.parent == listed[0].made.folder.parent
    two_stage = grid.study_runs(replace(study, kind="two_stage"), ["rgb"], [0])[0]
    assert two_stage.made != listed[-1].made  # both have a run `rgb`, and neither may replace the other's
    for profile in ("overnight", "quick"):
        assert Study(profile=profile).origin == Study(profile="quick")


def test_a_transfer_with_a_source_starts_from_that_sets_run(tmp_path):
    data, source = (str(write_challenge(tmp_path / name, 12, 64, seed=k)) for k, name in enumerate(("few", "many")))
    study = Study(data, "smoke", kind="transfer", source=source)
    listed = grid.study_runs(study, ["data", "trees"], [3], [0, 1])
    assert [(r.name, r.study.data, r.study.fold) for r in listed] == [
        ("rgb", "", None), ("rgb_continued", "", None), ("rgb", source, 0),  # without weights, the source has a start
        ("data", data, 0), ("trees", data, 0), ("data", data, 1), ("trees", data, 1),
    ]  # fmt: skip
    assert listed[3].starts == {"rgb": listed[2]} and listed[2].starts == {"all": listed[1]}
    assert listed[3].made.folder.parent.name == "split0-fold0-seed3-transfer-from-many"
    alone = grid.study_runs(replace(study, source=""), ["trees"], [3], [0])[0]
    assert alone.made != listed[4].made


def test_only_modalities_of_the_data_are_hidden():
    study = Study("mine", "smoke")
    study.__dict__["chipset"] = SimpleNamespace(modalities=lambda: {"rgb": (), "nir": ()}, layout="coco")
    assert study.run("data").hidden_cases == [("nir", "all"), ("nir", "left")]
    assert study.run("sum").hidden_cases == []


def test_errors_of_a_process_come_back(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(files.ROOT / "tests"))
    with pytest.raises(DataError, match="a.tif: found nothing, expected something"):
        in_own_process(pickle.dumps(failing.error), 1)
    with pytest.raises(TrainingError, match=r"the process of a run died \(exit -9\)"):
        in_own_process(pickle.dumps(failing.killed), 1)
    assert in_own_process(pickle.dumps(failing.fine), 1) == 7.0


@pytest.mark.parametrize("cards", [0, 1])
def test_runs_wait_for_their_starts_and_for_a_card(tmp_path, monkeypatch, cards):
    """Two threads of one worker take two runs at once, but one at a time where there is one GPU."""
    monkeypatch.setenv("PYTHONPATH", str(files.ROOT / "tests"))
    first = failing.FakeRun("first", str(tmp_path))
    listed = [first, *(failing.FakeRun(name, str(tmp_path), after=(first,)) for name in ("one", "two"))]
    knobs = {"n_workers": 1, "threads_per_worker": 2, "resources": {"GPU": cards} if cards else None}
    said: list[str] = []
    with LocalCluster(dashboard_address=":0", **knobs) as cluster:
        grid.perform_all(listed, scheduler=cluster.scheduler_address, say=said.append)
    began, ended = zip(*([float(t) for t in (tmp_path / r.label).read_text().split()] for r in listed))
    assert min(began[1:]) > ended[0]
    assert (max(began[1:]) > min(ended[1:])) == bool(cards)
    assert said[0].startswith("1 of 3: first, fake landscape") and said[-1].startswith("3 of 3: ")


def test_a_run_keeps_its_memory_whatever_dask_asks_of_workers(monkeypatch):
    """Handing it back after each use made a training step take half as long again."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    task = pickle.dumps(partial(os.getenv, "MALLOC_TRIM_THRESHOLD_", "none"))
    assert in_own_process(task, 1) == "none"
