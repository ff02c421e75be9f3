"""Where attention looks, drawn from `looks.csv` alone (`rtslib.models.looking`)."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rtslib.figures.charts import label, table_of


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
