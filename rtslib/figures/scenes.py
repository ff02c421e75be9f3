"""The map as a figure: imagery, mapped slumps coloured by score, known slumps dashed.

It shows the scene in its own CRS, so neither imagery nor outlines are resampled. The scale bar measures
the ground (geodesic on WGS 84, not map units), and the arrow points to true north, which in polar
stereographic maps is seldom up.
"""

import math
from typing import Any, cast

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from rasterio.windows import Window
from scipy.spatial import cKDTree

from rtslib.data.scenes import Scene
from rtslib.figures import overview

#: Colours of the score ramp (low to high) and of known slumps, here and on the interactive map.
SCORE_RAMP = ("#ffe08a", "#ff9f1c", "#ff2e63")
TRUTH_COLOUR = "#19e3ff"


def map_figure(
    scene: Scene, detections: gpd.GeoDataFrame, title: str = "", least: float = 0.3, height: float = 7.0
) -> Figure:
    """Draw a mapped scene and, where its slumps are small in it, up to three places at full resolution.

    Args:
        scene: the opened scene; its truth is drawn if known.
        detections: what `rtslib.mapping.maps.map_region` returned, in the scene's CRS.
        title: one line above the map.
        least: score at the lower end of the colour ramp; the upper end is 1.
        height: of the figure, inches.

    Returns:
        A matplotlib figure, to be shown or saved.
    """
    ramp = ScalarMappable(colors.Normalize(least, 1), colors.LinearSegmentedColormap.from_list("score", SCORE_RAMP))
    places = zooms(scene, detections)
    aspect = scene.stack.width / scene.stack.height
    width = (height - 1) * aspect + 1.8 + (height / 3 - 0.3 if places else 0)
    figure = Figure(figsize=(max(width, 5.5), height), dpi=150, layout="constrained", facecolor="white")
    cast(Any, figure.get_layout_engine()).set(w_pad=0.08, h_pad=0.08)
    ratios = [(height - 1) * aspect, height / 3 - 0.3] if places else [1]
    grid = figure.add_gridspec(3 if places else 1, len(ratios), width_ratios=ratios)
    axes = figure.add_subplot(grid[:, 0])
    picture = _Picture(scene, detections, ramp)
    picture.draw(axes, None)
    _frame(axes, scene)
    _legend(axes, detections, scene)
    _scale_bar(axes, scene.stack.crs)
    _north(axes, scene)
    for k, window in enumerate(places):
        picture.draw_zoom(figure.add_subplot(grid[k, 1]), axes, window, "ABC"[k])
    bar = figure.colorbar(ramp, ax=axes, shrink=0.4, aspect=24, pad=0.015, location="right")
    bar.set_label("Score of the detection", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=11)
    return figure


def zooms(scene: Scene, detections: gpd.GeoDataFrame, most: int = 3) -> list[Window]:
    """Choose square windows, in pixels of the scene, around the places with most slumps, mapped or known.

    Returns:
        At most `most` windows inside the scene, the fullest first, none overlapping another; none where
        there is no slump, or where slumps are so large that the whole scene shows them well.
    """
    shapes = [*detections.geometry, *(scene.truth.geometry if scene.truth is not None else ())]
    if not shapes:
        return []
    boxes = shapely.bounds(shapes)
    pixel, limit = scene.stack.transform.a, min(scene.stack.height, scene.stack.width)
    typical = np.percentile((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 75) / pixel
    side = int(max(5 * typical, 48))
    if side > limit / 4:
        return []
    cols, rows = ~scene.stack.transform @ ((boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2)
    left = np.clip(cols - side / 2, 0, scene.stack.width - side).astype(int)
    top = np.clip(rows - side / 2, 0, scene.stack.height - side).astype(int)
    middles = np.column_stack([left + side / 2, top + side / 2])
    near = cKDTree(np.column_stack([cols, rows])).query_ball_point(middles, side / 2, p=np.inf, return_length=True)
    chosen: list[int] = []
    for k in np.argsort(-near, kind="stable"):
        if len(chosen) < most and all(max(abs(left[k] - left[j]), abs(top[k] - top[j])) >= side for j in chosen):
            chosen.append(int(k))
    return [Window(int(left[k]), int(top[k]), side, side) for k in chosen]


class _Picture:
    """Draws imagery, stretched to the part shown, and outlines into axes."""

    def __init__(self, scene: Scene, detections: gpd.GeoDataFrame, ramp: ScalarMappable) -> None:
        self.scene, self.detections, self.ramp = scene, detections, ramp
        self.bands = next(iter(overview.pictures(scene.stack).values()), scene.stack.bands[:1])
        self.whole = overview.read_overview(scene.stack, self.bands)
        self.limits = overview.limits(self.whole[0])

    def draw(self, axes: Axes, window: Window | None, width: float = 1.4) -> None:
        """Draw the part of the scene in `window`, or all of it; axes in map units."""
        stack, (values, transform), limits = self.scene.stack, self.whole, self.limits
        if window is not None:
            values = stack.read(self.bands, window)
            limits = overview.limits(values)
            transform = stack.transform @ Affine.translation(window.col_off, window.row_off)
        h, w = values.shape[1:]
        (left, top), (right, bottom) = transform @ (0, 0), transform @ (w, h)
        axes.set_facecolor("#eceff1")
        axes.imshow(overview.to_rgba(values, *limits), extent=(left, right, bottom, top), interpolation="nearest")
        here = shapely.box(left, bottom, right, top)
        found = self.detections[self.detections.intersects(here)]
        _outline(axes, found.geometry, "#00000090", width + 1)
        _outline(axes, found.geometry, self.ramp.to_rgba(found["score"]), width)
        if self.scene.truth is not None:
            known = self.scene.truth.geometry[self.scene.truth.intersects(here)]
            _outline(axes, known, TRUTH_COLOUR, 0.7 * width, (0, (4, 2.5)))
        axes.set(xlim=(left, right), ylim=(bottom, top))
        for spine in axes.spines.values():
            spine.set_color("#90a4ae")

    def draw_zoom(self, axes: Axes, main: Axes, window: Window, name: str) -> None:
        """Draw one place at full resolution and mark it on the main map."""
        self.draw(axes, window, 1.8)
        axes.set(xticks=[], yticks=[])
        _scale_bar(axes, self.scene.stack.crs, 3, 8)
        halo = _halo()
        axes.text(0.04, 0.96, name, transform=axes.transAxes, va="top", weight="bold", fontsize=10, path_effects=halo)
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        main.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="black", linewidth=1.1))
        main.text(x0, y1, name, ha="right", va="bottom", weight="bold", fontsize=10, path_effects=halo, clip_on=True)


