"""The map for people as a figure: outlines lie where they should, lengths are those of the ground."""

import tracemalloc

import geopandas as gpd
import numpy as np
import pytest

from helpers.pages import SIZE, detections, on_ground, scene  # noqa: F401
from rtslib.figures.scenes import ground_metres, map_figure, round_down, true_north, zooms


def test_the_figure_shows_outlines_and_true_lengths(scene, detections, tmp_path):
    figure = map_figure(scene, detections, "A map")
    axes = figure.axes[0]
    assert axes.get_xlim() == (500_000, 502_000) and axes.get_ylim() == (7_698_000, 7_700_000)
    assert [len(drawn.get_paths()) for drawn in axes.collections] == [3, 3, 2]  # rim and line, and what is known
    texts = [t.get_text() for t in axes.texts] + [t.get_text() for t in axes.get_legend().get_texts()]
    assert {"200 m", "N", "Mapped slumps (3)", "Known slumps (2)"} <= set(texts)
    figure.savefig(tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 20_000


def test_small_slumps_get_a_closer_look(scene, detections):
    assert zooms(scene, detections) == []  # large in this scene
    small = detections.set_geometry(detections.geometry.centroid.buffer(20))
    far = type(scene)(scene.folder, scene.stack, None)
    found = zooms(far, small)
    assert len(found) == 3 and {w.width for w in found} == {48}
    assert all(0 <= w.col_off <= SIZE - 48 and 0 <= w.row_off <= SIZE - 48 for w in found)
    assert zooms(far, small.iloc[:0]) == []
    assert len(map_figure(far, small).axes) == 5  # map, three places, colour bar


def test_a_hundred_thousand_slumps_are_drawn(scene, detections):
    """In linear time and memory: pairs of them, 10 GB as bools, are never made, and no line is an object of its own."""
    n, rng = 100_000, np.random.default_rng(0)
    rows, cols = rng.uniform(0, SIZE - 2, (2, n))
    shapes = [on_ground(r, c, r + 1, c + 1) for r, c in zip(rows, cols, strict=True)]
    many = gpd.GeoDataFrame({"score": rng.uniform(0.3, 1, n)}, geometry=shapes, crs=detections.crs)
    tracemalloc.start()
    figure = map_figure(scene, many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e9 and len(figure.axes) == 5 and not figure.axes[0].lines
    drawn = {c.get_linewidth()[0]: len(c.get_paths()) for c in figure.axes[0].collections}
    assert drawn[1.4] == drawn[2.4] == n


def test_north_and_lengths():
    assert true_north("EPSG:32608", 500_000, 7_700_000) == pytest.approx(90, abs=0.01)
    assert true_north("EPSG:3413", -1_988_000, -296_000) == pytest.approx(8.5, abs=0.1)  # points along the pole
    assert ground_metres("EPSG:32608", 500_000, 7_700_000, 1000) == pytest.approx(1000.4, abs=0.05)
    assert [round_down(v) for v in (1, 4.9, 5, 730, 0.03)] == [1, 2, 5, 500, 0.02]
