"""Forest plot: by how much is a model ahead of another, and how sure is that?

One row a model, one column a reference that it is compared with: the difference as a point, its 95 % interval as a
line, and a rule at zero. A line that crosses the rule leaves open who is ahead; its point is open.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtslib.figures.charts import name_rows
from rtslib.figures.style import labels, narrow, sentence, sheet, styled
from rtslib.figures.tables import FAINT, table_of

COLUMNS = {"AP50": ["AP50_gain", "low", "high"], "AP25": ["AP25_gain", "AP25_low", "AP25_high"]}


@styled
def forest(table: str | Path) -> Figure:
    """Draw the gains over each reference with their intervals, one column a reference; the best first.

    AP50; and AP25 below it where no gain in AP50 reaches `FAINT`. All panels share one axis, with zero in the middle.
    Where all intervals lie within `FAINT`, a sentence stands in place of the chart.

    Args:
        table: CSV with columns model, over, AP50_gain, low, high (fractions); optionally AP25_gain, AP25_low and _high.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "over", *COLUMNS["AP50"]))
    if not len(rows):
        return sentence("There are no two models to compare.")
    kinds = {metric: columns for metric, columns in COLUMNS.items() if set(columns) <= set(rows)}
    most = {metric: float(rows[columns].abs().max(axis=None)) for metric, columns in kinds.items()}
    if max(most.values()) < FAINT:
        widest = " and ".join(f"{value:.2g} in {metric}" for metric, value in most.items())
        return sentence(f"No model is ahead by an amount that counts: no interval reaches further than {widest}.")
    if rows["AP50_gain"].abs().max() >= FAINT:
        kinds = {"AP50": COLUMNS["AP50"]}
    overs, order = list(rows["over"].unique()), in_order(rows)
    figure = sheet((0.45 + 0.125 * len(order)) * len(kinds) + 0.55)
    grid = figure.subplots(len(kinds), len(overs), squeeze=False, sharex=True, sharey=True)
    for (metric, columns), line in zip(kinds.items(), grid, strict=True):
        name_rows(line[0], labels(order))
        for axes, over in zip(line, overs, strict=True):
            _differences(axes, rows[rows["over"] == over].set_index("model")[columns], order)
            axes.set_xlabel(metric)
    figure.supxlabel("difference, and its 95 % interval", fontsize=7)
    for axes, over in zip(grid[0], overs, strict=True):
        axes.set_title(f"over\n{narrow(over, 13)}", fontsize=6.5)
        axes.xaxis.set_major_formatter("{x:g}")
    half = 1.05 * max(most[metric] for metric in kinds)
    grid[0, 0].set_xlim(-half, half)
    return figure


def in_order(rows: pd.DataFrame) -> list[str]:
    """Return the models, the best first: by gain over the first reference, which is 0 ahead of itself."""
    first = rows["over"].iloc[0]
    gains = rows[rows["over"] == first].set_index("model")["AP50_gain"].to_dict()
    return sorted(rows["model"].unique(), key=lambda model: -gains.get(model, 0.0))


def _differences(axes: Axes, gains: pd.DataFrame, order: Sequence[str]) -> None:
    """Draw one panel; `gains` holds difference, low and high by model."""
    for model, value, low, high in gains.itertuples():
        sure, y = low > 0 or high < 0, order.index(model)
        axes.plot([low, high], [y, y], color="black" if sure else "0.55", linewidth=1.1, solid_capstyle="butt")
        colour = "black" if sure else "0.45"
        axes.plot(value, y, "o", color=colour, markerfacecolor=colour if sure else "white", markersize=3)
    axes.axvline(0, color="0.3", linewidth=0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="both")
    axes.spines[["top", "right"]].set_visible(False)
