"""Charts of many maps: does the truth lie in what their totals say, and what does a window's size cost?

Each is drawn from one CSV of `rtslib.benchmarks.grounds` alone.
"""

from pathlib import Path

from matplotlib.figure import Figure

from rtslib.figures.charts import OKABE_ITO, label, table_of

HECTARE = 10_000  # m2


def totals(table: str | Path) -> Figure:
    """Draw known number and area of slumps against the 95 % interval of each map, a row a ledger.

    Grounds stand in the order of what is known. An interval that misses it is drawn in another colour and thicker.

    Args:
        table: CSV with columns ground, ledger, known_count, known_area_m2 and, for kind in count and area,
            ground_KIND_low, ground_KIND_high and KIND_inside.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    ends = [f"ground_{kind}_{end}" for kind in ("count", "area") for end in ("low", "high")]
    known = {"count": ("known_count", 1, "slumps"), "area": ("known_area_m2", HECTARE, "area of slumps (ha)")}
    wanted = ("ledger", "known_count", "known_area_m2", "count_inside", "area_inside", *ends)
    rows = table_of(table, wanted)
    ledgers = list(rows.groupby("ledger", sort=False))
    figure = Figure(figsize=(9, 2.8 * max(len(ledgers), 1)), layout="constrained")
    grid = figure.subplots(max(len(ledgers), 1), 2, squeeze=False)
    for (ledger, part), line in zip(ledgers, grid):
        for axes, (kind, (column, unit, said)) in zip(line, known.items(), strict=True):
            at = part.sort_values([column, "ground"] if "ground" in part else column, kind="stable")
            for x, (_, row) in enumerate(at.iterrows()):
                inside = bool(row[f"{kind}_inside"])
                low, high = row[f"ground_{kind}_low"] / unit, row[f"ground_{kind}_high"] / unit
                axes.plot([x, x], [low, high], color=OKABE_ITO[0 if inside else 1], linewidth=1.5 if inside else 3)
            axes.plot(range(len(at)), at[column] / unit, "o", color="0.15", markersize=3.5)
            axes.set_ylim(bottom=0)
            inside = int(part[f"{kind}_inside"].sum())
            axes.set_title(f"ledger of {ledger}: {inside} of {len(part)} hold the truth", fontsize=10)
            label(axes, "ground, by what is known (dots)", said)
    return figure


def windows(table: str | Path) -> Figure:
    """Draw AP50 of each ground, and the seconds of all of them, against the side of a window.

    Args:
        table: CSV with columns window (px), ground, seconds, ap.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("window", "ground", "seconds", "ap"))
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for _, part in rows.groupby("ground"):
        left.plot(part["window"], part["ap"], "-", color="0.75", linewidth=1)
    mean = rows.groupby("window")[["ap", "seconds"]].mean()
    left.plot(mean.index, mean["ap"], "o-", color=OKABE_ITO[0])
    right.plot(mean.index, mean["seconds"], "o-", color=OKABE_ITO[0])
    left.set_ylim(0, 1)
    right.set_ylim(bottom=0)
    label(left, "side of a window (px); grey: each ground", "AP50 of the map")
    label(right, "side of a window (px)", "seconds of the model, a ground")
    return figure
