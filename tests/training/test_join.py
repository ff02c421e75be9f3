"""A run made of runs: it answers as they do, and is recognised by what they are."""

import shutil

import pytest

from helpers.trained import config, data, unimodal  # noqa: F401 (fixtures)
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.data.splits import load_split
from rtslib.errors import OutputError, WeightsError
from rtslib.models.decision import Decision
from rtslib.training.join import join, joined_recipe
from rtslib.training.prediction import predict
from rtslib.training.runs import Run
from rtslib.training.trainer import is_obtained, obtain
from rtslib.training.weights import load_model


def test_joined_runs_answer_as_the_runs_do(data, unimodal, tmp_path):
    chips, starts = open_chips(data), {m: Run(unimodal / m) for m in ("rgb", "terrain")}
    split = load_split(unimodal / "rgb" / "split.csv", chips)
    recipe = joined_recipe(starts, chips, split)
    run = join(recipe, Run(tmp_path / "decision"))
    model, found = load_model(run), run.config
    assert isinstance(model, Decision) and found.fusion == "decision" and list(found.modalities) == ["rgb", "terrain"]
    four = chips.labelled()[:4]
    alone = predict(load_model(starts["rgb"]), chips, four)
    without = predict(model, chips, four, hidden={"terrain": "all"})
    assert 0 < len(without) <= len(alone)  # masks suppress what boxes let pass
    assert {round(r["score"], 5) for r in without} <= {round(r["score"], 5) for r in alone}
    record = run.record
    there = {m: (run.folder / p).resolve() for m, p in record["init"].items()}
    assert record["finished"] and there == {m: r.folder.resolve() for m, r in starts.items()}
    before = run.weights.stat().st_mtime_ns
    assert join(recipe, run) == run and is_obtained(recipe, run) and run.weights.stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="another config"):
        join(recipe, starts["rgb"])
    other = {**starts, "terrain": Run(tmp_path / "terrain")}
    shutil.copytree(starts["terrain"], other["terrain"])
    other["terrain"].config.updated(temperature=3.0).save(tmp_path / "terrain" / "config.json")
    assert obtain(recipe, run) == run and run.weights.stat().st_mtime_ns == before  # the same: kept
    changed = joined_recipe(other, chips, split)
    assert not is_obtained(changed, run) and obtain(changed, run) == run
    assert (tmp_path / "decision.previous" / "model.pt").stat().st_mtime_ns == before
    with pytest.raises(WeightsError, match="needed is 'terrain' alone"):
        joined_recipe({"rgb": starts["rgb"], "terrain": starts["rgb"]}, chips, split)
    other["terrain"].config.updated(tta=True).save(tmp_path / "terrain" / "config.json")
    with pytest.raises(WeightsError, match=r"some of \['rgb', 'terrain'\] see chips turned"):
        joined_recipe(other, chips, split)
    assert Config.load(starts["rgb"].folder / "config.json").temperature > 0
