"""Benchmarks on new grounds, on small ones and with a model that knows little: what is measured, not how well."""

import pandas as pd
import pytest

from helpers.models import TINY_KNOBS as TINY
from rtslib.benchmarks import grounds
from rtslib.cli.main import main
from rtslib.training.runs import Run

SIDE = 96


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounds")
    assert main(["synth", str(folder / "data"), "--chips", "16", "--size", "64", "--seed", "3"]) == 0
    knobs = [arg for knob in (*TINY, "val_fraction=0.4") for arg in ("--set", knob)]
    assert main(["train", "--data", str(folder / "data"), "--out", str(folder / "run"), *knobs]) == 0
    return Run(folder / "run")


def test_windows_of_each_size_cover_each_ground(run):
    table = grounds.window_table(run, (64, 96), (100, 101), SIDE)
    assert table[["window", "ground", "windows"]].values.tolist() == [
        [64, 100, 4], [96, 100, 1], [64, 101, 4], [96, 101, 1]]  # fmt: skip
    assert (table["seconds"] > 0).all() and table["ap"].between(0, 1).all()


def test_a_share_above_one_swallows_nothing(run):
    table = grounds.swallow_table(run, (0.0, 1.1), (200,), SIDE)
    assert table["swallow"].tolist() == [0.0, 1.1] and table["ap"].between(0, 1).all()
    shown = table["right"] + table["wrong"]
    assert shown.iloc[1] >= shown.iloc[0]


def test_totals_stand_beside_the_truth(run):
    rows = grounds.totals_table(run, (300,), (400,), SIDE).to_dict("records")
    assert [row["ledger"] for row in rows] == ["map", "chips"]
    for row in rows:
        assert row["known_count"] >= 1 and row["known_area_m2"] > 100
        if pd.isna(row["ground_count"]):  # nothing right on known ground: nothing is said, and nothing holds
            assert not row["count_inside"] and not row["area_inside"]
        else:
            assert row["count_inside"] == (row["ground_count_low"] <= row["known_count"] <= row["ground_count_high"])
