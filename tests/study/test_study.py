"""A study: its chips and split, its runs found again, and their scores."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import rtslib.config
from rtslib import files
from rtslib.config import Config
from rtslib.errors import ConfigError, DataError
from rtslib.evaluation.bootstrap import Drawn
from rtslib.study import scores
from rtslib.study.redraw import draw_all
from rtslib.study.study import Study
from rtslib.study.tables import write_tables

TINY = {
    "backbone": "nano", "fpn_channels": 16, "head_channels": 16, "head_fc": 32, "head_convs": 0,
    "proposals": 20, "rpn_samples": 16, "roi_samples": 8, "batch_size": 6, "epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study of a tiny landscape of 18 chips at three sites or more."""
    patch = pytest.MonkeyPatch()
    profile = {"chips": 18, "size": 64, "pretrain": TINY, "finetune": TINY}
    patch.setattr(rtslib.config, "PROFILES", {"mini": profile}, raising=False)
    patch.setattr(files, "ROOT", tmp_path_factory.mktemp("study"))
    yield Study(profile="mini", seed=1)
    patch.undo()


def test_the_landscape_is_made_once_and_described(study, tmp_path):
    chips, split = study.chipset, study.split
    assert chips.layout == "challenge" and len(chips.chips) == 18 and set(split["side"]) >= {"train", "test"}
    made = list((files.ROOT / "scratch" / "synthetic").iterdir())
    assert len(made) == 1 and made[0].name.startswith("18-chips-64px-seed1-")
    before = made[0].stat().st_mtime_ns
    again = Study(profile="mini", seed=1)
    assert made[0].stat().st_mtime_ns == before and again.chipset.fingerprint() == chips.fingerprint()
    pd.testing.assert_frame_equal(again.split, split)
    study.describe(tmp_path)
    sides = pd.read_csv(tmp_path / "tables" / "sides.csv")
    assert sides["chips"].sum() == 18 and list(sides["side"]) == ["train", "val", "test"]
    assert sides["instances"].sum() == sum(map(len, chips.instances.values()))
    assert json.loads((tmp_path / "tables" / "data.json").read_text())["fingerprint"] == chips.fingerprint()
    with pytest.raises(DataError, match="no chip on the other side"):
        study.chips("other")


def test_unknown_profile_and_run_are_refused(study):
    with pytest.raises(ConfigError, match="no profile 'fast': choose one of mini"):
        _ = Study(profile="fast").chipset
    with pytest.raises(ConfigError, match="no run 'fused': choose one of rgb, spectral, terrain, rgb_continued"):
        study.run("fused")


def test_two_stages_end_to_end_and_are_not_repeated(study, monkeypatch):
    fused = study.run("residual_cross_attention").make(progress=False)
    models = files.ROOT / "runs" / "synthetic-mini" / "models" / "split1-seed1"
    assert fused.made.folder == models / "residual_cross_attention"
    alone = [study.run(m) for m in ("rgb", "spectral", "terrain")]  # made on the way
    row = scores.score(fused)
    assert row["model"] == "residual_cross_attention" and row["modalities"] == "rgb+spectral+terrain"
    assert row["fusion"] == "residual_cross_attention"
    assert row["chips"] == (study.split["side"] == "test").sum() and 0 <= row["AP50"] <= 1
    costs = [r.made.cost() for r in (*alone, fused)]
    assert row["epochs"] == 1 and row["epochs_before"] == 1
    train = int((study.split["side"] == "train").sum())
    assert [c["image_passes"] for c in costs] == [train, train, train, 6 * train]
    assert row["seconds"] > fused.made.record["steps"] * row["seconds_per_step"] > 0  # pre-training comes on top
    assert costs[3]["parameters"] > sum(c["parameters"] for c in costs[:3]) / 2
    assert np.isnan(row["AP50_low"]) or row["AP50_low"] <= row["AP50_high"]
    gains = scores.gains(fused, [alone[0], fused])
    assert list(gains["over"]) == ["rgb", "residual_cross_attention"] and gains["AP50_gain"][1] == 0
    assert gains["AP50_gain"][0] == pytest.approx(row["AP50"] - scores.score(alone[0])["AP50"])
    curve = scores.curve_table([alone[0], fused])
    assert len(curve) == 202 and list(curve["model"].unique()) == ["rgb", "residual_cross_attention"]
    assert list(scores.log_table([alone[0], fused])["model"]) == ["rgb", "residual_cross_attention"]

    monkeypatch.setattr("rtslib.training.loop.fit", lambda *a: pytest.fail("trained again"))
    assert study.run("residual_cross_attention").make(progress=False) == fused
    for case in fused.wanted:
        fused.predictions(*case)
    assert fused.is_done and not study.run("residual_cross_attention", seed=2).made.folder.exists()
    with pytest.raises(pytest.fail.Exception, match="trained again"):  # another seed is another run
        study.run("residual_cross_attention", seed=2).make(progress=False)


def drawn(score, by_group):
    """A score of one seed whose samples of groups lie evenly around it."""
    return Drawn(np.array([score]), np.array([score + np.linspace(-1, 1, 101) * by_group]), 9)


