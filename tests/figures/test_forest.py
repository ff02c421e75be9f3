"""The forest plot, from hand-made tables."""

import pandas as pd

from rtslib.figures.forest import forest

GAINS = pd.DataFrame({"model": ["rgb", "b", "b", "data"], "over": ["data", "data", "rgb", "rgb"],
                      "AP50_gain": [-0.2, 0.1, 0.3, 0.2], "low": [-0.3, 0.05, -0.1, 0.1],
                      "high": [-0.1, 0.2, 0.5, 0.3]})  # fmt: skip


def test_rows_are_shared_and_the_best_stands_first(tmp_path):
    GAINS.to_csv(tmp_path / "gains.csv")
    left, right = forest(tmp_path / "gains.csv").axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["b", "stacked bands", "true colour"]
    assert [a.get_title() for a in (left, right)] == ["over\nstacked bands", "over\ntrue colour"]
    assert left.get_xlim() == right.get_xlim() and -left.get_xlim()[0] == left.get_xlim()[1] > 0.5
    lines = {tuple(line.get_ydata()): list(line.get_xdata()) for line in left.lines if len(line.get_xdata()) == 2}
    assert lines[(0, 0)] == [0.05, 0.2] and lines[(2, 2)] == [-0.3, -0.1]  # data over itself: nothing
    points = {
        tuple(line.get_xydata()[0]): line.get_markerfacecolor() for line in right.lines if line.get_marker() == "o"
    }
    assert points == {(0.3, 0): "white", (0.2, 1): "black"}  # open where the interval holds zero


def test_at_25_percent_overlap_only_where_little_is_found(tmp_path):
    more = GAINS.assign(AP25_gain=-0.5, AP25_low=-0.6, AP25_high=-0.4)
    more.to_csv(tmp_path / "gains.csv")
    assert [a.get_xlabel() for a in forest(tmp_path / "gains.csv").axes] == ["AP50", "AP50"]
    more.assign(AP50_gain=0.01).to_csv(tmp_path / "gains.csv")
    assert [a.get_xlabel() for a in forest(tmp_path / "gains.csv").axes] == ["AP50", "AP50", "AP25", "AP25"]


def test_differences_of_nothing_are_said(tmp_path):
    GAINS.assign(AP50_gain=0.001, low=-0.002, high=0.003).to_csv(tmp_path / "gains.csv")
    figure = forest(tmp_path / "gains.csv")
    assert not figure.axes and "no interval reaches further than 0.003 in AP50" in figure.texts[0].get_text().replace(
        "\n", " "
    )
    GAINS[:0].to_csv(tmp_path / "gains.csv")
    assert "no two models" in forest(tmp_path / "gains.csv").texts[0].get_text()
