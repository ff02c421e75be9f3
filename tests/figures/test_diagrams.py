"""Diagrams say what the code does: what is drawn follows the config, and numbers are those of the modules."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch

from rtslib.config import Config
from rtslib.errors import ConfigError
from rtslib.figures import diagrams
from rtslib.models import crossing, mask_head, mvit, rpn


def said(figure):
    return " | ".join(t.get_text().replace("\n", " ") for t in figure.axes[0].texts)


def test_numbers_are_those_of_the_code():
    assert (diagrams.HEADS, diagrams.MASK_CELLS) == (crossing.HEADS, mask_head.SIDE)
    assert set(diagrams.MVIT) == set(mvit.SIZES)
    assert f"strides {rpn.STRIDES[0]} to {rpn.STRIDES[-1]}" in said(diagrams.fused_detector(Config()))


def test_the_detector_is_the_config_s():
    text = said(diagrams.fused_detector(Config()))
    assert text.count("branch: MViTv2 tiny") == len(Config().modalities) == 3 and "residual attention" in text
    assert "semantic" not in text and "semantic branch" in said(diagrams.fused_detector(Config(semantic=1.0)))
    two = {"rgb": ["red", "green", "blue"], "terrain": ["shaded_relief"]}
    other = said(diagrams.fused_detector(Config(modalities=two, fusion="concat_conv", cascade_ious=[0.5])))
    assert other.count("branch:") == 2 and "concatenation, at each of strides" in other and "cascade of 1" in other
    stacked = said(diagrams.fused_detector(Config(fusion="data", backbone="resnet50")))
    assert "one branch, resnet50, bands stacked" in stacked and "branch:" not in stacked


def test_the_cascade_is_the_config_s():
    text = said(diagrams.cascade(Config(cascade_ious=[0.4, 0.55], score_thresh=0.2, max_dets=7)))
    assert "overlap (IoU) of 0.4" in text and "of 0.55" in text and "stage 3" not in text
    assert "s > 0.2" in text and "best 7 of a chip" in text and "overlap a slump by 0.4" in text


def test_the_formulas_are_drawn():
    text = said(diagrams.residual_attention())
    assert all(formula in text for formula in diagrams.FORMULAS) and f"{crossing.HEADS} heads" in text


@pytest.mark.parametrize("draw", [diagrams.fused_detector, diagrams.cascade])
@pytest.mark.parametrize("fusion", ["decision", "trees", "ensemble"])
def test_what_is_no_network_is_refused(draw, fusion):
    with pytest.raises(ConfigError, match="no network"):
        draw(Config(fusion=fusion))


@pytest.mark.parametrize(
    "figure",
    [diagrams.fused_detector(Config(semantic=1.0)), diagrams.fused_detector(Config(fusion="data")),
     diagrams.residual_attention(), diagrams.cascade(Config()), diagrams.cascade(Config(cascade_ious=[0.5]))],
    ids=["detector", "stacked", "attention", "cascade", "one stage"],
)  # fmt: skip
def test_texts_fit_their_boxes(figure):
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    boxes = [p.get_window_extent() for p in axes.patches if isinstance(p, FancyBboxPatch)]
    texts = [t for t in axes.texts if t.get_text()]
    for text in texts:
        here = text.get_window_extent()
        middle = (here.x0 + here.x1) / 2, (here.y0 + here.y1) / 2
        around = [b for b in boxes if b.contains(*middle)]
        assert len(around) <= 1 and figure.bbox.x0 <= here.x0 and here.x1 <= figure.bbox.x1, text
        for box in around:
            assert box.x0 < here.x0 and here.x1 < box.x1 and box.y0 < here.y0 and here.y1 < box.y1, text
    for i, text in enumerate(texts):  # nothing is written on something else
        assert not any(text.get_window_extent().overlaps(t.get_window_extent()) for t in texts[:i]), text
