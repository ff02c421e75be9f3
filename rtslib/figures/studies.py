"""Charts of a fusion study, each drawn from one of its CSV tables alone, as in `rtslib.figures.charts`.

A *forest plot* shows one row a comparison: the difference as a point, its 95 % interval as a line, and a rule at
zero. A line that crosses the rule leaves open who is ahead.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtslib.figures.charts import FAINT, OKABE_ITO, label, score_points, styles_of, table_of


def is_faint(models: pd.DataFrame) -> bool:
    """Tell from `models.csv` whether so little is found (AP50 below `FAINT`) that AP25 has to be looked at too."""
    return "AP25" in models and bool(models["AP50"].max() < FAINT)


def scores(table: str | Path) -> Figure:
    """Draw AP50 and AP of each model, or AP25 and AP50 where little is found; table and errors as `score_points`."""
    return score_points(table, ("AP25", "AP50") if is_faint(table_of(table, ("model", "AP50"))) else ("AP50", "AP"))


def forest(table: str | Path) -> Figure:
    """Draw the gains over each reference with their intervals, one column a reference: AP50, and AP25 below it.

    Args:
        table: CSV with columns model, over, AP50_gain, low, high (fractions); optionally AP25_gain, AP25_low and _high.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "over", "AP50_gain", "low", "high"))
    panels = list(rows.groupby("over", sort=False))
    most, across = max((len(part) for _, part in panels), default=1), max(len(panels), 1)
    kinds = [("AP50", ["AP50_gain", "low", "high"]), ("AP25", ["AP25_gain", "AP25_low", "AP25_high"])]
    kinds = [(metric, columns) for metric, columns in kinds if set(columns) <= set(rows)]
    figure = Figure(figsize=(2 + 3.8 * across, (1.3 + 0.3 * most) * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), across, squeeze=False)
    for (metric, columns), line in zip(kinds, grid, strict=True):
        for axes, (over, part) in zip(line, panels):
            _differences(axes, part["model"], part[columns])
            axes.set_title(f"compared with {over}", fontsize=10)
            label(axes, f"difference in {metric} (95 % interval)", "")
    return figure


