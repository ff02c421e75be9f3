"""Charts of many maps: does the truth lie in what their totals say, and what does a window's size cost?

Each is drawn from one CSV of `rtslib.benchmarks.grounds` alone.
"""

from pathlib import Path

from matplotlib.figure import Figure

from rtslib.figures.style import INK, PALE, label, sentence, sheet, styled
from rtslib.figures.tables import table_of

HECTARE = 10_000  # m2


@styled
def totals(table: str | Path) -> Figure:
    """Draw known number and area of slumps against the 95 % interval of each map, a row a ledger.

    Grounds stand in the order of what is known. An interval that misses it is black and thick, the others are grey.

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
    if not ledgers:
        return sentence("No ground was mapped.")
    figure = sheet(1.75 * len(ledgers) + 0.2)
    grid = figure.subplots(len(ledgers), 2, squeeze=False, sharex=True, sharey="col")
    for (ledger, part), line in zip(ledgers, grid, strict=True):
        for axes, (kind, (column, unit, said)) in zip(line, known.items(), strict=True):
            at = part.sort_values([column, "ground"] if "ground" in part else column, kind="stable")
            for x, (_, row) in enumerate(at.iterrows()):
                inside = bool(row[f"{kind}_inside"])
                low, high = row[f"ground_{kind}_low"] / unit, row[f"ground_{kind}_high"] / unit
                axes.plot([x, x], [low, high], color="0.6" if inside else "black", linewidth=1.2 if inside else 2.6)
            axes.plot(range(len(at)), at[column] / unit, "o", color="white", markeredgecolor=INK, markersize=2.8)
            axes.set_ylim(bottom=0)
            axes.set_xticks([])
            inside = int(part[f"{kind}_inside"].sum())
            axes.set_title(f"ledger of {ledger}:\n{inside} of {len(part)} hold the truth", loc="left")
            label(axes, "", said)
    figure.supxlabel("grounds, by what is known (dots); black: the interval misses it", fontsize=7)
    return figure


@styled
def windows(table: str | Path) -> Figure:
    """Draw AP50 of each ground, and the seconds of all of them, against the side of a window.

    Args:
        table: CSV with columns window (px), ground, seconds, ap.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("window", "ground", "seconds", "ap"))
    figure = sheet(3.4)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, column in ((above, "ap"), (below, "seconds")):
        for _, part in rows.groupby("ground"):
            axes.plot(part["window"], part[column], "-", color=PALE, linewidth=0.8)
        mean = rows.groupby("window")[column].mean()
        axes.plot(mean.index, mean, "o-", color=INK)
    above.set_ylim(0, 1)
    below.set(xlim=(0, None), ylim=(0, None))
    label(above, "", "AP50 of the map (0-1)")
    label(below, "side of a window (px); black: mean, grey: each ground", "time of the model,\na ground (s)")
    return figure
