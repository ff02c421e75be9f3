"""Result charts, each drawn from CSV tables alone, so that a figure can be redrawn without data or model.

Every function takes paths of tables that the notebooks wrote and returns a matplotlib `Figure`; `save`
writes it as PNG. Axes carry units; colours are Okabe and Ito's eight (2008, https://jfly.uni-koeln.de/color/),
told apart by colour-blind readers, and each model keeps its colour in all charts; lines also differ in dash
or label, so nothing hangs on colour alone.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rtslib.errors import DataError
from rtslib.files import whole

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
#: Colour of a model, wherever it appears; others take what is left, in order of appearance.
COLOURS = {
    "rgb": OKABE_ITO[0], "spectral": OKABE_ITO[2], "terrain": OKABE_ITO[4], "rgb_continued": OKABE_ITO[5],
    "residual_cross_attention": OKABE_ITO[1], "concat_conv": OKABE_ITO[3], "data": OKABE_ITO[6],
    "trees": OKABE_ITO[7],
}  # fmt: skip
DASHES = ("-", "--", "-.", ":")
#: A score below which charts zoom in, and show AP25 beside AP50.
FAINT = 0.1


def training_curves(table: str | Path) -> Figure:
    """Draw total loss against epoch, one line a run; and validation AP50 where the table has it.

    Args:
        table: CSV with columns `model`, `epoch` (from 0), `loss`; optionally `val_AP50` (0-1).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "epoch", "loss"))
    validated = rows.dropna(subset="val_AP50") if "val_AP50" in rows else rows.iloc[:0]
    figure = Figure(figsize=(9 if len(validated) else 5.5, 3.6), layout="constrained")
    axes = figure.subplots(1, 2 if len(validated) else 1, squeeze=False)[0]
    styles = styles_of(rows["model"].unique())
    for name, log in rows.groupby("model", sort=False):
        mark = "o" if len(log) < 3 else ""  # a line of one epoch would not be seen
        axes[0].plot(log["epoch"] + 1, log["loss"], label=name, marker=mark, **styles[name])
    label(axes[0], "epochs (passes over the training chips)", "training loss, sum of all terms")
    axes[0].set_ylim(bottom=0)
    for name, log in validated.groupby("model", sort=False):
        axes[1].plot(log["epoch"] + 1, log["val_AP50"], marker="o", markersize=3, label=name, **styles[name])
    if len(validated):
        label(axes[1], "epochs (passes over the training chips)", "mask AP50 on validation chips (0-1)")
        axes[1].set_ylim(0, 1)
    for panel in axes:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(frameon=False)
    return figure


def score_points(table: str | Path, metrics: Sequence[str] = ("AP50", "AP")) -> Figure:
    """Draw scores as points, one row a model, each with its value written beside it.

    The axis runs from 0 to 1, or, where all scores lie below `FAINT`, as far as they and their intervals go.

    Args:
        table: CSV with the column `model` and one column a metric, as fractions 0-1; and optionally
            METRIC_low and METRIC_high, drawn as a line.
        metrics: which to draw; the first with filled, the others with open symbols.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", *metrics))
    seen = [c for m in metrics for c in (m, f"{m}_low", f"{m}_high") if c in rows]
    most = rows[seen].max(axis=None)
    faint = 0 < rows[list(metrics)].max(axis=None) < FAINT
    figure = Figure(figsize=(6.5, 1.3 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    styles = styles_of(rows["model"])
    for i, metric in enumerate(metrics):
        for y, (name, value) in enumerate(zip(rows["model"], rows[metric], strict=True)):
            if pd.isna(value):
                continue
            colour = styles[name]["color"]
            bounds = [rows.get(f"{metric}_{end}", pd.Series(dtype=float)).get(y) for end in ("low", "high")]
            if not any(pd.isna(b) for b in bounds):
                axes.plot(bounds, [y, y], color=colour, linewidth=1.5, alpha=0.6, solid_capstyle="butt")
            face = colour if i == 0 else "white"
            axes.plot(value, y, "os^D"[i % 4], color=colour, markerfacecolor=face, markersize=8, clip_on=False)
            offset = (0, 7) if i == 0 else (0, -14)  # the first above, others below: they may lie close
            axes.annotate(
                f"{value:.4f}" if faint else f"{value:.2f}", (value, y), offset, textcoords="offset points",
                ha="center", fontsize=8,
            )  # fmt: skip
        axes.plot([], [], "os^D"[i % 4], color="0.3", markerfacecolor="0.3" if i == 0 else "white", label=metric)
    axes.set_yticks(range(len(rows)), rows["model"])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.set_xlim(0, 1.1 * most if faint else 1)
    label(axes, "mask average precision on test chips (0-1)", "")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def pr_curves(table: str | Path) -> Figure:
    """Draw precision against recall of masks at IoU 0.5, one line a model.

    With more than eight models only those of `COLOURS` are named, and the others are grey.

    Args:
        table: CSV with columns `model`, `recall`, `precision` (fractions 0-1).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "recall", "precision"))
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    models = list(rows["model"].unique())
    named = models if len(models) <= len(OKABE_ITO) else [m for m in models if m in COLOURS]
    styles = styles_of(named)
    for name, curve in sorted(rows.groupby("model", sort=False), key=lambda item: item[0] in named):
        area = curve["precision"].mean()  # 101 even recalls: the mean is the AP
        style = styles.get(name, {"color": "0.8", "linewidth": 0.9})
        text = f"{name} (AP50 {area:.2f})" if name in named else None
        axes.plot(curve["recall"], curve["precision"], label=text, **style)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    label(axes, "recall: share of slumps found", "precision: share of detections that are slumps")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return figure