def _differences(axes: Axes, models: pd.Series, values: pd.DataFrame) -> None:
    """Draw one panel of `forest`, the best first; `values` holds difference, low and high."""
    order = values.iloc[:, 0].sort_values(ascending=False, kind="stable").index
    for y, (value, low, high) in enumerate(values.loc[order].itertuples(index=False)):
        colour = OKABE_ITO[0] if low > 0 else OKABE_ITO[1] if high < 0 else "0.45"
        axes.plot([low, high], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
        axes.plot(value, y, "o", color=colour, markerfacecolor=colour if low > 0 or high < 0 else "white")
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(order)), models[order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", alpha=0.3)


def sizes(table: str | Path) -> Figure:
    """Draw AP of small, medium and large instances, one row a model.

    Args:
        table: CSV with columns model, AP_small, AP_medium, AP_large (fractions; empty where undefined).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    columns = ("AP_small", "AP_medium", "AP_large")
    rows = table_of(table, ("model", *columns))
    figure = Figure(figsize=(6.5, 1.2 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(columns):
        axes.plot(rows[name], range(len(rows)), "os^"[i], color=OKABE_ITO[i], label=name[3:], alpha=0.85)
    axes.set_yticks(range(len(rows)), rows["model"])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title="instances")
    label(axes, "mask AP on test chips, mean over seeds (0-1)", "")
    return figure


def compute(table: str | Path, stages: Mapping[str, str]) -> Figure:
    """Draw AP50 against training time and against memory for ways to train the same model.

    Args:
        table: `models.csv`.
        stages: model -> how it is named, for those that compare ways to train.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "AP50", "AP50_low", "AP50_high", "seconds", "peak_memory_mib"))
    rows = pd.concat(
        [stage_rows(rows, stages), rows[rows["model"] == "data"].assign(training="data stack, from scratch")]
    )
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    styles = styles_of(rows["model"])
    for axes, column, factor in ((panels[0], "seconds", 1 / 60), (panels[1], "peak_memory_mib", 1 / 1024)):
        for row in rows.itertuples():
            x, colour = getattr(row, column) * factor, styles[row.model]["color"]
            axes.plot([x, x], [row.AP50_low, row.AP50_high], color=colour, alpha=0.6)
            axes.plot(x, row.AP50, "o", color=colour, markersize=8, label=row.training)
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    panels[0].set_xlim(left=0)
    label(panels[0], "training time, pre-training included (min)", "mask AP50, 95 % interval (0-1)")
    label(panels[1], "peak memory of the last stage (GiB)", "")
    panels[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def has_stages(table: str | Path, stages: Mapping[str, str]) -> bool:
    """Tell whether `models.csv` holds ways to train that `compute` can compare. Raises DataError: it is missing."""
    return len(stage_rows(table_of(table, ("model",)), stages)) > 0


def missing(table: str | Path) -> Figure:
    """Draw AP50 with a modality hidden from all, or half, of every chip; bars are means over seeds, dots seeds.

    Args:
        table: CSV with columns model, seed, hidden, part, AP50.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "seed", "hidden", "part", "AP50")).fillna({"part": ""})
    said = {"": "", "all": ", all of it", "left": ", left half"}
    rows["case"] = [
        "nothing hidden" if h == "nothing" else h + said.get(p, f", {p}")
        for h, p in zip(rows["hidden"], rows["part"], strict=True)
    ]
    cases, models = list(rows["case"].unique()), list(rows["model"].unique())
    figure = Figure(figsize=(2.5 + 1.7 * max(len(models), 1), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(len(cases), 1)
    for i, case in enumerate(cases):
        part = rows[rows["case"] == case]
        means = part.groupby("model")["AP50"].mean()
        places = {m: k + (i - (len(cases) - 1) / 2) * width for k, m in enumerate(models)}
        known = [m for m in models if m in means.index]
        axes.bar([places[m] for m in known], means[known], width * 0.92, color=OKABE_ITO[i % 8], alpha=0.75, label=case)
        axes.plot([places[m] for m in part["model"]], part["AP50"], ".", color="0.15", markersize=3)
    axes.set_xticks(range(len(models)), [m.replace("_", "_\n", 1) for m in models], fontsize=8)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title="hidden in testing")
    label(axes, "", "mask AP50 on test chips (0-1)")
    return figure


def calibration(table: str | Path) -> Figure:
    """Draw a reliability diagram: share of right detections against score, before and after calibration.

    Args:
        table: CSV with columns model, seed, when, low, high, count, score, right; seeds are pooled by count.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "seed", "when", "low", "count", "score", "right"))
    rows = rows.assign(score=rows["score"] * rows["count"], right=rows["right"] * rows["count"])
    bins = rows.groupby(["model", "when", "low"], sort=False)[["count", "score", "right"]].sum().reset_index()
    bins = bins.assign(score=bins["score"] / bins["count"], right=bins["right"] / bins["count"])
    models = list(bins["model"].unique())
    across = min(4, max(len(models), 1))
    down = -(-max(len(models), 1) // across)
    figure = Figure(figsize=(2.4 * across, 2.4 * down + 0.4), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, name in zip(panels, models):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        for when, mark in (("before", "s--"), ("after", "o-")):
            part = bins[(bins["model"] == name) & (bins["when"] == when)].sort_values("low")
            colour = OKABE_ITO[1] if when == "before" else OKABE_ITO[0]
            axes.plot(part["score"], part["right"], mark, color=colour, markersize=3.5, linewidth=1.2, label=when)
        axes.set_title(name, fontsize=8)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    if models:
        panels[0].legend(frameon=False, fontsize=7)
    figure.supxlabel("score of a detection", fontsize=9)
    figure.supylabel("share that is right (IoU 0.5)", fontsize=9)
    return figure


def stage_rows(models: pd.DataFrame, stages: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of `models.csv` that compare ways to train, (a) to (d), named so; none where there is only one,
    as in a transfer, whose runs all start from the landscape's."""
    rows = models[models["model"].isin(stages)].set_index("model")
    rows = rows if len(rows) > 1 else rows[:0]
    rows = rows.loc[[name for name in stages if name in rows.index]]
    return rows.assign(training=[stages[name] for name in rows.index]).reset_index()


def comparison(models: pd.DataFrame, terms: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return the rows of `models.csv` by the terms that they are compared on, best first within each.

    Args:
        models: the table.
        terms: what models share -> their names (`rtslib.study.plan.COMPARED`).

    Returns:
        Columns terms, model, seeds, AP50, AP50_low, AP50_high, AP, image_passes, train_macs; only terms on which two
        models or more can be compared.
    """
    columns = ["model", "seeds", "AP50", "AP50_low", "AP50_high", "AP", "image_passes", "train_macs"]
    parts = [models[models["model"].isin(names)][columns].assign(terms=said) for said, names in terms.items()]
    parts = [part.sort_values("AP50", ascending=False, kind="stable") for part in parts if len(part) > 1]
    every = pd.concat(parts) if parts else models[columns][:0].assign(terms="")
    return every[["terms", *columns]].reset_index(drop=True)


def memory(table: str | Path) -> Figure:
    """Draw what mapping takes against the number of windows: peak memory, and the model's share of the time.

    Args:
        table: CSV of `rtslib.benchmarks.maps.memory_table` with columns windows, peak_mib, model_share.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("windows", "peak_mib", "model_share"))
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, values in ((left, rows["peak_mib"] / 1024), (right, rows["model_share"])):
        axes.plot(rows["windows"], values, "o-", color=OKABE_ITO[0])
        axes.set_xscale("log")
        axes.set_xticks(rows["windows"], rows["windows"].astype(str), minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.set_ylim(0, 1.3 * rows["peak_mib"].max() / 1024)
    right.set_ylim(0, 1.05)
    label(left, "windows mapped", "peak memory of the process (GiB)")
    label(right, "windows mapped", "share of wall time in the model (0-1)")
    return figure