@pytest.mark.parametrize(
    ("known", "taken"),
    [
        ({"small": (0.2, 0.0), "large": (0.7, 0.01)}, "large"),
        ({"small": (0.6, 0.0), "large": (0.7, 0.3)}, "small"),  # 0.1 behind, and one standard error is 0.19
        ({"small": (0.7, 0.0), "large": (0.6, 0.3)}, "small"),
        ({"large": (0.6, 0.3), "small": (0.4, 0.0)}, "large"),
        ({"large": (float("nan"), 0.0), "small": (float("nan"), 0.0)}, "small"),
    ],
)
def test_the_simplest_run_that_is_as_good_as_the_best_on_validation_chips(monkeypatch, known, taken):
    study = SimpleNamespace(split=pd.DataFrame({"side": ["train", "val", "test"]}))
    sizes = {"small": 1, "large": 2}
    runs = [
        SimpleNamespace(name=n, study=study, made=SimpleNamespace(cost=lambda n=n: {"parameters": sizes[n]}))
        for n in known
    ]
    monkeypatch.setattr(scores, "_hits", lambda run, side: {"val": run.name}[side])
    monkeypatch.setattr(scores, "ap_draws", lambda found: drawn(*known[found[0]]))
    assert scores.best(runs).name == taken
    study.split = study.split[study.split["side"] != "val"]
    assert scores.best(runs) is runs[0]  # none to choose by: the first one


def with_chips(profile="mini", **chipset):
    """A study whose chips were opened by other means."""
    study = Study(profile=profile)
    study.__dict__["chipset"] = SimpleNamespace(**chipset)
    return study


def test_why_no_fusion_says_what_there_is():
    bands = ("red", "green", "blue")
    one = with_chips(modalities=lambda: {"rgb": bands}, bands=bands)
    assert one.why_no_fusion.startswith("This data set has one complete modality, rgb (bands: red, green, blue)")
    assert with_chips(modalities=lambda: {"rgb": (), "terrain": ()}, bands=()).why_no_fusion == ""


def test_knobs_follow_the_layout(monkeypatch):
    profile = {"pretrain": {"epochs": 3}, "finetune": {"epochs": 4}, "layouts": {"geotiff": {"scale": 2.0}}}
    monkeypatch.setattr(rtslib.config, "PROFILES", {"mini": profile}, raising=False)
    assert with_chips(layout="geotiff").knobs("finetune", seed=7) == Config(epochs=4, scale=2, seed=7)
    assert with_chips(layout="coco").knobs("pretrain", seed=7) == Config(epochs=3, seed=7)


def test_steps_of_a_profile_become_the_nearest_number_of_epochs(study, monkeypatch):
    train = len(study.chips("train"))
    mini = rtslib.config.PROFILES["mini"]
    stage = {k: v for k, v in TINY.items() if k != "epochs"} | {"batch_size": 2}
    monkeypatch.setitem(rtslib.config.PROFILES, "mini", {**mini, "pretrain": {**stage, "steps": 10}})
    assert study.knobs("pretrain").epochs == round(10 / math.ceil(train / 2)) > 0
    assert study.knobs("pretrain", steps=1).epochs == 1


def test_the_split_is_as_the_layout_asks(study, monkeypatch):
    profile = {"chips": 18, "size": 64, "pretrain": TINY, "layouts": {}}
    profile["layouts"]["challenge"] = {"val_fraction": 0, "test_fraction": 0.6}
    monkeypatch.setattr(rtslib.config, "PROFILES", {"mini": profile}, raising=False)
    split = Study(profile="mini", seed=1).split
    assert (split["side"] == "test").sum() > (split["side"] == "train").sum()


def test_only_what_names_a_study_travels(study):
    import pickle

    assert study.chipset and pickle.loads(pickle.dumps(study)) == study
    assert set(pickle.loads(pickle.dumps(study)).__dict__) == {"data", "profile", "seed", "kind", "fold", "source"}


def test_trees_are_a_row_of_the_tables_like_any_other(study, tmp_path):
    """What a network has and they have not is left empty: epochs, steps, multiply-adds."""
    runs = [study.run("trees", seed).make(progress=False) for seed in (1, 2)]
    row = scores.score(runs[0])
    assert (row["model"], row["fusion"], row["modalities"]) == ("trees", "trees", "rgb+spectral+terrain")
    out = tmp_path / "out"
    tables = write_tables(runs, out)
    found = pd.read_csv(tables / "runs.csv")
    train = int((study.split["side"] == "train").sum())
    assert found.loc[found["seed"] == 1, "AP50"].item() == pytest.approx(row["AP50"])
    for given in found.to_dict("records"):
        assert (given["epochs"], given["epochs_before"], given["image_passes"]) == (0, 0, 3 * train)
        assert np.isnan([given[k] for k in ("macs", "train_macs", "seconds_per_step")]).all()
        assert given["seconds"] > 0 and given["parameters"] > 0 and given["peak_memory_mib"] > 50
        assert 0 <= given["AP50"] <= given["AP25"] <= 1
    (model,) = pd.read_csv(tables / "models.csv").to_dict("records")
    assert model["seeds"] == 2 and model["AP25"] == pytest.approx(found["AP25"].mean())
    assert {p.stem for p in draw_all(out)} == {"scores", "forest", "sizes", "reliability", "precision_recall"}
    assert runs[0].wanted == [("val", {}, True), ("test", {}, True)] and runs[0].hidden_cases == []
