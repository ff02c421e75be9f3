"""What is read from another modality, drawn on chips."""

import numpy as np

from helpers.trained import data  # noqa: F401 (fixture)
from rtslib.data.opening import open_chips
from rtslib.figures.attention import query_place, readings
from rtslib.figures.examples import pick
from rtslib.figures.style import KNOWN, PAGE


def test_readings_lie_over_their_chips(data):
    chips = open_chips(data)
    shown = pick(chips, chips.chips, count=2)
    read = [(np.full((3, 3), 0.1), np.arange(9.0).reshape(3, 3)) for _ in shown]
    figure = readings(chips, shown, read, "terrain", "shaded_relief")
    panels = [a for a in figure.axes if a.get_label() != "<colorbar>"]
    assert "weighs terrain there" in panels[1].get_title()
    for k, chip in enumerate(shown):
        for axes in panels[3 * k : 3 * k + 3]:
            assert axes.get_xlim() == (-0.5, chip.width - 0.5)
            assert tuple(axes.lines[-1].get_xydata()[0]) == query_place(chips, chip)[::-1]  # the cross
            assert KNOWN in {line.get_color() for line in axes.lines}
        assert panels[3 * k + 2].images[0].get_array().tolist() == read[k][1].tolist()
    assert figure.get_figwidth() == PAGE
