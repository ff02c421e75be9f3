"""The tables of attention, on hand-made answers."""

from types import SimpleNamespace

import pandas as pd
import pytest

from helpers.scored import truth_and_results
from rtslib.evaluation.bootstrap import hits
from rtslib.study import attention

GROUPS = {i: f"g{i % 6}" for i in range(1, 13)}


def found(right):
    return hits(*truth_and_results(right), GROUPS)


def run(gates):
    return [SimpleNamespace(made=SimpleNamespace(record={"gates": gates}))]


@pytest.fixture()
def told(monkeypatch):
    """Attention brings a quarter of the slumps; the model is watched to add half of the primary map's size."""

    def judge(parts, attends):
        assert attends is False
        return SimpleNamespace(hits=lambda: found([True] * 6 + [False] * 6))

    row = {"stride": 4, "modality": "terrain"}
    place = {**row, "head": 0, "down": 4.0, "right": -4.0}
    monkeypatch.setattr(attention, "judge", judge)
    monkeypatch.setattr(attention, "watch", lambda part: ([{**row, "share": 0.5}], [{**place, "weight": part.weight}]))


def test_every_question_has_its_table(told, tmp_path):
    name = "residual_cross_attention"
    by_run = {(name, seed): run({"0.out": (0.0, 0.1)}) for seed in (0, 1)} | {("data", 0): run({})}
    for seed in (0, 1):
        by_run[name, seed][0].weight = 0.2 + 0.2 * seed
    whole = found([True] * 9 + [False] * 3)
    attention.attention_tables(by_run, {name: {0: whole, 1: whole}}, tmp_path)
    off, added, looks, gates = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("attention", "added", "looks", "gates"))
    assert off[["model", "seed"]].values.tolist() == [[name, 0], [name, 1]]
    assert (off["AP50"] > off["AP50_off"]).all()
    assert added["share"].tolist() == [0.5, 0.5]
    assert looks[["down", "right", "weight"]].values.tolist() == [[4, -4, pytest.approx(0.3)]]  # mean over seeds
    assert gates[["parameter", "before", "after"]].values.tolist() == [["0.out", 0.0, 0.1]] * 2


def test_a_study_without_attention_has_no_such_tables(told, tmp_path):
    attention.attention_tables({("data", 0): run({})}, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []
