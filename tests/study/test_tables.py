"""The fusion study: in worker processes, killed and resumed; and its tables on hand-made answers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.chip_folders import box_mask
from helpers.models import small_config
from helpers.scored import truth_and_results
from rtslib.config import PROFILES
from rtslib.data.masks import encode
from rtslib.errors import ConfigError
from rtslib.evaluation.bootstrap import ap_draws, hits
from rtslib.evaluation.boundary import boundary, boundary_iou
from rtslib.figures import studies as studycharts
from rtslib.models.macs import pyramid_macs
from rtslib.study import grid, redraw, study
from rtslib.study import tables as fusionstudy
from rtslib.study.rows import Judged, _at_threshold, curve_rows, reliability_rows
from rtslib.synthetic.chips import write_challenge

GO = """
import sys
from rtslib.study import tables as fusionstudy
if __name__ == "__main__":
    fusionstudy.run_study("out", profile="smoke", names=["data", "residual_frozen", "decision"], seeds=[0], workers=2)
"""


def start(root: Path, log: Path) -> subprocess.Popen:
    """Start the study of a copy of the package, whose runs lie beside it."""
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        return subprocess.Popen([sys.executable, "go.py"], cwd=root, env=env, stdout=file, stderr=file)


def test_a_killed_study_goes_on_where_it_stopped(tmp_path):
    shutil.copytree(Path(study.__file__).parents[1], tmp_path / "rtslib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "go.py").write_text(GO)
    models = tmp_path / "runs" / "synthetic-smoke" / "models" / "split0-seed0"
    first, deadline = start(tmp_path, tmp_path / "first.log"), time.monotonic() + 300
    while not (models / "spectral" / "predictions_test.json").exists():
        assert time.monotonic() < deadline and first.poll() is None, (tmp_path / "first.log").read_text()
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(3)  # workers notice within a second
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(first.pid) not in [w.partition("parent_pid=")[2].split(",")[0] for w in listed.splitlines()]
    done = {p: p.stat().st_mtime_ns for p in models.glob("*/predictions_test.json")}
    weights = {p.parent / "model.pt": (p.parent / "model.pt").stat().st_mtime_ns for p in done}
    second = start(tmp_path, tmp_path / "second.log")
    assert second.wait(timeout=400) == 0, (tmp_path / "second.log").read_text()
    assert all(p.stat().st_mtime_ns == t for p, t in (done | weights).items()) and len(done) >= 1
    said = (tmp_path / "second.log").read_text()
    assert "9 of 9: decision, seed 0" in said and "it/s" not in said  # no bars of several trainings over each other
    check_tables(tmp_path / "out", models)


def check_tables(out: Path, models: Path) -> None:
    runs = pd.read_csv(out / "tables" / "runs.csv").set_index("model")
    assert list(runs.index) == [p for p in study.two_stage(("rgb", "spectral", "terrain")) if p in runs.index]
    assert {"rgb", "rgb_continued", "data", "residual_frozen", "decision"} <= set(runs.index) and len(runs) == 9
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
    assert set(gains["over"]) == {"data", "rgb_continued"} and len(gains) == 16
    assert {p.stem for p in redraw.draw_all(out)} == {  # no `compute`: of the ways to train there is one
        "scores", "forest", "sizes", "missing", "reliability", "precision_recall"
    }  # fmt: skip
    assert not list(models.glob("*.previous"))


def test_tasks_are_listed_and_wrong_ones_refused():
    listed = grid.tasks("", "smoke", "two_stage", ["rgb_continued"], [0, 1])
    assert [(t.name, t.seed) for t in listed] == [("rgb", 0), ("rgb_continued", 0), ("rgb", 1), ("rgb_continued", 1)]
    with pytest.raises(ConfigError, match="no seed"):
        grid.tasks("", "smoke", "two_stage", [], [])
    with pytest.raises(ConfigError, match="no run 'late'"):
        grid.tasks("", "smoke", "two_stage", ["late"], [0])
    with pytest.raises(ConfigError, match="workers=0"):
        grid.perform_all([], 0)
    with pytest.raises(ConfigError, match="kind 'both': choose one of two_stage, transfer"):
        fusionstudy.run_study("out", profile="smoke", kind="both")


def test_a_transfer_starts_from_runs_of_the_profile_that_its_own_names(tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "long", {**PROFILES["smoke"], "landscape": "smoke"})
    data = str(write_challenge(tmp_path / "chips", 12, 64, seed=1))
    listed = grid.tasks(data, "long", "transfer", ["rgb"], [0])
    assert [(t.name, t.profile, t.data) for t in listed] == [
        ("rgb", "smoke", ""), ("rgb_continued", "smoke", ""), ("rgb", "long", data),
    ]  # fmt: skip
    asked = []
    monkeypatch.setattr(study, "make", lambda *args: asked.append(args) or tmp_path)
    monkeypatch.setattr(grid, "_wanted", lambda *args: [])
    grid.perform(listed[-1], torch.get_num_threads())
    assert asked[0][-1] == listed[0].folder
    two_stage = grid.tasks(data, "long", "two_stage", ["rgb"], [0])[0]
    assert two_stage.folder != listed[-1].folder  # both have a run `rgb`, and neither may replace the other's
    assert study.landscape_of("overnight") == study.landscape_of("quick") == "quick"


def models_of(*found):
    """Hits of models on the same 12 chips of 6 groups; `found` says per model and seed which chips are found."""
    groups = {i: f"g{i % 6}" for i in range(1, 13)}
    out = {}
    for name, seeds in found:
        out[name] = [hits(*truth_and_results(f), groups) for f in seeds]
    return out


def test_gains_are_paired_and_signed():
    half, most = [True, False] * 6, [True] * 11 + [False]
    found = models_of(("data", [half, half]), ("better", [most, most]), ("same", [half, half]))
    draws = {name: ap_draws(h) for name, h in found.items()}
    gains = fusionstudy.gain_table(found, draws, ["data", "absent"]).set_index("model")
    assert list(gains.index) == ["better", "same"] and set(gains["over"]) == {"data"}
    assert gains.loc["better", "AP50_gain"] > 0.3 and gains.loc["better", "low"] >= 0
    assert gains.loc["same", ["AP50_gain", "low", "high", "share_ahead"]].tolist() == [0, 0, 0, 0]
    with pytest.raises(ConfigError, match="better has 1 seeds, data 2"):
        fusionstudy.gain_table({**found, "better": found["better"][:1]}, draws, ["data"])


def test_means_are_over_seeds():
    rows = {k: [1.0, 2.0] for k in fusionstudy.AVERAGED} | {"model": ["a", "a"], "AP50": [0.2, 0.4]}
    same = ("fusion", "modalities", "parameters", "trained_parameters", "epochs", "epochs_before", "image_passes",
            "macs", "chips", "instances")  # fmt: skip
    table = fusionstudy.model_table(
        pd.DataFrame(rows | {k: [7, 7] for k in same}), {"a": np.linspace(0, 1, 1001)}, {"a": np.linspace(0, 2, 1001)}
    )
    assert tuple(table.loc[0, ["AP25_low", "AP25_high"]]) == pytest.approx((0.05, 1.95))
    row = table.iloc[0]
    assert row["AP50"] == pytest.approx(0.3) and row["AP50_sd"] == pytest.approx(0.02**0.5) and row["seeds"] == 2
    assert (row["AP50_low"], row["AP50_high"]) == pytest.approx((0.025, 0.975)) and row["macs"] == 7


def judged(scores_right, scores_wrong, threshold, temperature=1.0):
    """Four chips with an instance each; right detections on the first chips, wrong ones on the last."""
    gt, right = truth_and_results([True] * len(scores_right) + [False] * (4 - len(scores_right)))
    wrong = encode(box_mask(20, 30, 20, 10, 5, 5))
    for result, score in zip(right, scores_right, strict=True):
        result["score"] = score
    results = right + [
        {"image_id": 4 - k, "category_id": 1, "segmentation": wrong, "score": s} for k, s in enumerate(scores_wrong)
    ]
    ids = range(1, 5)
    groups = {i: f"g{i}" for i in ids}
    return Judged("a", 0, (), gt, groups, results, dict.fromkeys(ids, threshold), dict.fromkeys(ids, temperature))


def test_a_map_is_judged_at_the_thresholds_of_validation():
    row = _at_threshold(judged([0.9, 0.6, 0.2], [0.7], 0.5))
    assert (row["precision"], row["recall"]) == (pytest.approx(2 / 3), 0.5) and row["F1"] == pytest.approx(4 / 7)
    assert row["boundary_iou"] == 1.0
    assert _at_threshold(judged([0.2], [], 0.5)) == {"precision": None, "recall": 0.0, "F1": 0.0, "boundary_iou": None}


def test_scores_before_scaling_are_recovered():
    bins = reliability_rows(judged([0.8], [], 0.5, temperature=2.0)).set_index("when")
    assert bins.loc["after", "score"] == pytest.approx(0.8)
    assert bins.loc["before", "score"] == pytest.approx(16 / 17)  # logit ln 4, doubled
    assert len(curve_rows(judged([0.8], [], 0.5))) == 101


def test_boundary_iou_sees_what_mask_iou_does_not():
    large, shrunk = box_mask(100, 100, 10, 10, 80, 80), box_mask(100, 100, 13, 13, 74, 74)
    assert (large & shrunk).sum() / (large | shrunk).sum() > 0.85
    assert boundary_iou(encode(large), encode(shrunk)) < 0.1 and boundary_iou(encode(large), encode(large)) == 1
    assert boundary(large).sum() == 80**2 - 74**2  # 2 % of the diagonal of 100 x 100 px: 3 px
    nothing = encode(np.zeros((100, 100), bool))
    assert boundary_iou(nothing, nothing) == 0.0


def test_macs_grow_with_area_and_with_branches():
    one, three = (pyramid_macs(small_config(names), 64) for names in (("rgb",), ("rgb", "spectral", "terrain")))
    assert 2 * one < three < 6 * one
    assert 3.5 < pyramid_macs(small_config(("rgb",)), 128) / one < 6  # global attention grows faster than area
    late = pyramid_macs(small_config(fusion="decision"), 64)
    assert late == pytest.approx(3 * one, rel=0.01)


def test_charts_of_a_study(tmp_path):
    gains = pd.DataFrame({"model": ["a", "b", "a"], "over": ["data", "data", "rgb"], "AP50_gain": [0.1, -0.2, 0.3],
                          "low": [0.05, -0.3, -0.1], "high": [0.2, -0.1, 0.5]})  # fmt: skip
    gains.to_csv(tmp_path / "gains.csv")
    left, right = studycharts.forest(tmp_path / "gains.csv").axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["a", "b"] and left.get_title() == "compared with data"
    assert list(left.lines[0].get_xdata()) == [0.05, 0.2] and right.lines[1].get_markerfacecolor() == "white"
    gains.assign(AP25_gain=-0.5, AP25_low=-0.6, AP25_high=-0.4).to_csv(tmp_path / "gains.csv")
    panels = studycharts.forest(tmp_path / "gains.csv").axes
    assert [a.get_xlabel()[14:18] for a in panels] == ["AP50", "AP50", "AP25", "AP25"]
    assert list(panels[2].lines[0].get_xdata()) == [-0.6, -0.4]
    scores = pd.DataFrame({"model": ["a"], "AP25": [0.04], "AP50": [0.02], "AP": [0.01], "AP25_high": [0.3]})
    for table, shown, end in ((scores, ["0.0400", "0.0200"], 0.33), (scores.assign(AP50=0.5), ["0.50", "0.01"], 1)):
        table.to_csv(tmp_path / "models.csv")
        axes = studycharts.scores(tmp_path / "models.csv").axes[0]
        assert [t.get_text() for t in axes.texts] == shown and axes.get_xlim()[1] == pytest.approx(end)
    missing = pd.DataFrame({"model": "a", "seed": [0, 1, 0], "hidden": ["nothing", "nothing", "terrain"],
                            "part": ["", "", "left"], "AP50": [0.4, 0.6, 0.1]})  # fmt: skip
    missing.to_csv(tmp_path / "missing.csv")
    axes = studycharts.missing(tmp_path / "missing.csv").axes[0]
    assert sorted(p.get_height() for p in axes.patches) == [0.1, 0.5]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["nothing hidden", "terrain, left half"]
    bins = pd.DataFrame({"model": "a", "seed": [0, 1], "when": "after", "low": 0.5, "high": 0.6, "count": [1, 3],
                         "score": [0.5, 0.58], "right": [0.0, 1.0]})  # fmt: skip
    bins.to_csv(tmp_path / "bins.csv")
    points = studycharts.calibration(tmp_path / "bins.csv").axes[0].lines[2]
    assert points.get_xydata().tolist() == [[pytest.approx(0.56), pytest.approx(0.75)]]  # pooled by count
    models = pd.DataFrame({"model": ["residual_frozen", "rgb", "residual_scratch"], "AP50": 0.5})
    for rows, shown in ((models, True), (models[1:], False)):
        rows.to_csv(tmp_path / "models.csv")
        assert studycharts.has_stages(tmp_path / "models.csv") == shown
    assert list(studycharts.stage_rows(models)["training"]) == ["(a) from scratch", "(b) pre-trained, backbones frozen"]


def test_steps_are_timed_once_for_models_that_cost_the_same(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from rtslib.files import write_json
    from rtslib.training import steptime

    def run(name, init=(), steps=10, data="a", **knobs):
        folder = tmp_path / name
        small_config(("rgb",), epochs=2, **knobs).save(folder / "config.json")
        write_json(
            folder / "run.json", {"init": {n: f"../{n}" for n in init}, "steps": steps, "data_fingerprint": data}
        )
        return folder

    asked = []

    def seconds(config, chipset, chips, frozen, repeats, threads):
        asked.append(frozen)
        return 1.0 if frozen else 3.0

    monkeypatch.setattr(steptime, "seconds_a_step", seconds)
    chips, known = SimpleNamespace(labelled=lambda: ()), {}
    first, other = run("first"), run("other", data="b")
    assert steptime.run_seconds(first, chips, known) == {"seconds_per_step": 3.0, "seconds": 30.0}
    frozen = run("frozen", ["first", "other"], freeze_epochs=2, seed=1)  # what ran on other data does not count
    assert steptime.run_seconds(frozen, chips, known) == {"seconds_per_step": 1.0, "seconds": 10 + 30}
    thawed = run("thawed", ["first"], freeze_epochs=1)
    assert steptime.run_seconds(thawed, chips, known) == {"seconds_per_step": 3.0, "seconds": 20 + 30}
    joined = run("joined", ["first", "thawed"], steps=0)
    assert steptime.run_seconds(joined, chips, known) == {"seconds_per_step": None, "seconds": 30 + 50}
    assert asked == [False, True] and steptime.run_seconds(other, chips, known)["seconds"] == 30


def test_parameters_that_are_no_numbers_are_named():
    assert fusionstudy.numbers("0, 1,2", "seeds") == [0, 1, 2] and fusionstudy.numbers(3, "seeds") == [3]
    assert fusionstudy.numbers("", "folds") == []
    with pytest.raises(ConfigError, match="seeds='first': write whole numbers, such as 0,1,2"):
        fusionstudy.numbers("first", "seeds")


def test_only_modalities_of_the_data_are_hidden(monkeypatch):
    from types import SimpleNamespace

    two = SimpleNamespace(modalities=lambda: {"rgb": (), "nir": ()})
    monkeypatch.setattr(grid, "opened", lambda *_: (two, None))
    task = grid.Task("data", "mine", "quick", "two_stage", 0)
    assert grid.hidden_cases(task) == [("nir", "all"), ("nir", "left")]
    assert grid.hidden_cases(grid.Task("sum", "mine", "quick", "two_stage", 0)) == []
