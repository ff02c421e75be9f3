"""Result charts, each drawn from CSV tables alone, so that a figure can be redrawn without data or model.

Every function takes paths of tables that the notebooks wrote and returns a matplotlib `Figure` of the style in
`rtslib.figures.style`. Axes carry units and start at zero, or say that they do not; panels share axes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rtslib.errors import DataError
from rtslib.figures.style import CM, HEADLINE, INK, PALE, label, labels, legend_below, look, sentence, sheet, styled
from rtslib.figures.tables import FAINT, best_of, table_of

EPOCHS = "epochs (passes over the training chips)"


@styled
def training_curves(table: str | Path) -> Figure:
    """Draw total loss against epoch, one line a run; and validation AP50 where the table has it.

    Args:
        table: CSV with columns `model`, `epoch` (from 0), `loss`; optionally `val_AP50` (0-1).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "epoch", "loss"))
    validated = rows.dropna(subset="val_AP50") if "val_AP50" in rows else rows.iloc[:0]
    figure, panels = _above_each_other(2 if len(validated) else 1)
    for name, log in rows.groupby("model", sort=False):
        mark = look(name).symbol if len(log) < 3 else ""  # a line of one epoch would not be seen
        panels[0].plot(log["epoch"] + 1, log["loss"], label=look(name).label, marker=mark, **look(name).line)
    label(panels[0], "", "training loss,\nsum of all terms")
    panels[0].set(xlim=(0, 1.03 * (rows["epoch"].max() + 1)), ylim=(0, 1.08 * rows["loss"].max()))
    for name, log in validated.groupby("model", sort=False):
        symbol = {"marker": look(name).symbol, "markersize": 3, "clip_on": False}
        panels[1].plot(log["epoch"] + 1, log["val_AP50"], **symbol, **look(name).line)
    if len(validated):
        label(panels[1], "", "mask AP50 on\nvalidation chips (0-1)")
        panels[1].set_ylim(0, 1)
    panels[-1].set_xlabel(EPOCHS)
    legend_below(figure, panels[0])
    return figure


@styled
def run_curves(log: str | Path) -> Figure:
    """Draw one run from its `log.csv`: the loss and its terms above, AP and AP50 on the validation side below.

    Where the run was not validated, a sentence says so in place of the lower panel.

    Args:
        log: CSV with columns `epoch` (from 0) and `loss`; optionally `loss_TERM`, `val_AP` and `val_AP50` (0-1).

    Raises:
        DataError: the table is missing or lacks a column, or has no row.
    """
    rows = table_of(log, ("epoch", "loss"))
    if not len(rows):
        raise DataError(log, "no epoch", "one row an epoch", "wait for the first one to end")
    figure, (loss, score) = _above_each_other(2)
    epochs = rows["epoch"] + 1
    loss.plot(epochs, rows["loss"], "o-", color="black", markersize=2.5, label="sum of all terms")
    for terms, (said, dash) in zip(_grouped_terms(rows), TERMS.values(), strict=True):
        if len(terms.columns):
            loss.plot(epochs, terms.sum(axis=1), color="0.45", linestyle=dash, label=said)
    label(loss, "", "training loss")
    loss.set_ylim(0, 1.5 * rows["loss"].max())  # room for the legend
    seen = rows.dropna(subset="val_AP50") if "val_AP50" in rows else rows.iloc[:0]
    for column, style in (("val_AP50", "o-"), ("val_AP", "s--")):
        if column in seen and len(seen):
            score.plot(seen["epoch"] + 1, seen[column], style, color="black", markersize=3, label=column[4:])
    if not len(seen):
        score.text(0.5, 0.5, "Not validated while it trained:\nno val_AP50 in its log.csv.", ha="center", va="center",
                   color=INK, transform=score.transAxes)  # fmt: skip
    label(score, EPOCHS, "mask AP on\nvalidation chips (0-1)")
    score.set_ylim(0, 1)
    loss.legend(loc="upper right", ncols=2)
    if len(seen):
        score.legend(loc="upper left", ncols=2)
    return figure


