"""The map as a figure: imagery, mapped slumps coloured by score, known slumps dashed.

It shows the scene in its own CRS, so neither imagery nor outlines are resampled. The scale bar measures
the ground (geodesic on WGS 84, not map units), and the arrow points to true north, which in polar
stereographic maps is seldom up. Both, and the legend, stand outside the map, so that they cover no slump.
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
from matplotlib.transforms import offset_copy
from rasterio.windows import Window
from scipy.spatial import cKDTree

from rtslib.data.scenes import Scene
from rtslib.figures import overview
from rtslib.figures.style import DPI, PAGE, sheet, styled
from rtslib.mapping.styles import SCORE_RAMP

#: Colour of known slumps, here and on the interactive map.
TRUTH_COLOUR = "#19e3ff"


@styled
def map_figure(
    scene: Scene, detections: gpd.GeoDataFrame, title: str = "", least: float = 0.3, width: float = PAGE
) -> Figure:
    """Draw a mapped scene and, where its slumps are small in it, up to three places at full resolution.

    Args:
        scene: the opened scene; its truth is drawn if known.
        detections: what `rtslib.mapping.maps.map_region` returned, in the scene's CRS.
        title: one line above the map.
        least: score at the lower end of the colour ramp; the upper end is 1.
        width: of the figure, inches.

    Returns:
        A matplotlib figure, to be shown or saved.
    """
    ramp = ScalarMappable(colors.Normalize(least, 1), colors.LinearSegmentedColormap.from_list("score", SCORE_RAMP))
    places = zooms(scene, detections)
    aspect = scene.stack.height / scene.stack.width  # of the map, that has three quarters of the width beside places
    tall = aspect * (0.75 if places else 1) * (width - 1.2)
    figure = sheet(min(max(tall, 2.5), 9) + 1.2, width)
    figure.set_dpi(DPI)
    cast(Any, figure.get_layout_engine()).set(w_pad=0.05, h_pad=0.05)
    ratios = [3, 1] if places else [1]
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
    bar.set_label("score of the detection")
    figure.suptitle(title)
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
        _scale_bar(axes, self.scene.stack.crs, 3)
        axes.set_title(name, loc="right", weight="bold", fontsize=8, pad=2)
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        main.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="black", linewidth=1.1))
        main.text(x0, y1, name, ha="right", va="bottom", weight="bold", fontsize=8, path_effects=_halo(), clip_on=True)


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
    axes.tick_params(color="#90a4ae")
    unit = "degrees" if degrees else "km"
    axes.set_xlabel(f"x, {unit} ({scene.stack.crs.to_string()})")
    axes.set_ylabel(f"y, {unit}")


def _scale_bar(axes: Axes, crs: object, part: float = 5) -> None:
    """A bar of a round length on the ground, about 1 / `part` of the width, above the map at its left."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    w = x1 - x0
    metres_a_unit = ground_metres(crs, (x0 + x1) / 2, (y0 + y1) / 2, w) / w
    metres = round_down(w * metres_a_unit / part)
    length, above = metres / metres_a_unit, axes.get_xaxis_transform()  # x in map units, y in heights of the map
    thick = 0.055 / part
    for k, colour in enumerate(("black", "white")):
        half = Rectangle((x0 + k * length / 2, 1 + thick), length / 2, thick, transform=above, clip_on=False)
        half.set(facecolor=colour, edgecolor="black", linewidth=0.6)
        axes.add_patch(half)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    at = offset_copy(above, cast(Any, axes.figure), 3, 0, "points")
    axes.text(x0 + length, 1 + 1.5 * thick, text, transform=at, va="center", fontsize=6.5)


def _north(axes: Axes, scene: Scene) -> None:
    """An arrow to true north, above the map at its right."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    angle = math.radians(true_north(scene.stack.crs, (x0 + x1) / 2, (y0 + y1) / 2))
    right, up = 9 * math.cos(angle), 9 * math.sin(angle)  # half an arrow, points; its middle is above the corner
    style: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
    arrow: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.25,head_length=0.5", "linewidth": 1.2, "color": "black"}
    arrow |= {"shrinkA": 0, "shrinkB": 0}
    tip = offset_copy(axes.transAxes, cast(Any, axes.figure), right - 14, up + 14, "points")
    axes.annotate("", (1, 1), (-2 * right, -2 * up), xycoords=tip, arrowprops=arrow, **style)
    axes.annotate("N", (1, 1), (0.7 * right, 0.7 * up), xycoords=tip, ha="center", va="center", weight="bold", **style)


def _legend(axes: Axes, detections: gpd.GeoDataFrame, scene: Scene) -> None:
    """What the outlines are, and how many, below the map."""
    rim = withStroke(linewidth=3.2, foreground="#404040")
    entries: list[tuple[str, Any, str]] = [(SCORE_RAMP[1], "-", f"Mapped slumps ({len(detections)})")]
    if scene.truth is not None:
        entries.append((TRUTH_COLOUR, (0, (2, 1.2)), f"Known slumps ({len(scene.truth)})"))
    handles = [
        Line2D([], [], color=c, linestyle=d, linewidth=1.8, path_effects=[rim], label=said) for c, d, said in entries
    ]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2, handlelength=3.2)
