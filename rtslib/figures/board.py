"""A board: boxes with text and arrows between them, at the size of print, for diagrams.

Places are cm from the lower left corner, as on paper, so that what is drawn is what was measured out.
"""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from rtslib.figures.style import CM, COLUMN, INK

#: A box with weights that are trained; one that only passes numbers on.
TRAINED, PLAIN = "#DFE6F5", "#FFFFFF"
#: Left and right end of what is drawn, cm.
LEFT, RIGHT = 0.2, COLUMN / CM - 0.2


class Box(NamedTuple):
    """A box by its middle and size, cm."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> float:
        """Height of its upper edge."""
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        """Height of its lower edge."""
        return self.y - self.height / 2

    @property
    def left(self) -> float:
        """Place of its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Place of its right edge."""
        return self.x + self.width / 2


class Board:
    """A figure of one column's width and `height` cm."""

    def __init__(self, height: float) -> None:
        self.figure = Figure(figsize=(COLUMN, height * CM))
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, COLUMN / CM), ylim=(0, height))
        self.axes.set_axis_off()

    def box(self, x: float, y: float, width: float, height: float, text: str, tint: str = PLAIN) -> Box:
        """Put a box around a text; x, y is its middle."""
        shape = FancyBboxPatch((x - width / 2, y - height / 2), width, height, "round,pad=0,rounding_size=0.1")
        shape.set(facecolor=tint, edgecolor=INK, linewidth=0.7, zorder=2)
        self.axes.add_patch(shape)
        self.text(x, y, text, 6.2)
        return Box(x, y, width, height)

    def text(self, x: float, y: float, text: str, size: float = 6.2) -> None:
        """Write around a place."""
        self.axes.text(x, y, text, ha="center", va="center", fontsize=size, zorder=3, linespacing=1.3)

    def lead(self, *points: tuple[float, float], note: str = "") -> None:
        """Lead an arrow along points; a note stands at the right of its first stretch."""
        (x0, y0), (x1, y1) = points[:2]
        for (a, b), (c, d) in zip(points[:-2], points[1:-1], strict=True):
            self.axes.plot([a, c], [b, d], color=INK, linewidth=0.8, solid_capstyle="projecting", zorder=1)
        arrow = {"arrowstyle": "-|>,head_width=0.15,head_length=0.3", "linewidth": 0.8, "color": INK}
        self.axes.annotate("", points[-1], points[-2], arrowprops=arrow | {"shrinkA": 0, "shrinkB": 0}, zorder=1)
        if note:
            x, y = (x0 + x1) / 2 + 0.1, (y0 + y1) / 2
            self.axes.text(x, y, note, fontsize=5.6, ha="left", va="center", color=INK, linespacing=1.15)

    def down(self, start: Box, end: Box, x: float | None = None, note: str = "") -> None:
        """Lead straight from one box down to another, at `x` or the middle of the narrower one."""
        at = x if x is not None else min(start, end, key=lambda box: box.width).x
        self.lead((at, start.bottom), (at, end.top), note=note)