#: Terms of the loss that are drawn together: start of their names -> what they are called, dash.
TERMS = {
    ("loss_objectness", "loss_rpn"): ("proposals", ":"), ("loss_cls", "loss_box"): ("boxes", "--"),
    ("loss_mask",): ("masks", "-."), ("loss_semantic",): ("semantic branch", (0, (5, 1, 1, 1, 1, 1))),
}  # fmt: skip


def _grouped_terms(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows[[c for c in rows if str(c).startswith(starts)]] for starts in TERMS]


def _above_each_other(count: int) -> tuple[Figure, np.ndarray]:
    """Return a figure of panels that share the epochs."""
    figure = sheet(1 + 1.5 * count)
    panels = figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, panels


@styled
def score_points(table: str | Path, metrics: Sequence[str] = ("AP50", "AP")) -> Figure:
    """Draw scores as points on an axis from 0 to 1, one row a model, each with its value at the right.

    Where all scores lie below `FAINT`, values are not written, as they would be read as a ranking;
    where all scores and the ends of their intervals lie below `FAINT`, a sentence says how low they are.

    Args:
        table: CSV with the column `model` and one column a metric, as fractions 0-1; and optionally
            METRIC_low and METRIC_high, drawn as a line.
        metrics: which to draw; the first with filled, the second with open symbols.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", *metrics))
    seen = [c for m in metrics for c in (m, f"{m}_high") if c in rows]
    best = " and ".join(best_of(rows, m) for m in metrics) if len(rows) else "the table has no model"
    if not rows[seen].max(axis=None) >= FAINT:
        return sentence(f"Too little is found to tell models apart: {best}.")
    faint = rows[list(metrics)].max(axis=None) < FAINT
    figure = sheet(0.85 + 0.165 * len(rows))
    axes = figure.subplots()
    for i, metric in enumerate(metrics):
        for y, (name, value) in enumerate(zip(rows["model"], rows[metric], strict=True)):
            bounds = [rows[f"{metric}_{end}"][y] if f"{metric}_{end}" in rows else None for end in ("low", "high")]
            _point(axes, name, value, bounds, y, i == 0)
        _column(axes, 23 * (i + 1), metric, [] if faint else rows[metric])
        axes.plot([], [], "o", color=INK, markerfacecolor=INK if i == 0 else "white", label=metric)
    name_rows(axes, labels(rows["model"]))
    axes.set_xlim(0, 1)
    label(axes, "mask average precision on test chips (0-1)", "")
    if faint:
        axes.set_title("Too little is found to rank models by it.", loc="left")
    legend_below(figure, axes)
    return figure


def _column(axes: Axes, away: float, head: str, values: Sequence[float]) -> None:
    """Write values `away` pt from the right of the axes, a row each, under a head."""
    how: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right",
                           "va": "center", "fontsize": 6}  # fmt: skip
    for y, value in enumerate(values):
        if not pd.isna(value):
            axes.annotate(f"{value:.2f}", (1, y), (away, 0), **how)
    if len(values):
        axes.annotate(head, (1, -0.9), (away, 0), weight="bold", annotation_clip=False, **how)


def _point(axes: Axes, name: str, value: float, bounds: Sequence[float | None], y: float, filled: bool) -> None:
    """Draw a score and its interval, where both ends are known."""
    if pd.isna(value):
        return
    colour, symbol = look(name).colour, look(name).symbol
    if not any(b is None or pd.isna(b) for b in bounds):
        axes.plot(bounds, [y, y], color=colour, linewidth=1.2, alpha=0.6, solid_capstyle="butt")
    face = colour if filled else "white"
    axes.plot(value, y, symbol, color=colour, markerfacecolor=face, markersize=4, clip_on=False, zorder=3)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a chart, the first one on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


@styled
def pr_curves(table: str | Path) -> Figure:
    """Draw precision against recall of masks at IoU 0.5, one line a model.

    With more than eight models only those of `HEADLINE` are named, and the others are grey. Where AP50 of all is below
    `FAINT`, a sentence says so.

    Args:
        table: CSV with columns `model`, `recall`, `precision` (fractions 0-1).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "recall", "precision"))
    areas = rows.groupby("model", sort=False)["precision"].mean()  # 101 even recalls: the mean is the AP
    if not areas.max() >= FAINT:
        best = best_of(areas.rename("AP50").reset_index(), "AP50") if len(areas) else "the table has no model"
        return sentence(f"Curves of precision against recall would lie on the axes: {best}.")
    figure = sheet(7.8 * CM)
    axes = figure.subplots()
    models = list(areas.index)
    named = models if len(models) <= len(HEADLINE) else [m for m in models if m in HEADLINE]
    for name, curve in sorted(rows.groupby("model", sort=False), key=lambda item: item[0] in named):
        if name in named:
            said = f"{look(name).label} ({areas[name]:.2f})"
            axes.plot(curve["recall"], curve["precision"], label=said, **look(name).line)
        else:
            axes.plot(curve["recall"], curve["precision"], color=PALE, linewidth=0.6)
    if len(named) < len(models):
        axes.plot([], [], color=PALE, linewidth=0.6, label=f"{len(models) - len(named)} others")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    label(axes, "recall: share of slumps found", "precision: share of detections\nthat are slumps")
    axes.grid()
    legend_below(figure, axes, title="model (AP50)")
    return figure


