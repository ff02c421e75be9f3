"""Where attention looks: on the average, from `looks.csv` alone, and on chosen chips (`rtslib.models.looking`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.masks import decode
from rtslib.figures.charts import label, table_of
from rtslib.figures.examples import TRUTH_COLOUR, outline, true_colour


def looks(table: str | Path) -> Figure:
    """Draw the mean weight that queries give to keys around them: a row a modality, a column a stride, heads summed.

    The cross marks the query's own place; shades are relative to the largest of each panel.

    Args:
        table: CSV with columns modality, stride, head, down, right (px), weight.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("modality", "stride", "head", "down", "right", "weight"))
    every = rows.groupby(["modality", "stride", "down", "right"], sort=False, as_index=False)["weight"].sum()
    modalities, strides = list(every["modality"].unique()), list(every["stride"].unique())
    figure = Figure(figsize=(2.5 * len(strides) + 0.6, 2.5 * len(modalities) + 0.5), layout="constrained")
    grid = figure.subplots(len(modalities), len(strides), squeeze=False, sharex=True, sharey=True)
    for line, modality in zip(grid, modalities, strict=True):
        for axes, stride in zip(line, strides, strict=True):
            here = every[(every["modality"] == modality) & (every["stride"] == stride)]
            picture = here.pivot(index="down", columns="right", values="weight")
            half = (picture.index[1] - picture.index[0]) / 2
            edge = float(np.abs(picture.index).max()) + half
            axes.imshow(picture, extent=(-edge, edge, edge, -edge), cmap="viridis", vmin=0)
            axes.plot(0, 0, "+", color="white", markersize=9, markeredgewidth=1.2)
            axes.set_title(f"{modality}, stride {stride}", fontsize=9)
            label(axes, "", "")
    figure.supxlabel("px to the right of the query", fontsize=9)
    figure.supylabel("px below the query", fontsize=9)
    return figure


def query_place(chipset: ChipSet, chip: Chip) -> tuple[int, int]:
    """Return row and column of the pixel of the largest slump that lies nearest to the middle of its pixels."""
    mask = max((decode(i.rle) for i in chipset.instances[chip.id]), key=np.sum)
    seen = np.argwhere(mask)
    row, column = seen[((seen - seen.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


def readings(
    chipset: ChipSet, chips: Sequence[Chip], read: Sequence[tuple[np.ndarray, np.ndarray]], modality: str, band: str
) -> Figure:
    """Draw what the primary stream reads from another modality, a row a chip.

    Left the true colour with its slumps and the query's place (a cross), then the band with the weights that the
    query gives to its places, and how much is added to each place of the primary map.

    Args:
        chipset, chips: data, and its chips to draw; square, at least one, each with a slump.
        read: of each chip, what `rtslib.models.looking.reading` gives for `query_place`; maps that lie over the chip as
            they are (of square chips whose network input has no padding).
        modality: that is read; band: of it, to be drawn beneath the weights.
    """
    figure = Figure(figsize=(7.2, 2.4 * len(chips) + 0.3), layout="constrained")
    grid = figure.subplots(len(chips), 3, squeeze=False)
    for line, chip, (weights, added) in zip(grid, chips, read, strict=True):
        edges, place = (-0.5, chip.width - 0.5, chip.height - 0.5, -0.5), query_place(chipset, chip)
        line[0].imshow(true_colour(chipset, chip))
        line[1].imshow(chipset.read(chip)[chipset.bands.index(band)], cmap="gray")
        line[1].imshow(weights, extent=edges, cmap="inferno", alpha=0.6, interpolation="bilinear", vmin=0)
        shown = line[2].imshow(added, extent=edges, cmap="viridis", interpolation="nearest", vmin=0)
        figure.colorbar(shown, ax=line[2], shrink=0.8)
        for axes in line:
            _marked(axes, chipset, chip, place)
    titles = ("true colour and labels", f"weights of the query (cross) on {modality}", "size of what is added")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    return figure


def _marked(axes: Axes, chipset: ChipSet, chip: Chip, place: tuple[int, int]) -> None:
    for instance in chipset.instances[chip.id]:
        outline(axes, instance.rle, color=TRUTH_COLOUR, linewidth=1)
    axes.plot(place[1], place[0], "+", color="white", markersize=10, markeredgewidth=1.6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(-0.5, chip.width - 0.5)
    axes.set_ylim(chip.height - 0.5, -0.5)
