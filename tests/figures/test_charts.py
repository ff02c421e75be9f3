"""Result charts: what is drawn is what the tables say, and a missing table or column is named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rtslib.errors import DataError
from rtslib.figures import charts


def table(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_training_curves_draw_each_log(tmp_path):
    path = table(
        tmp_path / "t.csv",
        model=["rgb"] * 3 + ["data"] * 2,
        epoch=[0, 1, 2, 0, 1],
        loss=[3.0, 2.0, 1.5, 2.5, 1.0],
        val_AP50=[np.nan, 0.2, 0.4, np.nan, np.nan],
    )
    left, right = charts.training_curves(path).axes
    assert [line.get_label() for line in left.lines] == ["rgb", "data"]
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[2, 0.2], [3, 0.4]])
    assert len(right.lines) == 1 and left.lines[0].get_color() != left.lines[1].get_color()
    alone = table(tmp_path / "u.csv", model=["data"], epoch=[0], loss=[1.0])
    assert len(charts.training_curves(alone).axes) == 1  # no validation: no empty axes


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
    assert [t.get_text() for t in axes.texts] == ["0.25", "0.75", "0.10"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["rgb", "fused"]
    assert axes.get_xlim() == (0, 1)
    assert [0.2, 0.4] in [list(line.get_xdata()) for line in axes.lines]  # an interval, where both ends are known
    assert len([line for line in axes.lines if len(line.get_xdata()) == 2]) == 1


def test_pr_curves_name_their_area(tmp_path):
    recall = np.linspace(0, 1, 101)
    path = table(tmp_path / "p.csv", model=["rgb"] * 101, recall=recall, precision=np.where(recall <= 0.5, 1.0, 0))
    axes = charts.pr_curves(path).axes[0]
    assert axes.get_legend().get_texts()[0].get_text() == "rgb (AP50 0.50)"
    assert "precision" in axes.get_ylabel() and "recall" in axes.get_xlabel()


def test_instance_sizes_count_every_instance(tmp_path):
    path = table(tmp_path / "i.csv", side=["train"] * 3 + ["test"], area_px=[10, 700, 9000, 20])
    axes = charts.instance_sizes(path).axes[0]
    assert axes.get_xscale() == "log" and "px" in axes.get_xlabel()
    assert sum(p.get_height() for p in axes.patches) == 4
    assert not charts.instance_sizes(table(tmp_path / "e.csv", side=[], area_px=[])).axes[0].patches


def test_cost_points_are_in_minutes(tmp_path):
    path = table(tmp_path / "c.csv", model=["rgb", "fused"], AP50=[0.2, 0.5], seconds=[60, 180])
    axes = charts.cost_points(path).axes[0]
    assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [(1, 0.2), (3, 0.5)]


def test_save_and_show_write_a_png(tmp_path):
    path = table(tmp_path / "c.csv", model=["rgb"], AP50=[0.2], seconds=[60])
    shown = charts.show(charts.cost_points(path), tmp_path / "figures" / "c.png")
    with Image.open(tmp_path / "figures" / "c.png") as image:
        assert image.format == "PNG" and image.width > 600 and len(image.getcolors(1 << 20)) > 5
    assert shown.data == (tmp_path / "figures" / "c.png").read_bytes()


def test_missing_tables_and_columns_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: found no such file, .*\(run that first\)"):
        charts.pr_curves(tmp_path / "none.csv")
    with pytest.raises(DataError, match="found no column recall, precision"):
        charts.pr_curves(table(tmp_path / "t.csv", model=["rgb"]))


def test_models_keep_their_colours():
    few, many = charts.styles_of(["cbam", "data", "rgb"]), charts.styles_of(["mine", "rgb", "data", "terrain"])
    assert few["data"]["color"] == many["data"]["color"] and few["rgb"]["color"] == many["rgb"]["color"]
    assert len({s["color"] for s in many.values()}) == 4
