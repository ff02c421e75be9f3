"""What was cut: where chips lie, which of them have slumps, and their site groups."""

from itertools import cycle
from pathlib import Path

import geopandas as gpd
import shapely
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from rtslib.figures.scenes import TRUTH_COLOUR
from rtslib.figures.style import PALETTE


def cut_figure(chips: str | Path, truth: gpd.GeoDataFrame, area: shapely.Geometry | None = None) -> Figure:
    """Draw the chips of a cut set on the ground, filled where they have slumps, coloured by group; colours repeat.

    Args:
        chips: `chips.gpkg` of `rtslib.data.cutting.cutter`, with columns group and slumps.
        truth: known slumps, in the chips' CRS.
        area: where slumps were looked for, in the same CRS.
    """
    frame = gpd.read_file(chips)
    left, bottom, right, top = frame.total_bounds
    height = min(max(7 * (top - bottom) / (right - left), 3), 12)
    figure = Figure(figsize=(8.5, height + 0.8), dpi=150, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    colours = dict(zip(sorted(set(frame["group"])), cycle(PALETTE)))
    for (group, has), part in frame.groupby(["group", frame["slumps"] > 0]):
        outlines = [shapely.get_coordinates(square) for square in part.geometry]
        fill = {"facecolor": colours[group], "alpha": 0.55} if has else {"facecolor": "none"}
        axes.add_collection(PolyCollection(outlines, edgecolor=colours[group], linewidth=0.8, **fill))
    if len(shown := truth[truth.intersects(shapely.box(*frame.total_bounds))]):
        shown.boundary.plot(ax=axes, color="black", linewidth=1.6)
        shown.boundary.plot(ax=axes, color=TRUTH_COLOUR, linewidth=0.8)
    if area is not None:
        gpd.GeoSeries([area]).boundary.plot(ax=axes, color="0.3", linewidth=0.8, linestyle="--")
    edge = 0.02 * max(right - left, top - bottom)
    axes.set(xlim=(left - edge, right + edge), ylim=(bottom - edge, top + edge), aspect="equal")
    with_slumps = int((frame["slumps"] > 0).sum())
    axes.set_title(
        f"{len(frame)} chips, {with_slumps} with slumps, in {len(colours)} site groups (colours)", fontsize=10
    )
    axes.set_xlabel(f"{frame.crs.name}: {frame.crs.axis_info[0].name}, {frame.crs.axis_info[0].unit_name}", fontsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter(sep=" "))
    axes.tick_params(labelsize=7)
    marks = [
        Patch(facecolor="0.5", alpha=0.55, edgecolor="0.3", label="with slumps"),
        Patch(facecolor="none", edgecolor="0.3", label="without"),
        Line2D([], [], color=TRUTH_COLOUR, linewidth=2, label="known slumps"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
