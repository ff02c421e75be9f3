"""Words follow intervals."""

import pandas as pd
import pytest

from rtslib.study.sentences import average, leader, on_the_ground, standing, standings


def test_an_average_has_its_interval_where_there_is_one():
    assert average({"AP50": 0.851, "AP50_low": 0.8, "AP50_high": 0.913}) == "0.85 (0.80 to 0.91)"
    assert average({"AP50": 0.5, "AP50_low": None, "AP50_high": float("nan")}) == "0.50"


def test_the_leader_stands_first_whatever_the_order_of_rows():
    rows = pd.DataFrame({"model": ["a", "b"], "AP50": [0.2, 0.7], "AP50_low": [0.1, 0.6], "AP50_high": [0.3, 0.8]})
    said = leader(rows)
    assert said.index("`b` 0.70 (0.60 to 0.80)") < said.index("`a` 0.20 (0.10 to 0.30)")
    assert "then" not in leader(rows[:1])


@pytest.mark.parametrize(
    "low, high, said",
    [
        (0.1, 0.3, "ahead of `x` by 0.20 (0.10 to 0.30)"),
        (-0.3, -0.1, "behind `x` by 0.20 (0.10 to 0.30)"),
        (-0.1, 0.3, "level with `x` (difference +0.10, -0.10 to +0.30)"),
    ],
)
def test_an_interval_over_zero_is_level(low, high, said):
    assert standing({"over": "x", "AP50_gain": (low + high) / 2, "low": low, "high": high}) == said


def test_standings_speak_of_one_model_and_the_others_asked_for():
    gains = pd.DataFrame({"model": ["a", "a", "b"], "over": ["x", "y", "x"], "AP50_gain": 0.2, "low": 0.1, "high": 0.3})
    assert standings(gains, "a", ["y"]) == "`a` is ahead of `y` by 0.20 (0.10 to 0.30)"
    assert standings(gains, "a").count("ahead") == 2 and standings(gains, "c") == ""


def test_the_ground_is_spoken_of_where_a_ledger_tells():
    said = on_the_ground({"ground_count": 18.0, "ground_count_low": 15.0, "ground_count_high": 22.0})
    assert "about 18 (95 % 15 to 22)" in said and on_the_ground({"ground_count": None}) == ""
