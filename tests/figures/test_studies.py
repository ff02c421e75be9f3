"""Charts of a fusion study, from hand-made tables."""

import pandas as pd
import pytest

from rtslib.figures import studies
from rtslib.figures.attention import looks
from rtslib.study.plan import STAGES_OF


def test_charts_of_a_study(tmp_path):
    gains = pd.DataFrame({"model": ["a", "b", "a"], "over": ["data", "data", "rgb"], "AP50_gain": [0.1, -0.2, 0.3],
                          "low": [0.05, -0.3, -0.1], "high": [0.2, -0.1, 0.5]})  # fmt: skip
    gains.to_csv(tmp_path / "gains.csv")
    left, right = studies.forest(tmp_path / "gains.csv").axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["a", "b"] and left.get_title() == "compared with data"
    assert list(left.lines[0].get_xdata()) == [0.05, 0.2] and right.lines[1].get_markerfacecolor() == "white"
    gains.assign(AP25_gain=-0.5, AP25_low=-0.6, AP25_high=-0.4).to_csv(tmp_path / "gains.csv")
    panels = studies.forest(tmp_path / "gains.csv").axes
    assert [a.get_xlabel()[14:18] for a in panels] == ["AP50", "AP50", "AP25", "AP25"]
    assert list(panels[2].lines[0].get_xdata()) == [-0.6, -0.4]
    scores = pd.DataFrame({"model": ["a"], "AP25": [0.04], "AP50": [0.02], "AP": [0.01], "AP25_high": [0.3]})
    for table, shown, end in ((scores, ["0.0400", "0.0200"], 0.33), (scores.assign(AP50=0.5), ["0.50", "0.01"], 1)):
        table.to_csv(tmp_path / "models.csv")
        axes = studies.scores(tmp_path / "models.csv").axes[0]
        assert [t.get_text() for t in axes.texts] == shown and axes.get_xlim()[1] == pytest.approx(end)
    missing = pd.DataFrame({"model": "a", "seed": [0, 1, 0], "hidden": ["nothing", "nothing", "terrain"],
                            "part": ["", "", "left"], "AP50": [0.4, 0.6, 0.1]})  # fmt: skip
    missing.to_csv(tmp_path / "missing.csv")
    axes = studies.missing(tmp_path / "missing.csv").axes[0]
    assert sorted(p.get_height() for p in axes.patches) == [0.1, 0.5]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["nothing hidden", "terrain, left half"]
    bins = pd.DataFrame({"model": "a", "seed": [0, 1], "when": "after", "low": 0.5, "high": 0.6, "count": [1, 3],
                         "score": [0.5, 0.58], "right": [0.0, 1.0]})  # fmt: skip
    bins.to_csv(tmp_path / "bins.csv")
    points = studies.calibration(tmp_path / "bins.csv").axes[0].lines[2]
    assert points.get_xydata().tolist() == [[pytest.approx(0.56), pytest.approx(0.75)]]  # pooled by count
    models = pd.DataFrame({"model": ["residual_frozen", "rgb", "residual_scratch"], "AP50": 0.5})
    for rows, shown in ((models, True), (models[1:], False)):
        rows.to_csv(tmp_path / "models.csv")
        assert studies.has_stages(tmp_path / "models.csv", STAGES_OF) == shown
    assert list(studies.stage_rows(models, STAGES_OF)["training"]) == [
        "(a) from scratch",
        "(b) pre-trained, backbones frozen",
    ]


def test_models_are_put_beside_those_that_share_their_terms():
    columns = ["seeds", "AP50_low", "AP50_high", "AP", "image_passes", "train_macs"]
    models = pd.DataFrame({"model": ["a", "b", "c"], "AP50": [0.2, 0.5, 0.1]} | {c: [1, 2, 3] for c in columns})
    terms = studies.comparison(models, {"steps": ("a", "b"), "compute": ("b", "c", "gone"), "alone": ("a", "gone")})
    assert terms[["terms", "model"]].values.tolist() == [
        ["steps", "b"], ["steps", "a"], ["compute", "b"], ["compute", "c"]]  # fmt: skip
    assert len(studies.comparison(models, {"alone": ("a",)})) == 0


def test_where_attention_looks(tmp_path):
    """All weight of one head below and left of the query: there is the brightest cell."""
    cells = [(d, r) for d in (-4.0, 4.0) for r in (-4.0, 4.0)]
    rows = [{"modality": m, "stride": s, "head": h, "down": d, "right": r, "weight": float(d > 0 > r and h == 1)}
            for m in ("spectral", "terrain") for s in (4, 8) for h in (0, 1) for d, r in cells]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "looks.csv")
    panels = looks(tmp_path / "looks.csv").axes
    assert [a.get_title() for a in panels] == [f"{m}, stride {s}" for m in ("spectral", "terrain") for s in (4, 8)]
    picture = panels[0].images[0]
    assert picture.get_array().tolist() == [[0, 0], [1, 0]] and picture.get_extent() == [-8, 8, 8, -8]
