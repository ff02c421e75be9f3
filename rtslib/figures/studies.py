"""Charts of a fusion study, each drawn from one of its CSV tables alone, as in `rtslib.figures.charts`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from rtslib.figures.charts import name_rows, score_points
from rtslib.figures.style import CM, INK, label, labels, legend_below, look, sentence, sheet, styled
from rtslib.figures.tables import FAINT, best_of, is_faint, table_of

#: Of the challenge (`rtslib.evaluation.coco`), px of a chip.
SIZES = {"AP_small": "small\nup to 300 px", "AP_medium": "medium\nto 2,000 px", "AP_large": "large\nabove"}


def scores(table: str | Path) -> Figure:
    """Draw AP50 and AP of each model, or AP25 and AP50 where little is found; table and errors as `score_points`."""
    return score_points(table, ("AP25", "AP50") if is_faint(table_of(table, ("model", "AP50"))) else ("AP50", "AP"))


@styled
def sizes(table: str | Path) -> Figure:
    """Draw AP of small, medium and large instances, a panel a size, one row a model.

    Where AP50 of all models is below `FAINT`, a sentence says so.

    Args:
        table: CSV with columns model, AP50, AP_small, AP_medium, AP_large (fractions; empty where undefined).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "AP50", *SIZES))
    if not rows["AP50"].max() >= FAINT:
        best = best_of(rows, "AP50") if len(rows) else "the table has no model"
        return sentence(f"Too little is found to say what sizes are: {best}.")
    figure = sheet(0.9 + 0.14 * len(rows))
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    name_rows(panels[0], labels(rows["model"]))
    for axes, column in zip(panels, SIZES, strict=True):
        for y, (name, value) in enumerate(zip(rows["model"], rows[column], strict=True)):
            _, colour, _, symbol = look(name)
            axes.plot(value, y, symbol, color=colour, markersize=3.5, clip_on=False)
        axes.set_title(SIZES[column])
        axes.tick_params(axis="y", length=0)
        axes.grid()
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_xlim(0, 1)
    panels[0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    figure.supxlabel("mask AP on test chips, mean over seeds (0-1)", fontsize=7)
    return figure


@styled
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
        [stage_rows(rows, stages), rows[rows["model"] == "data"].assign(training="stacked bands, for comparison")]
    )
    figure = sheet(7 * CM)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, factor in ((panels[0], "seconds", 1 / 60), (panels[1], "peak_memory_mib", 1 / 1024)):
        for row in rows.itertuples():
            x, (_, colour, _, symbol) = getattr(row, column) * factor, look(row.model)
            axes.plot([x, x], [row.AP50_low, row.AP50_high], color=colour, alpha=0.6)
            axes.plot(x, row.AP50, symbol, color=colour, markersize=5, label=row.training)
        axes.set_ylim(0, 1)
        axes.set_xlim(0, 1.15 * rows[column].max() * factor)
        axes.grid()
    label(panels[0], "training time, with\npre-training (min)", "mask AP50, 95 % interval (0-1)")
    label(panels[1], "peak memory of the\nlast stage (GiB)", "")
    legend_below(figure, panels[1], 1)
    return figure


def has_stages(table: str | Path, stages: Mapping[str, str]) -> bool:
    """Tell whether `models.csv` holds ways to train that `compute` can compare. Raises DataError: it is missing."""
    return len(stage_rows(table_of(table, ("model",)), stages)) > 0


@styled
def missing(table: str | Path) -> Figure:
    """Draw AP50 with a modality hidden from all, or half, of every chip: large symbols are means, small ones seeds.

    Args:
        table: CSV with columns model, seed, hidden, part, AP50.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("model", "seed", "hidden", "part", "AP50")).fillna({"part": ""})
    if not len(rows):
        return sentence("No model was tried with a modality hidden.")
    said = {"": "", "all": ",\nall of it", "left": ",\nleft half"}
    rows["case"] = [
        "nothing" if h == "nothing" else look(h).label + said.get(p, f",\n{p}")
        for h, p in zip(rows["hidden"], rows["part"], strict=True)
    ]
    cases, models = list(rows["case"].unique()), list(rows["model"].unique())
    figure = sheet(0.9 + len(cases) * (0.12 + 0.1 * len(models)))
    axes = figure.subplots()
    for i, model in enumerate(models):
        name, colour, _, symbol = look(model)
        part = rows[rows["model"] == model]
        shift = 0.75 * ((i + 0.5) / len(models) - 0.5)
        means = part.groupby("case", sort=False)["AP50"].mean()
        places = {case: k + shift for k, case in enumerate(cases)}
        axes.plot(part["AP50"], [places[c] for c in part["case"]], symbol, color=colour, markersize=2, alpha=0.5)
        axes.plot(means, [places[c] for c in means.index], symbol, color=colour, markersize=5, label=name)
    for k in range(1, len(cases)):
        axes.axhline(k - 0.5, color="0.85", linewidth=0.5)
    name_rows(axes, cases)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    label(axes, "mask AP50 on test chips (0-1)", "hidden in testing")
    legend_below(figure, axes)
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


@styled
def memory(table: str | Path) -> Figure:
    """Draw what mapping takes against the number of windows: peak memory, and the model's share of the time.

    Args:
        table: CSV of `rtslib.benchmarks.maps.memory_table` with columns windows, peak_mib, model_share.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("windows", "peak_mib", "model_share"))
    figure = sheet(3.2)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, values in ((above, rows["peak_mib"] / 1024), (below, rows["model_share"])):
        axes.plot(rows["windows"], values, "o-", color=INK)
        axes.set_xscale("log")
        axes.set_xticks(rows["windows"], rows["windows"].astype(str), minor=False)
        axes.minorticks_off()
        axes.grid()
    above.set_ylim(0, 1.3 * rows["peak_mib"].max() / 1024)
    below.set_ylim(0, 1.05)
    label(above, "", "peak memory of\nthe process (GiB)")
    label(below, "windows mapped, logarithmic", "share of wall time\nin the model (0-1)")
    return figure
