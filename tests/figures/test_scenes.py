"""The map as a figure covers no slump: legend, scale bar and north arrow stand outside it."""

import geopandas as gpd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from rtslib.data.scenes import open_scene
from rtslib.figures.scenes import map_figure
from rtslib.figures.style import PAGE
from rtslib.synthetic.scene import write_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return open_scene(write_scene(tmp_path_factory.mktemp("scene") / "s", 256, 0))


def found_in(scene, shrunk=0.0):
    shapes = scene.truth.geometry.centroid.buffer(shrunk) if shrunk else scene.truth.geometry
    return gpd.GeoDataFrame({"id": range(len(shapes)), "score": 0.7}, geometry=list(shapes), crs=scene.truth.crs)


@pytest.mark.parametrize("shrunk", [0.0, 8.0], ids=["large", "with places"])
def test_nothing_lies_on_the_map(scene, shrunk):
    found = found_in(scene, shrunk)
    scene = type(scene)(scene.folder, scene.stack, None) if shrunk else scene  # known ones are large
    figure = map_figure(scene, found, "A map")
    FigureCanvasAgg(figure).draw()
    maps = [a for a in figure.axes if a.images and a.get_label() != "<colorbar>"]
    assert len(maps) == (1 if not shrunk else 1 + min(3, len(found)))
    for axes in maps:
        inside = axes.bbox.shrunk(0.995, 0.995)
        bars = [p for p in axes.patches if isinstance(p, Rectangle) and not p.get_clip_on()]
        assert len(bars) == 2
        said = [t for t in axes.texts if t.get_text() and t.get_text() not in "ABC"]
        assert any(t.get_text().endswith(" m") for t in said)
        for artist in (*bars, *said, *([axes.get_legend()] if axes.get_legend() else [])):
            box = artist.get_window_extent()
            assert not box.overlaps(inside), artist
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, artist
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, artist
    main = maps[0]
    assert "N" in [t.get_text() for t in main.texts] and main.get_legend() and figure.get_figwidth() == PAGE
