"""Pictures of chips: what each band shows of the same ground, with the outlines of its slumps.

A *gallery* has one chip a row and one band group a column. All chips of a column share one scale of
colours, so that rows compare; only the image is stretched chip by chip, as a viewer would. No data is
plain grey, never a colour of the scale.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.masks import decode
from rtslib.errors import ConfigError
from rtslib.figures.style import KNOWN, PAGE, rim, sheet, styled

NO_DATA = "#b0b0b0"
#: band -> (title with unit, colour map, lowest, highest); None: from the chips shown, zero in the middle
STYLES: dict[str, tuple[str, str, float | None, float | None]] = {
    "ndvi": ("NDVI (-1 to 1)", "YlGn", -0.1, 0.8), "ndwi": ("NDWI (-1 to 1)", "YlGnBu", -0.7, 0.4),
    "nir": ("near infrared (as in the files)", "cividis", None, None),
    "relative_elevation": ("relative elevation (m)", "RdBu_r", None, None),
    "shaded_relief": ("shaded relief (0-255)", "gray", 90.0, 255.0), "slope": ("slope (degree)", "magma", 0.0, 40.0),
}  # fmt: skip
DEFAULT = ("rgb", "ndvi", "ndwi", "relative_elevation", "shaded_relief")


@styled
def gallery(
    chipset: ChipSet, chips: Sequence[Chip], columns: Sequence[str] | None = None, pixel_m: float = 4.0, title: str = ""
) -> Figure:
    """Draw chips as rows, with the outlines of their instances, and band groups as columns.

    Args:
        chipset, chips: the data set and which of its chips, at least one.
        columns: `rgb` and names of bands; None takes those of `DEFAULT` that the data set has.
        pixel_m: metres a pixel where a chip has no georeference of its own, for the scale bar.
        title: above the figure.

    Returns:
        A matplotlib Figure, not registered with pyplot.

    Raises:
        ConfigError: no chip, or a column that the data set does not have.
        DataError: a chip cannot be read.
    """
    columns = _columns(chipset, columns)
    if not chips:
        raise ConfigError("no chip to draw: give at least one")
    data = [dict(zip(chipset.bands, chipset.read(c), strict=True)) for c in chips]
    figure, grid, bars = _frame(chips, columns)
    for k, name in enumerate(columns):
        scale = None if name == "rgb" else _scale(name, [d[name] for d in data])
        for axes, chip, bands in zip(grid[:, k], chips, data, strict=True):
            image = _stretch(bands) if name == "rgb" else np.ma.masked_invalid(bands[name])
            _panel(axes, chip, chipset, image, scale)
        grid[0, k].set_title("red, green, blue" if name == "rgb" else STYLES.get(name, (name,))[0], fontsize=7)
        if scale is None:
            bars[k].set_axis_off()
        else:
            figure.colorbar(ScalarMappable(*scale), cax=bars[k], orientation="horizontal")
            bars[k].locator_params(nbins=4)
    for axes, chip in zip(grid[:, 0], chips, strict=True):
        metres = pixel_m if chip.transform is None else chip.transform.a
        _scale_bar(axes, chip, metres)
        axes.set_ylabel(f"{chip.name}\n{chip.height} x {chip.width} px", fontsize=6)
    _legend(figure, chipset, chips, data, columns)
    if title:
        figure.suptitle(title)
    return figure


def _frame(chips: Sequence[Chip], columns: Sequence[str]) -> tuple[Figure, np.ndarray, np.ndarray]:
    """Return a figure with axes (chips, columns) shaped like the chips, and a colour bar axis a column."""
    wide, bar = min((PAGE - 0.3) / len(columns), 2.4), 0.07
    tall = [wide * max(0.25, min(c.height / c.width, 1.6)) for c in chips]
    bottom = 0.45 if list(columns) == ["rgb"] else 0.7
    figure = sheet(sum(tall) + 0.04 * len(chips) + bottom, wide * len(columns) + 0.3)
    cast(Any, figure.get_layout_engine()).set(w_pad=0.02, h_pad=0.03, wspace=0.0, hspace=0.0)
    ratios = {"height_ratios": [*tall, bar]}
    axes = figure.subplots(len(chips) + 1, len(columns), squeeze=False, gridspec_kw=ratios)
    return figure, axes[:-1], axes[-1]


def _columns(chipset: ChipSet, columns: Sequence[str] | None) -> list[str]:
    rgb = {"red", "green", "blue"} <= set(chipset.bands)
    known = (["rgb"] if rgb else []) + list(chipset.bands)
    if columns is None:
        return [c for c in DEFAULT if c in known]
    wrong = [c for c in columns if c not in known]
    if wrong or not columns:
        raise ConfigError(f"columns {list(columns)}: choose from {known}")
    return list(columns)


def _scale(name: str, values: Sequence[np.ndarray]) -> tuple[Normalize, Colormap]:
    """Return the colour scale of a column; limits from the 1st and 99th percentile where none are set."""
    from matplotlib import colormaps

    _, colours, low, high = STYLES.get(name, (name, "viridis", None, None))
    if low is None or high is None:
        seen = np.concatenate([v[np.isfinite(v)] for v in values])
        low, high = np.percentile(seen, (1, 99)) if len(seen) else (0.0, 1.0)
        if name == "relative_elevation":
            high = max(abs(low), abs(high), 0.5)
            low = -high
    limits = Normalize(float(low), float(max(high, low + 1e-6)))
    return limits, colormaps[colours].with_extremes(bad=(0, 0, 0, 0))


def _stretch(bands: dict[str, np.ndarray]) -> np.ndarray:
    """Return an image (h,w,4) in 0-1: one linear stretch for all three bands, transparent where no data."""
    rgb = np.stack([bands[b] for b in ("red", "green", "blue")], -1)
    known = np.isfinite(rgb).all(-1)
    if not known.any():
        return np.zeros((*known.shape, 4))
    low, high = np.percentile(rgb[known], (0.2, 99.5))
    rgb = np.clip((np.nan_to_num(rgb) - low) / max(high - low, 1e-6), 0, 1)
    return np.dstack([rgb, known.astype(float)])


def _panel(axes: Axes, chip: Chip, chipset: ChipSet, image: np.ndarray, scale: tuple | None) -> None:
    """Draw one band of one chip and its outlines."""
    axes.set_facecolor(NO_DATA)
    styles = {} if scale is None else {"norm": scale[0], "cmap": scale[1]}
    axes.imshow(image, interpolation="nearest", **styles)
    axes.set_xticks([])
    axes.set_yticks([])
    for instance in chipset.instances.get(chip.id, ()):
        mask = np.pad(decode(instance.rle), 1).astype(float)
        edge = range(-1, chip.width + 1), range(-1, chip.height + 1)
        drawn = axes.contour(*edge, mask, levels=[0.5], colors=KNOWN, linewidths=0.9)
        drawn.set_path_effects(rim(2.4, alpha=0.9))  # else the line is lost on bare ground in NDVI
    axes.set_xlim(-0.5, chip.width - 0.5)
    axes.set_ylim(chip.height - 0.5, -0.5)


def bar_metres(width_m: float) -> int:
    """Return the longest of 1, 2, 5 x 10^n metres that is at most a third of `width_m`."""
    power = 10 ** int(np.floor(np.log10(max(width_m / 3, 1))))
    return int(max(k * power for k in (1, 2, 5) if k * power <= max(width_m / 3, 1)))


def _scale_bar(axes: Axes, chip: Chip, pixel_m: float) -> None:
    metres = bar_metres(chip.width * pixel_m)
    right, y = 0.96 * chip.width, 0.93 * chip.height
    line = [right - metres / pixel_m, right]
    axes.plot(line, [y, y], color="black", lw=3, solid_capstyle="butt")
    axes.plot(line, [y, y], color="white", lw=1.4, solid_capstyle="butt")
    axes.annotate(
        f"{metres} m", (np.mean(line), y), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=6,
        color="white", path_effects=rim(1.8),
    )  # fmt: skip


def _legend(
    figure: Figure, chipset: ChipSet, chips: Sequence[Chip], data: Sequence[dict], columns: Sequence[str]
) -> None:
    shown = {b for c in columns for b in (("red", "green", "blue") if c == "rgb" else (c,))}
    entries: list[Artist] = []
    if any(chipset.instances.get(c.id) for c in chips):
        entries.append(Line2D([], [], color=KNOWN, lw=1.2, path_effects=rim(2.7), label="thaw slump, as labelled"))
    if any(np.isnan(d[b]).any() for d in data for b in shown):
        entries.append(Patch(facecolor=NO_DATA, edgecolor="black", lw=0.5, label="no data"))
    if entries:
        figure.legend(handles=entries, loc="outside lower center", ncols=2)
