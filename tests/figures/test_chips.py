"""Galleries: columns follow the data, outlines follow the masks, no data is shown as such."""

import numpy as np
import pytest
from matplotlib.contour import QuadContourSet

from helpers.chip_folders import write_challenge, write_coco
from rtslib.data.opening import open_chips
from rtslib.errors import ConfigError
from rtslib.figures import chips as figures
from rtslib.figures.style import PAGE
from rtslib.synthetic.chips import write_challenge as write_landscape


def drawn(figure):
    """Return the figure's pixels as uint8 (h,w,4)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_gallery_of_the_landscape_shows_all_columns(tmp_path):
    chips = open_chips(write_landscape(tmp_path / "set", 3, (64, 96), seed=2))
    figure = figures.gallery(chips, chips.chips, title="three chips")
    panels = [a for a in figure.axes if a.images]
    assert len(panels) == 3 * len(figures.DEFAULT)
    titles = [a.get_title() for a in panels if a.get_title()]
    assert titles[0] == "red, green, blue" and "relative elevation (m)" in titles and len(titles) == 5
    wanted = [len(chips.instances[c.id]) for c in chips.chips]
    outlines = [sum(isinstance(x, QuadContourSet) for x in a.get_children()) for a in panels]
    assert sum(wanted) > 0 and sorted(outlines) == sorted(np.repeat(wanted, 5))
    assert any("100 m" in t.get_text() for a in panels for t in a.texts)
    assert drawn(figure).std() > 20
    lines = [x for a in panels for x in a.get_children() if isinstance(x, QuadContourSet)]
    assert all(line.get_path_effects() for line in lines)  # a dark rim: yellow alone is lost on bare ground in NDVI
    sizes = {t.get_fontsize() for a in panels for t in (*a.texts, a.title, a.yaxis.label)}
    assert min(sizes) >= 6 and figure.get_figwidth() <= PAGE


def test_columns_share_one_scale_and_voids_stay_blank(tmp_path):
    chips = open_chips(write_landscape(tmp_path / "set", 2, 64, seed=4))
    data = {c.id: chips.read(c) for c in chips.chips}
    data[chips.chips[0].id][4, :20, :20] = np.nan
    object.__setattr__(chips, "reader", lambda c: data[c.id])
    figure = figures.gallery(chips, chips.chips, columns=["relative_elevation"])
    images = [a.images[0] for a in figure.axes if a.images]
    assert len(images) == 2 and images[0].norm.vmax == images[1].norm.vmax == -images[0].norm.vmin
    assert images[0].get_array().mask[:20, :20].all() and images[0].get_cmap().get_bad()[3] == 0
    assert any("no data" in t.get_text() for t in figure.legends[0].get_texts())


def test_gallery_of_images_alone_has_one_column(tmp_path):
    chips = open_chips(write_coco(tmp_path))
    figure = figures.gallery(chips, chips.chips[:2])
    panels = [a for a in figure.axes if a.images]
    assert len(panels) == 2 and drawn(figure).shape[2] == 4


def test_gallery_says_what_it_cannot_draw(tmp_path):
    chips = open_chips(write_challenge(tmp_path))
    with pytest.raises(ConfigError, match="no chip"):
        figures.gallery(chips, [])
    with pytest.raises(ConfigError, match="slope"):
        figures.gallery(chips, chips.chips, columns=["slope"])


@pytest.mark.parametrize(("width", "bar"), [(1160, 200), (512, 100), (3.5, 1), (2560, 500), (30_000, 10_000)])
def test_scale_bars_are_round(width, bar):
    assert figures.bar_metres(width) == bar
