"""The chart of speed shows each comparison of the table, and nothing else."""

import pandas as pd
import pytest

from rtslib.figures.speed import ratios, speed


def made(path, rows):
    """Write a table of (group, case, px, seconds, peak, against)."""
    columns = ["group", "case", "px", "median_s", "peak_mib", "against"]
    table = pd.DataFrame(rows, columns=columns).assign(batch=1, device="cpu", precision="fp32")
    table["min_s"], table["max_s"] = table["median_s"] * 0.8, table["median_s"] * 1.25
    table.to_csv(path, index=False)
    return path


def test_ratios_are_within_a_group_and_a_size(tmp_path):
    path = made(tmp_path / "speed.csv", [
        ("trunk", "rtslib", 256, 1.0, 100, ""), ("trunk", "rtslib", 512, 4.0, 400, ""),
        ("trunk", "timm", 256, 2.0, 150, "rtslib"), ("trunk", "timm", 512, 4.0, 800, "rtslib"),
        ("trunk", "detectron2", 256, None, None, "rtslib"), ("other", "rtslib", 256, 9.0, 9, ""),
    ])  # fmt: skip
    found = ratios(path)
    assert found["ratio"].tolist() == [2, 1] and found["memory"].tolist() == [1.5, 2]
    assert found["low"].iloc[0] == pytest.approx(1.6 / 1.25) and found["high"].iloc[0] == pytest.approx(2.5 / 0.8)
    (axes,) = speed(path).axes
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert dots == [2, 1] and axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_yticklabels()][0] == "trunk, 256 px:\ntimm / rtslib"


def test_nothing_compared_is_said_in_words(tmp_path):
    figure = speed(made(tmp_path / "speed.csv", [("trunk", "rtslib", 256, 1.0, 100, "")]))
    assert not figure.axes and "No two cases" in figure.texts[0].get_text()
