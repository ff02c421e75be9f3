"""The style of all figures: sizes of print, one look a model, names that people read.

A figure is drawn at the size at which it is printed: `COLUMN` (8.5 cm, one column of a journal) or `PAGE` (17.5 cm,
both). Text is 6 to 8 pt there.

The *look* of a model is its colour, dash and symbol. It hangs on the name alone, so that a model looks the same in
every chart of every data set. In charts colour means a model and nothing else; what is not a model is black or grey.
A colour stands for a family (true colour alone, stacked bands, residual attention ...), dash and symbol for the way of
training, dots and triangles for "from scratch". So nothing hangs on colour alone. On imagery known slumps are yellow;
on a map, whose score ramp begins at yellow, cyan (`rtslib.figures.scenes`).

The colours were searched for: any two differ by 15 or more (CIEDE2000), as normal eyes see them and as Machado et al.
2009 (doi 10.1109/TVCG.2009.113) simulate protanopia, deuteranopia and tritanopia (`tests/figures/test_style.py`).
"""

import textwrap
import zlib
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from rtslib.files import whole

CM = 1 / 2.54  # inches
COLUMN, PAGE, DPI = 8.5 * CM, 17.5 * CM, 200
RC: Any = {
    "font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 7.5, "axes.labelsize": 7, "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5, "legend.fontsize": 6.5, "legend.title_fontsize": 6.5, "figure.titlesize": 8,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.major.size": 2.5, "lines.linewidth": 1.2, "lines.markersize": 4, "grid.linewidth": 0.5, "grid.alpha": 0.35,
    "legend.frameon": False, "figure.facecolor": "white", "axes.axisbelow": True, "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path", "svg.hashsalt": "rtslib", "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.03,
}  # fmt: skip

BLUE, RUST, GREEN, PURPLE = "#2B3F99", "#B33000", "#1F7A5C", "#9966A6"
ORANGE, SKY, GREY, BLACK = "#E68A1A", "#6FA0FF", "#999999", "#000000"
PALETTE = (BLUE, RUST, GREEN, PURPLE, ORANGE, SKY, GREY, BLACK)
#: What is drawn beside models: values of all, of a mean, of one that is not named.
INK, PALE = "#262626", "#C4C4C4"


class Look(NamedTuple):
    """How a model is named and drawn."""

    label: str
    colour: str
    dash: Any
    symbol: str

    @property
    def line(self) -> dict[str, Any]:
        """Colour and dash, as `Axes.plot` takes them."""
        return {"color": self.colour, "linestyle": self.dash}


DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2.5)))
SYMBOLS = "os^DvX"


def _family(colour: str, **labels: str) -> dict[str, Look]:
    """Looks of one colour; a dash and a symbol each, in order, `_` for those that the family does without."""
    kinds = zip(labels.items(), DASHES, SYMBOLS, strict=False)
    return {n: Look(said, colour, dash, symbol) for (n, said), dash, symbol in kinds if not n.startswith("_")}


#: Model -> look. Third of a family, dotted and a triangle, is what was trained from scratch.
LOOKS: dict[str, Look] = {
    **_family(BLUE, rgb="true colour", rgb_continued="true colour, continued",
              rgb_scratch="true colour, from scratch", rgb_imagenet="true colour, from ImageNet"),
    **_family(GREEN, spectral="spectral", spectral_continued="spectral, continued"),
    **_family(ORANGE, terrain="terrain", terrain_continued="terrain, continued"),
    **_family(BLACK, data="stacked bands", data_long="stacked bands, long",
              data_scratch="stacked bands, from scratch", data_start="stacked bands, first half",
              data_imagenet="stacked bands, from ImageNet"),
    **_family(PURPLE, concat_conv="concatenation", _="", concat_scratch="concatenation, from scratch"),
    **_family(SKY, merge_only="merging only", sum="sum", _="", gated="gated"),
    **_family(RUST, residual_cross_attention="residual attention", residual_frozen="residual, frozen",
              residual_scratch="residual, from scratch", residual_thawed="residual, thawed",
              residual_dropout="residual, dropout", cross_attention="plain attention"),
    **_family(GREY, channel_attention="channel attention", cbam="CBAM", _="", decision="late decision",
              trees="trees on pixels", data_trees="stacked bands and trees"),
}  # fmt: skip
#: Those that are named where there is room for some only.
HEADLINE = ("rgb", "spectral", "terrain", "rgb_continued", "data", "concat_conv", "merge_only",
            "residual_cross_attention")  # fmt: skip

#: What a detection on known ground is -> colour, dash; on imagery, over a dark rim.
HIT, FALSE_ALARM, MISSED = ("#56B4E9", "-"), ("#E8501F", (0, (3, 1.2))), ("#F0E442", (0, (1, 1)))
KNOWN = MISSED[0]


def look(name: str) -> Look:
    """Return the look of a model; one that is not listed gets one by its name, the same in every chart."""
    if name in LOOKS:
        return LOOKS[name]
    number = zlib.crc32(name.encode())
    dash = number // len(PALETTE) % len(DASHES)
    return Look(name.replace("_", " "), PALETTE[number % len(PALETTE)], DASHES[dash], SYMBOLS[dash])


def labels(names: Iterable[str]) -> list[str]:
    """Return how models are named in figures."""
    return [look(name).label for name in names]


def narrow(name: str, width: int = 14) -> str:
    """Return how a model is named above a narrow panel, in lines of about `width` letters."""
    return textwrap.fill(look(name).label, width)


P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function that returns a figure draw it in this style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def sheet(height: float, width: float = COLUMN) -> Figure:
    """Return an empty figure, inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


@styled
def sentence(text: str, width: float = COLUMN) -> Figure:
    """Return a figure that says in words why there is nothing to draw."""
    lines = textwrap.wrap(text, int(width / CM * 6.2))
    figure = sheet(0.35 + 0.14 * len(lines), width)
    figure.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", color=INK, linespacing=1.4)
    return figure


def label(axes: Axes, x: str, y: str) -> None:
    """Name both axes, with units in the names, and take the frame's upper and right side away."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure, axes: Axes, columns: int = 2, **how: Any) -> None:
    """Put the legend of some axes under the figure, where it covers nothing."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=2.6, **how)


def rim(width: float, colour: str = "#101010", alpha: float = 0.8) -> list:
    """Return the path effect that keeps a line of `width` pt, or text, legible on any picture."""
    return [withStroke(linewidth=width, foreground=colour, alpha=alpha)]


def save(figure: Figure, path: str | Path, dpi: int = DPI) -> Path:
    """Write a figure as PNG or SVG by its suffix, whole or not at all, the same bytes each time. Raises OutputError."""
    path = Path(path)
    svg = path.suffix == ".svg"
    nothing = {"Date": None, "Creator": None} if svg else {"Software": None}
    with whole(path) as part, rc_context(RC):
        figure.savefig(part, dpi=dpi, format="svg" if svg else "png", metadata=nothing)
    return path


def show(figure: Figure, path: str | Path, dpi: int = DPI) -> Any:
    """Save a figure as PNG and return that for a notebook to display. Raises OutputError."""
    return shown(save(figure, path, dpi), dpi)


def shown(path: Path, dpi: int = DPI) -> Any:
    """Return a PNG for a notebook to display, half as large again as in print."""
    from IPython.display import Image
    from PIL import Image as Picture

    with Picture.open(path) as picture:
        return Image(filename=str(path), width=round(picture.width / dpi * 96 * 1.5))