def instance_sizes(table: str | Path) -> Figure:
    """Draw how large the instances of each side of the split are, on a logarithmic axis.

    Args:
        table: CSV with columns `side` and `area_px`.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    import numpy as np

    rows = table_of(table, ("side", "area_px"))
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axes = figure.subplots()
    if len(rows):
        low, high = np.log10(rows["area_px"].min()), np.log10(rows["area_px"].max() + 1)
        edges = np.logspace(low, max(high, low + 0.1), 31)
        sides = [s for s in ("train", "val", "test") if (rows["side"] == s).any()]
        areas = [rows.loc[rows["side"] == s, "area_px"] for s in sides]
        axes.hist(areas, bins=edges.tolist(), stacked=True, label=sides, color=OKABE_ITO[: len(sides)])
        axes.legend(frameon=False)
    axes.set_xscale("log")
    for limit, name in ((300, "small | medium"), (2000, "medium | large")):
        axes.axvline(limit, color="0.4", linestyle=":")
        axes.annotate(name, (limit, 1), (0, 3), ("data", "axes fraction"), "offset points", ha="center", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    label(axes, "instance area (px)", "instances")
    return figure


def cost_points(table: str | Path) -> Figure:
    """Draw AP50 against training time, one labelled point a model.

    Args:
        table: CSV with columns `model`, `AP50` (0-1) and `seconds` (training, pre-training included).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "AP50", "seconds"))
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    styles = styles_of(rows["model"])
    for row in rows.dropna(subset=["AP50", "seconds"]).itertuples():
        colour = styles[row.model]["color"]
        axes.plot(row.seconds / 60, row.AP50, "o", color=colour, markersize=8, alpha=0.8, label=row.model)
    axes.set_ylim(0, 1)
    axes.set_xlim(0, 1.1 * max(rows["seconds"].max() / 60, 1e-9))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))  # points may lie on one another
    label(axes, "training time, with pre-training of all branches (min)", "mask AP50 on test chips (0-1)")
    axes.grid(alpha=0.3)
    return figure


def save(figure: Figure, path: str | Path, dpi: int = 170) -> Path:
    """Write a figure as PNG, whole or not at all, without a date in it. Raises OutputError."""
    with whole(path) as part:
        figure.savefig(part, dpi=dpi, format="png", metadata={"Software": None})
    return Path(path)


def show(figure: Figure, path: str | Path, dpi: int = 170) -> Any:
    """Save a figure as PNG and return that for a notebook to display. Raises OutputError."""
    from IPython.display import Image

    return Image(filename=str(save(figure, path, dpi)), retina=True)


def table_of(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV and check that it has the columns."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(path, "no such file", "a table that an earlier notebook writes", "run that first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as e:
        raise DataError(path, f"no readable CSV: {e}", f"columns {', '.join(columns)}") from e
    if missing := [c for c in columns if c not in table]:
        raise DataError(path, f"no column {', '.join(missing)}", f"columns {', '.join(columns)}")
    return table


def styles_of(names: Iterable[str]) -> dict[str, dict]:
    """Return line colour and dash of each name."""
    names = list(names)
    free = [c for c in OKABE_ITO if c not in {COLOURS.get(n) for n in names}]
    colours = [COLOURS[n] if n in COLOURS else free.pop(0) if free else "#BBBBBB" for n in names]
    return {n: {"color": c, "linestyle": DASHES[i % 4]} for i, (n, c) in enumerate(zip(names, colours, strict=True))}


def label(axes: Axes, x: str, y: str) -> None:
    """Name both axes, with units in the names, and take the frame's upper and right side away."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