def true_north(crs: object, x: float, y: float) -> float:
    """Return the direction of true north at a place, degrees counter-clockwise from the map's x axis."""
    from pyproj import Transformer

    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    lon, lat = to_map.transform(x, y, direction="INVERSE")
    at, north = to_map.transform(lon, lat), to_map.transform(lon, lat + 1e-4)  # there and back: x may go beyond 180
    return math.degrees(math.atan2(north[1] - at[1], north[0] - at[0]))


def ground_metres(crs: object, x: float, y: float, length: float) -> float:
    """Return the geodesic length, m, of a line of `length` map units along x, centred on (x, y)."""
    from pyproj import Geod, Transformer

    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    lon, lat = to_map.transform([x - length / 2, x + length / 2], [y, y], direction="INVERSE")
    return Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[2]


def round_down(value: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `value` (> 0)."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(f * power for f in (5, 2, 1) if f * power <= value * (1 + 1e-9))


def _outline(axes: Axes, shapes: gpd.GeoSeries, colours: Any, width: float, dash: Any = "-") -> None:
    """Draw all rings of polygons at once, in one colour or in a colour each."""
    parts, of_shape = shapely.get_parts(shapes.to_numpy(), return_index=True)
    rings, of_part = shapely.get_rings(parts, return_index=True)
    each = colours if isinstance(colours, str) else colours[of_shape[of_part]]
    lines = [shapely.get_coordinates(ring) for ring in rings]
    axes.add_collection(LineCollection(lines, colors=each, linewidths=width, linestyles=[dash], joinstyle="round"))


def _halo() -> list:
    """A white rim that keeps text legible on imagery."""
    return [withStroke(linewidth=2.5, foreground="white")]


def _frame(axes: Axes, scene: Scene) -> None:
    """Coordinates in km, or degrees, and the CRS's name."""
    degrees = scene.stack.crs.is_geographic
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3f}" if degrees else f"{v / 1000:,.1f}"))
    axes.tick_params(labelsize=7, color="#90a4ae")
    unit = "degrees" if degrees else "km"
    axes.set_xlabel(f"x, {unit} ({scene.stack.crs.to_string()})", fontsize=8)
    axes.set_ylabel(f"y, {unit}", fontsize=8)


def _scale_bar(axes: Axes, crs: object, part: float = 5, size: float = 9) -> None:
    """A bar of a round length on the ground, about 1 / `part` of the width, at the lower left."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    w, h = x1 - x0, y1 - y0
    metres_a_unit = ground_metres(crs, (x0 + x1) / 2, (y0 + y1) / 2, w) / w
    metres = round_down(w * metres_a_unit / part)
    x, y, length, thick = x0 + 0.04 * w, y0 + 0.04 * h, metres / metres_a_unit, (0.06 / part) * h
    for k, colour in enumerate(("black", "white")):
        half = Rectangle((x + k * length / 2, y), length / 2, thick, zorder=5)
        half.set(facecolor=colour, edgecolor="black", linewidth=0.8)
        axes.add_patch(half)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    axes.text(x + length / 2, y + 1.4 * thick, text, ha="center", va="bottom", fontsize=size, zorder=5,
              path_effects=_halo())  # fmt: skip


def _north(axes: Axes, scene: Scene) -> None:
    """An arrow to true north, at the upper right."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    angle = math.radians(true_north(scene.stack.crs, (x0 + x1) / 2, (y0 + y1) / 2))
    step = np.array([math.cos(angle), math.sin(angle)]) * 30  # points
    place: dict[str, Any] = {
        "xy": (0.95, 0.94), "xycoords": "axes fraction", "xytext": -step, "textcoords": "offset points",
    }  # fmt: skip
    arrow: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.35,head_length=0.6", "linewidth": 1.8, "color": "black"}
    arrow |= {"shrinkA": 5, "shrinkB": 0, "path_effects": _halo()}
    axes.annotate("", arrowprops=arrow, zorder=5, **place)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "weight": "bold"}
    axes.annotate("N", path_effects=_halo(), zorder=6, **style, **place)


def _legend(axes: Axes, detections: gpd.GeoDataFrame, scene: Scene) -> None:
    """What the outlines are, and how many."""
    handles = [Line2D([], [], color=SCORE_RAMP[1], linewidth=2, label=f"Mapped slumps ({len(detections)})")]
    if scene.truth is not None:
        handles.append(
            Line2D([], [], color=TRUTH_COLOUR, linewidth=1.6, linestyle=(0, (4, 2.5)),
                   label=f"Known slumps ({len(scene.truth)})")
        )  # fmt: skip
    axes.legend(handles=handles, loc="upper left", fontsize=8, facecolor="#37474f", labelcolor="white", framealpha=0.9)
