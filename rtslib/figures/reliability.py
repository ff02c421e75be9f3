"""Reliability: of detections with a score of 0.7, are 70 % right?

A *reliability diagram* puts detections into bins by score and draws the share of right ones against their mean score.
A calibrated model lies on the diagonal. How many detections a bin holds says how much its point is worth.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rtslib.figures.style import INK, look, narrow, sentence, sheet, styled
from rtslib.figures.tables import FAINT, table_of

#: Detections in a bin below which its point is open: one of ten is already a step of 0.1.
FEW = 10
BEFORE: Any = {"color": "0.5", "linestyle": "--", "linewidth": 0.7, "marker": "s", "markersize": 2,
               "markerfacecolor": "white", "markeredgewidth": 0.6}  # fmt: skip


@styled
def calibration(table: str | Path) -> Figure:
    """Draw a reliability diagram a model, before and after calibration, over the counts of its bins after it.

    Points of fewer than `FEW` detections are open. Counts are on a logarithmic axis from 1. Where no bin of `FEW` or
    more has a share of `FAINT`, a sentence stands in place of the chart.

    Args:
        table: CSV with columns model, seed, when, low, high, count, score, right; seeds are pooled by count.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "seed", "when", "low", "high", "count", "score", "right"))
    if not rows["count"].sum() > 0:
        return sentence("There is no detection to calibrate.")
    rows = rows.assign(score=rows["score"] * rows["count"], right=rows["right"] * rows["count"])
    bins = rows.groupby(["model", "when", "low", "high"], sort=False)[["count", "score", "right"]].sum().reset_index()
    bins = bins.assign(score=bins["score"] / bins["count"], right=bins["right"] / bins["count"])
    models = list(bins["model"].unique())
    every = rows[rows["when"] == "after"]
    if not bins.loc[bins["count"] >= FEW, "right"].max() >= FAINT:
        right, count = round(every["right"].sum()), int(every["count"].sum())
        return sentence(f"Of {count:,} detections {right:,} are right, in no bin of scores one in ten: "
                        "too few to tell whether scores can be trusted.")  # fmt: skip
    across = min(3, len(models))
    down = -(-len(models) // across)
    figure = sheet((1.1 if across == 3 else 1.9) * down + 0.55)
    figure.get_layout_engine().set(hspace=0.02, h_pad=0.01)  # type: ignore[call-arg, union-attr]
    grid = figure.subplots(2 * down, across, squeeze=False, sharex=True, sharey="row",
                           gridspec_kw={"height_ratios": [3, 1] * down})  # fmt: skip
    for k in range(down * across):
        above, below = grid[2 * (k // across), k % across], grid[2 * (k // across) + 1, k % across]
        if k < len(models):
            _diagram(above, below, models[k], bins[bins["model"] == models[k]])
        else:
            above.set_axis_off()
            below.set_axis_off()
    most = bins.loc[bins["when"] == "after", "count"].max()
    for line in range(down):
        grid[2 * line, 0].set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        grid[2 * line + 1, 0].set(ylim=(0.9, 30 * most), yticks=[1, 100, 10_000][: 2 + (most > 1000)])
    handles = [Line2D([], [], **BEFORE), Line2D([], [], color=INK, marker="o", markersize=2.8, linewidth=1)]
    said = ["before", "after calibration (colour of the model)"]
    figure.legend(handles, said, loc="outside upper center", ncols=2)
    figure.supxlabel("score of a detection", fontsize=7)
    figure.supylabel("share that is right (IoU 0.5),\nand detections a bin", fontsize=7)
    return figure


def _diagram(above: Axes, below: Axes, model: str, bins: pd.DataFrame) -> None:
    """Draw one model: shares above, counts below."""
    colour = look(model).colour
    above.plot([0, 1], [0, 1], color="0.6", linewidth=0.6)
    after = bins[bins["when"] == "after"].sort_values("low")
    before = bins[bins["when"] == "before"].sort_values("low")
    above.plot(before["score"], before["right"], **BEFORE)
    above.plot(after["score"], after["right"], "o-", color=colour, markersize=2.8, linewidth=1)
    few = after[after["count"] < FEW]
    above.plot(few["score"], few["right"], "o", color=colour, markerfacecolor="white", markersize=2.8)
    above.set_title(narrow(model, 18), fontsize=6, pad=2)
    above.set(xlim=(0, 1), ylim=(-0.05, 1.06), xticks=[0, 0.5, 1])  # points at 0 and 1 are whole
    above.set_xticklabels(["0", "0.5", "1"])
    below.bar(after["low"], after["count"], after["high"] - after["low"], align="edge", color=colour, linewidth=0)
    below.text(0.98, 0.9, f"n = {int(after['count'].sum()):,}", ha="right", va="top", fontsize=5.5,
               transform=below.transAxes)  # fmt: skip
    below.set_yscale("log")
    for axes in (above, below):
        axes.tick_params(labelsize=5.5, length=1.5, pad=1)
        axes.minorticks_off()
