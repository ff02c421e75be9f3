"""Trees as a run: planted on ground where the answer is obvious, and a folder like any other's."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.chip_folders import write_challenge
from rtslib.config import Config
from rtslib.data.masks import decode
from rtslib.data.opening import open_chips
from rtslib.errors import ConfigError, OutputError, TrainingError, WeightsError
from rtslib.evaluation.coco import evaluate
from rtslib.files import read_json
from rtslib.models.trees import Trees
from rtslib.training.beginning import prepared
from rtslib.training.evidence import shown_from
from rtslib.training.heldout import chips_on_side
from rtslib.training.prediction import predict
from rtslib.training.runs import Recipe, Run
from rtslib.training.trainer import is_obtained, obtain, train
from rtslib.training.trees import drawn_pixels
from rtslib.training.weights import load_model, load_weights

SIDES = {"site0": "train", "site1": "train", "site2": "train", "site3": "val", "site4": "test"}


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """Ten constant chips; chip i has i - 1 boxes of 20 px, in which no plants grow. What else grows there is noise."""
    root = write_challenge(tmp_path_factory.mktemp("made") / "data", train=10, test=0, size=(20, 60))
    chipset, rng = open_chips(root), np.random.default_rng(0)
    for chip in chipset.chips:
        image = np.load(chip.files[0])["image"] + rng.normal(0, 0.01, (20, 60, 8)).astype(np.float32)
        for instance in chipset.instances[chip.id]:
            image[decode(instance.rle), 3] -= 0.2
        np.savez_compressed(chip.files[0], image=image)
    return open_chips(root)


def split_of(chips, **sides):
    rows = [{"chip": c.id, "name": c.name, "group": c.group, "side": {**SIDES, **sides}[c.group]} for c in chips.chips]
    return pd.DataFrame(rows)


def knobs(chips, *names, **more):
    found = chips.modalities()
    small = {"fusion": "trees", "tree_rounds": 20, "tree_scales": [1.5], "score_thresh": 0.0}
    return Config.make({"modalities": {m: list(found[m]) for m in names or found}, **small, **more})


@pytest.fixture(scope="module")
def run(chips, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "trees"
    return Run(train(chips, out, knobs(chips), split=split_of(chips), progress=False))


def test_obvious_slumps_are_found_on_chips_held_out(chips, run):
    model = load_model(run)
    held, said = chips_on_side(run, chips, "test")
    found = predict(model, chips, held)
    scores = evaluate(chips.coco(held), found)
    assert [c.id for c in held] == [9, 10] and not said and len(found) == 8 + 9
    assert scores["segm"]["AP50"] == scores["segm"]["AR"] == 1.0  # to the pixel
    least, why = shown_from(run)
    assert 0 < least < min(r["score"] for r in found) and "chosen on the validation side (F1 1.00 there)" in why


def test_without_the_modality_that_tells_nothing_is_found(chips, run):
    held, _ = chips_on_side(run, chips, "test")
    assert not predict(load_model(run), chips, held, hidden={"spectral": "all"})
    assert len(predict(load_model(run), chips, held, hidden={"rgb": "all"})) == 17  # no modality is the primary one


def test_a_folder_like_any_other_runs(chips, run):
    names = ["config.json", "ledger.csv", "model.pt", "predictions_val.json", "run.json", "split.csv"]
    assert sorted(p.name for p in run.folder.iterdir()) == names
    record, model = run.record, load_model(run)
    assert isinstance(model, Trees) and not model.training
    assert record["finished"] and record["seconds"] > 0 and record["peak_memory_mib"] > 50 and record["init"] == {}
    assert record["chips"] == {"train": 6, "val": 2, "test": 2} and record["pixels"] == {"slump": 300, "other": 6900}
    assert {"commit", "versions", "hardware", "code"} <= set(record) and "sklearn" not in str(load_weights(run.weights))
    cost = run.cost()
    assert (cost["epochs"], cost["image_passes"]) == (0, 6 * 3)  # each chip was looked at once
    assert cost["parameters"] == cost["trained_parameters"] == model.fitted_numbers > 20
    assert len(read_json(run.predictions("val"))) == 6 + 7 and set(pd.read_csv(run.ledger)["chip"]) == {7, 8}
    assert list(run.config.modality_mean) == list(chips.modalities())


def test_they_are_recognised_and_planted_anew_where_something_changed(chips, run, tmp_path):
    recipe = Recipe(knobs(chips), chips, split_of(chips))
    before = run.weights.stat().st_mtime_ns
    assert is_obtained(recipe, run) and obtain(recipe, run) == run and run.weights.stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="already holds a run"):
        train(chips, run.folder, recipe.config, split=recipe.split)
    again = obtain(recipe, Run(tmp_path / "again"))
    same, theirs = load_weights(run.weights), load_weights(again.weights)
    assert same.keys() == theirs.keys() and all(torch.equal(same[k], theirs[k]) for k in same)
    again.weights.unlink()  # as if it had been stopped
    assert not is_obtained(recipe, again) and obtain(recipe, again).finished
    other = Recipe(knobs(chips, tree_rounds=3), chips, split_of(chips))
    assert obtain(other, again).finished and (tmp_path / "again.previous").exists()
    assert load_model(again).value.shape[0] == 3


def test_one_modality_is_enough(chips, tmp_path):
    out = train(chips, tmp_path / "one", knobs(chips, "spectral"), split=split_of(chips), progress=False)
    found = predict(load_model(Run(out)), chips, chips.chips[9:])
    assert len(found) == 9 and list(Run(out).config.modalities) == ["spectral"]


def test_what_cannot_be_planted(chips, run, tmp_path):
    bare = split_of(chips)
    bare["side"] = ["train"] + ["test"] * 9
    with pytest.raises(TrainingError, match="none of 1 training chips has a slump"):
        train(chips, tmp_path / "bare", knobs(chips), split=bare)
    with pytest.raises(WeightsError, match="trees start from no other run, given is one for all: leave it out"):
        train(chips, tmp_path / "init", knobs(chips), split=split_of(chips), init={"all": run})
    assert not (tmp_path / "init").exists()
    with pytest.raises(ConfigError, match="fusion=trees has no network"):
        train(chips, tmp_path / "zoo", knobs(chips, zoo="coco.pkl"), split=split_of(chips))


def test_without_a_validation_side_scores_are_not_calibrated(chips, tmp_path):
    alone = split_of(chips, site3="test")
    out = Run(train(chips, tmp_path / "alone", knobs(chips), split=alone, progress=False))
    assert "no validation side" in out.record["calibration"] and not out.ledger.exists()
    assert evaluate(chips.coco(chips.chips[6:]), predict(load_model(out), chips, chips.chips[6:]))["segm"]["AP50"] == 1


def drawing(chips, **more):
    config, _ = prepared(Recipe(knobs(chips, **more), chips, split_of(chips)))
    return drawn_pixels(Trees(config), chips, chips.chips[:6])


def test_all_pixels_of_slumps_and_as_many_others_as_asked_for_are_drawn(chips):
    features, slump = drawing(chips, tree_pixels=1000)
    assert slump.sum() == 300 and 900 < (~slump).sum() < 1100
    assert features.shape == (len(slump), 8 * 3) and features.dtype == np.float32 and np.isfinite(features).all()
    again, other = drawing(chips, tree_pixels=1000), drawing(chips, tree_pixels=1000, seed=1)
    assert np.array_equal(again[0], features) and not np.array_equal(other[0], features)
    assert 70 < drawing(chips, tree_pixels=100)[1].sum() < 130


def test_hidden_modalities_are_gaps_in_training(chips):
    features, _ = drawing(chips, modality_dropout=0.5)
    gaps = np.isnan(features)
    assert 0.1 < gaps.mean() < 0.8 and not gaps.all(1).any()
    assert (gaps[:, :9].all(1) | ~gaps[:, :9].any(1)).all()  # rgb is hidden as a whole
