"""The style: colours that colour-blind readers tell apart, one look a model, files that are the same each time."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from rtslib.figures import style
from rtslib.study.plan import planned

#: Machado, Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113), severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def seen(colours, vision):
    """Return sRGB (n,3) of colours as an eye sees them."""
    light = np.clip(linear(np.array([to_rgb(c) for c in colours])) @ np.array(VISION[vision]).T, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def least_difference(colours, vision):
    lab = rgb2lab(seen(colours, vision)[None])[0]
    return min(deltaE_ciede2000(lab[i], lab[j]) for i, j in combinations(range(len(colours)), 2))


def luminance(colour):
    return float(linear(np.array(to_rgb(colour))) @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    """WCAG 2's contrast ratio, 1 to 21."""
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_the_simulation_sees_what_is_known():
    """A brown and a green fall together for a deuteranope, blue and yellow do not; white stays white."""
    assert (
        least_difference(["#B8860B", "#6FA00B"], "normal")
        > 20
        > 8
        > least_difference(["#B8860B", "#6FA00B"], "deuteranopia")
    )
    assert least_difference(["#0000FF", "#FFFF00"], "deuteranopia") > 50
    for vision in VISION:
        np.testing.assert_allclose(seen(["white", "black"], vision), [[1, 1, 1], [0, 0, 0]], atol=0.01)


@pytest.mark.parametrize("vision", VISION)
def test_colours_of_models_can_be_told_apart(vision):
    assert least_difference(style.PALETTE, vision) > 15
    assert least_difference([c for c, _ in (style.HIT, style.FALSE_ALARM, style.MISSED)], vision) > 15


def test_lines_are_seen_on_white_and_outlines_on_their_rim():
    assert min(contrast(c, "white") for c in style.PALETTE) > 2.5
    assert min(contrast(c, "#101010") for c, _ in (style.HIT, style.FALSE_ALARM, style.MISSED)) > 4.5


def test_every_model_of_every_study_has_a_look_and_a_name_of_its_own():
    names = set(planned("two_stage", ("rgb", "spectral", "terrain"), 2)) | set(
        planned("transfer", ("rgb", "terrain"), 4)
    )
    names |= set(planned("transfer", ("rgb", "terrain"), 4, pretrained=True, source=True))
    assert names <= set(style.LOOKS) and set(style.HEADLINE) <= set(style.LOOKS)
    every = list(style.LOOKS.values())
    assert len({(look.colour, str(look.dash)) for look in every}) == len(every)
    assert len({(look.colour, look.symbol) for look in every}) == len(every) == len({look.label for look in every})
    assert not [look.label for look in every if "_" in look.label]
    assert style.look("residual_cross_attention").label == "residual attention"
    assert {style.look(n).symbol for n in names if n.endswith("scratch")} == {"^"}


def test_a_model_that_is_not_listed_has_one_look_too():
    mine = style.look("my_model")
    assert mine == style.look("my_model") and mine.label == "my model" and mine.colour in style.PALETTE


def test_names_of_verdicts_differ_in_dash():
    assert len({str(dash) for _, dash in (style.HIT, style.FALSE_ALARM, style.MISSED)}) == 3


@style.styled
def a_line(width=style.COLUMN):
    figure = style.sheet(1.5, width)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="$x^2$")
    style.label(axes, "x (m)", "y (m)")
    style.legend_below(figure, axes)
    return figure


def test_files_are_the_same_each_time(tmp_path):
    for suffix in ("png", "svg"):
        paths = [style.save(a_line(), tmp_path / f"{k}.{suffix}") for k in range(2)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"<svg" in paths[0].read_bytes() and b"date" not in paths[0].read_bytes()


def test_a_figure_has_the_width_of_a_column_and_leaves_matplotlib_alone(tmp_path):
    from PIL import Image

    before = dict(matplotlib.rcParams)
    with Image.open(style.save(a_line(), tmp_path / "a.png")) as picture:
        assert abs(picture.width - 8.5 / 2.54 * 200) < 1 and picture.info["dpi"][0] == pytest.approx(200, abs=0.1)
    assert dict(matplotlib.rcParams) == before
    assert a_line().axes[0].xaxis.get_ticklabels()[0].get_fontsize() == 6.5


def test_a_sentence_stands_within_its_figure():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = style.sentence("Nothing was found that could be drawn here, and this says so at some length. " * 3)
    FigureCanvasAgg(figure).draw()
    box, page = figure.texts[0].get_window_extent(), figure.bbox
    assert page.x0 < box.x0 and box.x1 < page.x1 and page.y0 < box.y0 and box.y1 < page.y1
