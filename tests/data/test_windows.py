"""Windows cover a raster: every pixel, nothing outside, neighbours sharing at least `overlap` pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.rasters import cover
from rtslib.data.windows import starts
from rtslib.errors import ConfigError


@st.composite
def tilings(draw):
    window = draw(st.integers(1, 40))
    return draw(st.integers(1, 150)), draw(st.integers(1, 150)), window, draw(st.integers(0, window - 1))


@given(tilings())
def test_every_pixel_is_covered_and_no_window_leaves_the_raster(t):
    height, width, window, overlap = t
    seen = np.zeros((height, width), dtype=int)
    found = cover(height, width, window, overlap)
    for w in found:
        assert 0 <= w.row_off and w.row_off + w.height <= height
        assert 0 <= w.col_off and w.col_off + w.width <= width
        seen[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width] += 1
    assert seen.min() >= 1
    assert {(w.height, w.width) for w in found} == {(min(window, height), min(window, width))}


@given(tilings())
def test_neighbours_share_at_least_the_overlap(t):
    length, _, window, overlap = t
    s = starts(length, window, overlap)
    assert s[0] == 0 and s[-1] == max(length - window, 0)
    for a, b in zip(s, s[1:], strict=False):
        assert a < b and a + window - b >= overlap


def test_the_last_window_is_shifted_inward():
    assert starts(100, 40, 10) == [0, 30, 60]
    assert starts(101, 40, 10) == [0, 30, 60, 61]
    assert starts(256, 256, 64) == [0] and starts(10, 256, 64) == [0]


def test_a_raster_smaller_than_a_window_is_one_window():
    (w,) = cover(30, 50, 64, 16)
    assert (w.row_off, w.col_off, w.height, w.width) == (0, 0, 30, 50)


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (32, 32), (32, -1), (32, 40)])
def test_impossible_sizes_are_refused(window, overlap):
    with pytest.raises(ConfigError, match="overlap"):
        cover(100, 100, window, overlap)
