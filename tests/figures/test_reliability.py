"""Reliability diagrams, from hand-made bins."""

import pandas as pd
import pytest

from rtslib.figures.reliability import calibration

BINS = pd.DataFrame({"model": "a", "seed": [0, 1, 0], "when": "after", "low": [0.5, 0.5, 0.7], "high": [0.6, 0.6, 0.8],
                     "count": [10, 30, 4], "score": [0.5, 0.58, 0.7], "right": [0.0, 1.0, 1.0]})  # fmt: skip


def test_seeds_are_pooled_and_counts_are_drawn(tmp_path):
    BINS.to_csv(tmp_path / "bins.csv")
    above, below = calibration(tmp_path / "bins.csv").axes
    after, few = above.lines[2:]
    assert after.get_xydata().tolist() == [[pytest.approx(0.56), 0.75], [0.7, 1.0]]
    assert few.get_xydata().tolist() == [[0.7, 1.0]] and few.get_markerfacecolor() == "white"
    assert [(p.get_x(), p.get_height()) for p in below.patches] == [(0.5, 40), (0.7, 4)]
    assert below.get_yscale() == "log" and below.texts[0].get_text() == "n = 44"


def test_detections_that_are_hardly_ever_right_are_said(tmp_path):
    BINS.assign(right=[0.0, 0.1, 1.0]).to_csv(tmp_path / "bins.csv")  # the last bin is of 4
    figure = calibration(tmp_path / "bins.csv")
    assert not figure.axes and "Of 44 detections 7 are right" in figure.texts[0].get_text()
    BINS[:0].to_csv(tmp_path / "bins.csv")
    assert "no detection" in calibration(tmp_path / "bins.csv").texts[0].get_text()
