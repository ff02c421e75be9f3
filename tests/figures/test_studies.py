"""Charts of a fusion study, from hand-made tables."""

import numpy as np
import pandas as pd

from rtslib.figures import studies
from rtslib.figures.attention import looks
from rtslib.figures.style import look
from rtslib.study.plan import STAGES_OF


def test_scores_are_at_25_percent_where_little_is_found(tmp_path):
    scores = pd.DataFrame({"model": ["a"], "AP25": [0.04], "AP50": [0.02], "AP": [0.01], "AP25_high": [0.3]})
    faint: list = []
    clear = ["0.50", "AP50", "0.01", "AP"]
    for table, shown in ((scores, faint), (scores.assign(AP50=0.5), clear)):
        table.to_csv(tmp_path / "models.csv")
        axes = studies.scores(tmp_path / "models.csv").axes[0]
        assert [t.get_text() for t in axes.texts] == shown and axes.get_xlim() == (0, 1)


def test_sizes_are_panels_or_a_sentence(tmp_path):
    rows = pd.DataFrame({"model": ["rgb", "data"], "AP50": [0.5, 0.6], "AP_small": [0.1, 0.2], "AP_medium": [0.3, 0.4],
                         "AP_large": [None, 0.5]})  # fmt: skip
    rows.to_csv(tmp_path / "models.csv")
    panels = studies.sizes(tmp_path / "models.csv").axes
    assert [a.get_title() for a in panels] == list(studies.SIZES.values())
    assert [line.get_xdata()[0] for line in panels[1].lines] == [0.3, 0.4]
    assert panels[0].lines[0].get_color() == look("rgb").colour and panels[0].get_xlim() == (0, 1)
    rows.assign(AP50=0.01).to_csv(tmp_path / "models.csv")
    figure = studies.sizes(tmp_path / "models.csv")
    assert not figure.axes and "Too little" in figure.texts[0].get_text()


def test_hidden_modalities_are_rows(tmp_path):
    missing = pd.DataFrame({"model": "data", "seed": [0, 1, 0], "hidden": ["nothing", "nothing", "terrain"],
                            "part": ["", "", "left"], "AP50": [0.4, 0.6, 0.1]})  # fmt: skip
    missing.to_csv(tmp_path / "missing.csv")
    figure = studies.missing(tmp_path / "missing.csv")
    axes = figure.axes[0]
    seeds, means = axes.lines[:2]
    assert means.get_xydata().tolist() == [[0.5, 0], [0.1, 1]] and seeds.get_xdata().tolist() == [0.4, 0.6, 0.1]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["nothing", "terrain,\nleft half"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["stacked bands"]
    missing[:0].to_csv(tmp_path / "missing.csv")
    assert "No model" in studies.missing(tmp_path / "missing.csv").texts[0].get_text()


def test_ways_to_train(tmp_path):
    models = pd.DataFrame({"model": ["residual_frozen", "rgb", "residual_scratch"], "AP50": 0.5})
    for rows, shown in ((models, True), (models[1:], False)):
        rows.to_csv(tmp_path / "models.csv")
        assert studies.has_stages(tmp_path / "models.csv", STAGES_OF) == shown
    assert list(studies.stage_rows(models, STAGES_OF)["training"]) == [
        "(a) from scratch",
        "(b) pre-trained, backbones frozen",
    ]
    models.assign(AP50_low=0.4, AP50_high=0.6, seconds=60, peak_memory_mib=1024).to_csv(tmp_path / "models.csv")
    time, memory = studies.compute(tmp_path / "models.csv", STAGES_OF).axes
    assert [line.get_xdata()[0] for line in time.lines] == [1] * 4 == [line.get_xdata()[0] for line in memory.lines]
    assert time.get_xlim()[0] == memory.get_xlim()[0] == 0 and time.get_ylim() == (0, 1)


def test_models_are_put_beside_those_that_share_their_terms():
    columns = ["seeds", "AP50_low", "AP50_high", "AP", "image_passes", "train_macs"]
    models = pd.DataFrame({"model": ["a", "b", "c"], "AP50": [0.2, 0.5, 0.1]} | {c: [1, 2, 3] for c in columns})
    terms = studies.comparison(models, {"steps": ("a", "b"), "compute": ("b", "c", "gone"), "alone": ("a", "gone")})
    assert terms[["terms", "model"]].values.tolist() == [
        ["steps", "b"], ["steps", "a"], ["compute", "b"], ["compute", "c"]]  # fmt: skip
    assert len(studies.comparison(models, {"alone": ("a",)})) == 0


def test_where_attention_looks(tmp_path):
    """All weight of one head below and left of the query: there is the brightest cell, as wide as the stride."""
    cells = [(d, r) for d in range(-16, 17, 8) for r in range(-16, 17, 8)]
    rows = [{"modality": m, "stride": s, "head": h, "down": d, "right": r, "weight": float(d == 16 == -r and h == 1)}
            for m in ("spectral", "terrain") for s in (4, 16) for h in (0, 1) for d, r in cells]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "looks.csv")
    panels = looks(tmp_path / "looks.csv").axes
    assert [a.get_title() for a in panels] == ["stride 4", "stride 16", "", ""]
    assert [panels[k].get_ylabel() for k in (0, 2)] == ["spectral", "terrain"]
    fine, coarse = panels[0].images[0], panels[1].images[0]
    assert np.argwhere(fine.get_array()).tolist() == [[4, 0]] and fine.get_extent() == [-20, 20, 20, -20]
    assert coarse.get_array().tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert coarse.get_extent() == [-24, 24, 24, -24] and panels[1].get_xlim() == (-16, 16)
