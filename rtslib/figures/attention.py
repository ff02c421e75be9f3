"""Where attention looks: on the average, from `looks.csv` alone, and on chosen chips (`rtslib.models.looking`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.masks import decode
from rtslib.figures.examples import outline, true_colour
from rtslib.figures.style import COLUMN, KNOWN, PAGE, look, rim, sentence, sheet, styled
from rtslib.figures.tables import table_of


@styled
def looks(table: str | Path) -> Figure:
    """Draw the mean weight that queries give to keys around them: a row a modality, a column a stride, heads summed.

    The cross marks the query's own place; shades are relative to the largest of each panel. Keys lie as far apart as
    the stride, so a coarse one has fewer and larger cells.

    Args:
        table: CSV with columns modality, stride, head, down, right (px), weight.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("modality", "stride", "head", "down", "right", "weight"))
    every = rows.groupby(["modality", "stride", "down", "right"], sort=False, as_index=False)["weight"].sum()
    modalities, strides = list(every["modality"].unique()), list(every["stride"].unique())
    if not modalities:
        return sentence("No attention was measured.")
    side = (COLUMN - 0.6) / max(len(strides), 2)
    figure = sheet((side + 0.07) * len(modalities) + 0.55)
    grid = figure.subplots(len(modalities), len(strides), squeeze=False, sharex=True, sharey=True)
    for line, modality in zip(grid, modalities, strict=True):
        for axes, stride in zip(line, strides, strict=True):
            here = every[(every["modality"] == modality) & (every["stride"] == stride)]
            picture = here.pivot(index="down", columns="right", values="weight")
            cell = max(stride, picture.index[1] - picture.index[0])
            picture = picture.loc[picture.index % cell == 0, picture.columns % cell == 0]
            edge = float(picture.index.max()) + cell / 2
            axes.imshow(picture, extent=(-edge, edge, edge, -edge), cmap="viridis", vmin=0)
            axes.set_facecolor(colormaps["viridis"](0.0))
            axes.plot(0, 0, "+", color="white", markersize=5, markeredgewidth=0.9)
            axes.locator_params(nbins=3)
        line[0].set_ylabel(look(modality).label)
    far = float(every["down"].max())
    grid[0, 0].set(xlim=(-far, far), ylim=(far, -far))
    for axes, stride in zip(grid[0], strides, strict=True):
        axes.set_title(f"stride {stride}")
    figure.supxlabel("px to the right of the query (the lighter, the more weight)", fontsize=7)
    figure.supylabel("px below the query", fontsize=7)
    return figure


def query_place(chipset: ChipSet, chip: Chip) -> tuple[int, int]:
    """Return row and column of the pixel of the largest slump that lies nearest to the middle of its pixels."""
    mask = max((decode(i.rle) for i in chipset.instances[chip.id]), key=np.sum)
    seen = np.argwhere(mask)
    row, column = seen[((seen - seen.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


@styled
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
    figure = sheet(2.1 * len(chips) + 0.3, PAGE)
    grid = figure.subplots(len(chips), 3, squeeze=False)
    for line, chip, (weights, added) in zip(grid, chips, read, strict=True):
        edges, place = (-0.5, chip.width - 0.5, chip.height - 0.5, -0.5), query_place(chipset, chip)
        line[0].imshow(true_colour(chipset, chip))
        line[1].imshow(chipset.read(chip)[chipset.bands.index(band)], cmap="gray")
        line[1].imshow(weights, extent=edges, cmap="inferno", alpha=0.6, interpolation="bilinear", vmin=0)
        shown = line[2].imshow(added, extent=edges, cmap="viridis", interpolation="nearest", vmin=0)
        figure.colorbar(shown, ax=line[2], shrink=0.8, label="root mean square over channels")
        for axes in line:
            _marked(axes, chipset, chip, place)
    titles = (
        "true colour and labels\n",
        f"the lighter, the more the query (cross)\nweighs {look(modality).label} there",
        "size of what is added\nto the primary map",
    )
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    return figure


def _marked(axes: Axes, chipset: ChipSet, chip: Chip, place: tuple[int, int]) -> None:
    for instance in chipset.instances[chip.id]:
        outline(axes, instance.rle, KNOWN, width=1)
    axes.plot(place[1], place[0], "+", color="white", markersize=7, markeredgewidth=1.3, path_effects=rim(2.6))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(-0.5, chip.width - 0.5)
    axes.set_ylim(chip.height - 0.5, -0.5)
