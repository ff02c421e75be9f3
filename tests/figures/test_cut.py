"""The figure of a cut shows each chip where it lies, filled where it has slumps."""

import geopandas as gpd
from matplotlib.collections import PolyCollection
from shapely import box

from rtslib.figures.cut import cut_figure

CRS = "EPSG:32608"


def test_chips_lie_where_they_are_and_are_filled_by_slumps(tmp_path):
    squares = [box(x, 7_700_000, x + 160, 7_700_160) for x in (500_000, 500_160, 500_500)]
    frame = gpd.GeoDataFrame({"group": ["a", "a", "b"], "slumps": [2, 0, 1]}, geometry=squares, crs=CRS)
    frame.to_file(tmp_path / "chips.gpkg", layer="chips", driver="GPKG")
    known = gpd.GeoDataFrame(geometry=[box(500_010, 7_700_010, 500_060, 7_700_060)], crs=CRS)
    figure = cut_figure(tmp_path / "chips.gpkg", known, area=box(500_000, 7_700_000, 500_300, 7_700_100))
    (axes,) = figure.axes
    drawn = [c for c in axes.collections if isinstance(c, PolyCollection)]
    filled = [len(c.get_facecolor()) for c in drawn]
    assert sorted(filled) == [0, 1, 1] and sum(len(c.get_paths()) for c in drawn) == 3
    left, right = axes.get_xlim()
    assert left < 500_000 and right > 500_660 and right - left < 700
    assert axes.get_title() == "3 chips, 2 with slumps, in 2 site groups (colours)"
    figure.savefig(tmp_path / "chips.png")
