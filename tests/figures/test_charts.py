"""Result charts: what is drawn is what the tables say, and a missing table or column is named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rtslib.errors import DataError
from rtslib.figures import charts
from rtslib.figures.style import look, show


def table(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def words(figure):
    """What a figure says in place of a chart."""
    assert not figure.axes
    return figure.texts[0].get_text().replace("\n", " ")


def test_training_curves_draw_each_log(tmp_path):
    path = table(
        tmp_path / "t.csv",
        model=["rgb"] * 3 + ["data"] * 2,
        epoch=[0, 1, 2, 0, 1],
        loss=[3.0, 2.0, 1.5, 2.5, 1.0],
        val_AP50=[np.nan, 0.2, 0.4, np.nan, np.nan],
    )
    loss, score = charts.training_curves(path).axes
    assert [line.get_label() for line in loss.lines] == ["true colour", "stacked bands"]
    np.testing.assert_allclose(loss.lines[0].get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    np.testing.assert_allclose(score.lines[0].get_xydata(), [[2, 0.2], [3, 0.4]])
    assert len(score.lines) == 1 and loss.get_xlim() == score.get_xlim() and loss.get_ylim()[0] == 0
    alone = table(tmp_path / "u.csv", model=["data"], epoch=[0], loss=[1.0])
    assert len(charts.training_curves(alone).axes) == 1  # no validation: no empty axes


def test_a_run_shows_its_terms_and_its_validation(tmp_path):
    log = {"epoch": [0, 1, 2], "loss": [4.0, 3.0, 2.0], "loss_cls_stage0": [1.0] * 3, "loss_box_stage0": [0.5] * 3,
           "loss_mask": [0.5] * 3, "loss_objectness": [2.0, 1.0, 0.0]}  # fmt: skip
    loss, score = charts.run_curves(
        table(tmp_path / "log.csv", **log, val_AP50=[None, 0.1, 0.3], val_AP=[None, 0, 0.1])
    ).axes
    drawn = {line.get_label(): line.get_ydata().tolist() for line in loss.lines}
    assert drawn == {"sum of all terms": [4, 3, 2], "proposals": [2, 1, 0], "boxes": [1.5] * 3, "masks": [0.5] * 3}
    assert [line.get_xydata().tolist() for line in score.lines] == [[[2, 0.1], [3, 0.3]], [[2, 0], [3, 0.1]]]
    assert score.get_ylim() == (0, 1) and not score.texts
    unseen = charts.run_curves(table(tmp_path / "log.csv", **log)).axes[1]
    assert "Not validated" in unseen.texts[0].get_text() and not unseen.lines
    with pytest.raises(DataError, match="no epoch"):
        charts.run_curves(table(tmp_path / "log.csv", epoch=[], loss=[]))


def test_score_points_write_the_values(tmp_path):
    path = table(
        tmp_path / "s.csv",
        model=["rgb", "fused"],
        AP50=[0.25, 0.75],
        AP=[0.1, np.nan],
        AP50_low=[0.2, np.nan],
        AP50_high=[0.4, 1],
    )
    axes = charts.score_points(path).axes[0]
    assert [t.get_text() for t in axes.texts] == ["0.25", "0.75", "AP50", "0.10", "AP"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["true colour", "fused"]
    assert axes.get_xlim() == (0, 1)
    assert [0.2, 0.4] in [list(line.get_xdata()) for line in axes.lines]  # an interval, where both ends are known
    assert len([line for line in axes.lines if len(line.get_xdata()) == 2]) == 1


def test_scores_that_are_nearly_nothing_are_said_and_not_ranked(tmp_path):
    low = {"model": ["rgb", "data"], "AP50": [0.001, 0.002], "AP": [0.0, 0.001]}
    said = words(charts.score_points(table(tmp_path / "s.csv", **low)))
    assert "the best AP50 is 0.002, of stacked bands" in said
    wide = charts.score_points(table(tmp_path / "s.csv", **low, AP50_low=[0, 0], AP50_high=[0.001, 0.3])).axes[0]
    assert wide.get_xlim() == (0, 1) and "Too little" in wide.get_title(loc="left")
    assert "no model" in words(charts.score_points(table(tmp_path / "e.csv", model=[], AP50=[], AP=[])))


def test_pr_curves_name_their_area(tmp_path):
    recall = np.linspace(0, 1, 101)
    path = table(tmp_path / "p.csv", model=["rgb"] * 101, recall=recall, precision=np.where(recall <= 0.5, 1.0, 0))
    figure = charts.pr_curves(path)
    assert figure.legends[0].get_texts()[0].get_text() == "true colour (0.50)"
    assert "precision" in figure.axes[0].get_ylabel() and "recall" in figure.axes[0].get_xlabel()
    assert figure.axes[0].lines[0].get_color() == look("rgb").colour
    path = table(tmp_path / "p.csv", model=["rgb"] * 101, recall=recall, precision=0.01)
    assert "the best AP50 is 0.01, of true colour" in words(charts.pr_curves(path))


def test_of_many_curves_the_first_in_line_are_named(tmp_path):
    names = ["rgb", "data", *(f"m{k}" for k in range(9))]
    rows = [(m, r, 0.5) for m in names for r in (0, 1)]
    pd.DataFrame(rows, columns=["model", "recall", "precision"]).to_csv(tmp_path / "p.csv")
    legend = charts.pr_curves(tmp_path / "p.csv").legends[0]
    assert [t.get_text() for t in legend.get_texts()] == ["true colour (0.50)", "stacked bands (0.50)", "9 others"]


def test_instance_sizes_count_every_instance(tmp_path):
    path = table(tmp_path / "i.csv", side=["train"] * 3 + ["test"], area_px=[10, 700, 9000, 20])
    panels = charts.instance_sizes(path).axes
    assert panels[0].get_xscale() == "log" and "px" in panels[-1].get_xlabel()
    assert [sum(p.get_height() for p in a.patches) for a in panels] == [3, 1]
    assert panels[0].get_xlim() == panels[1].get_xlim() and panels[0].get_ylim() == panels[1].get_ylim()
    assert "no instance" in words(charts.instance_sizes(table(tmp_path / "e.csv", side=[], area_px=[])))


def test_cost_points_are_in_minutes(tmp_path):
    path = table(tmp_path / "c.csv", model=["rgb", "fused"], AP50=[0.2, 0.5], seconds=[60, 180])
    axes = charts.cost_points(path).axes[0]
    assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [(1, 0.2), (3, 0.5)]
    assert "No model" in words(charts.cost_points(table(tmp_path / "c.csv", model=["a"], AP50=[None], seconds=[1])))


def test_show_writes_a_png(tmp_path):
    path = table(tmp_path / "c.csv", model=["rgb"], AP50=[0.2], seconds=[60])
    shown = show(charts.cost_points(path), tmp_path / "figures" / "c.png")
    with Image.open(tmp_path / "figures" / "c.png") as image:
        assert image.format == "PNG" and image.width > 600 and len(image.getcolors(1 << 20)) > 5
    assert shown.data == (tmp_path / "figures" / "c.png").read_bytes() and 450 < shown.width < 500


def test_missing_tables_and_columns_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: found no such file, .*\(run that first\)"):
        charts.pr_curves(tmp_path / "none.csv")
    with pytest.raises(DataError, match="found no column recall, precision"):
        charts.pr_curves(table(tmp_path / "t.csv", model=["rgb"]))