@styled
def instance_sizes(table: str | Path) -> Figure:
    """Draw how large the instances of each side of the split are, a panel a side, on one logarithmic axis.

    Args:
        table: CSV with columns `side` and `area_px`.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("side", "area_px"))
    sides = [s for s in ("train", "val", "test") if (rows["side"] == s).any()]
    if not sides:
        return sentence("There is no instance to measure: no chip has a labelled slump.")
    figure = sheet(0.7 + 0.95 * len(sides))
    panels = figure.subplots(len(sides), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    low, high = np.log10(rows["area_px"].min()), np.log10(rows["area_px"].max() + 1)
    edges = np.logspace(low, max(high, low + 0.1), 31).tolist()
    said = {"train": "training", "val": "validation", "test": "test"}
    for axes, side in zip(panels, sides, strict=True):
        areas = rows.loc[rows["side"] == side, "area_px"]
        axes.hist(areas, bins=edges, color="0.35")
        over_lines = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(
            1, 0.97, f"{said[side]}: {len(areas)}", ha="right", va="top", transform=axes.transAxes, bbox=over_lines
        )
        for limit in (300, 2000):
            axes.axvline(limit, color="0.4", linestyle=":", linewidth=0.8)
        label(axes, "", "instances")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    panels[0].set_xscale("log")
    for limit, name in ((300, "small | medium"), (2000, "medium | large")):
        place = ("data", "axes fraction"), "offset points"
        panels[0].annotate(name, (limit, 1), (0, 3), *place, ha="center", fontsize=6)
    panels[-1].set_xlabel("area of an instance (px), logarithmic")
    return figure


@styled
def cost_points(table: str | Path) -> Figure:
    """Draw AP50 against training time, one point a model.

    Args:
        table: CSV with columns `model`, `AP50` (0-1) and `seconds` (training, pre-training included).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "AP50", "seconds")).dropna(subset=["AP50", "seconds"])
    if not len(rows):
        return sentence("No model has both a score and a training time.")
    figure = sheet(7 * CM)
    axes = figure.subplots()
    for row in rows.itertuples():
        name, colour, _, symbol = look(row.model)
        axes.plot(row.seconds / 60, row.AP50, symbol, color=colour, markersize=5, label=name, clip_on=False)
    axes.set_ylim(0, 1)
    axes.set_xlim(0, 1.1 * max(rows["seconds"].max() / 60, 1e-9))
    label(axes, "training time, with pre-training of all branches (min)", "mask AP50 on test chips (0-1)")
    axes.grid()
    legend_below(figure, axes)
    return figure
