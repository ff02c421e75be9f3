"""Chart of speed: how much slower peers are than rtslib, and what more of a thing costs.

Drawn from the table of `rtslib.benchmarks.speed` alone.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rtslib.figures.style import GREY, INK, label, sentence, sheet, styled
from rtslib.figures.tables import table_of

SAME = ["group", "px", "batch", "device", "precision"]  # of two cases that are compared
TIMES = ["median_s", "min_s", "max_s"]


def ratios(table: str | Path) -> pd.DataFrame:
    """Return the rows that are compared with another, and how.

    Args:
        table: CSV with columns group, case, px, batch, device, precision, median_s, min_s, max_s, peak_mib, against.

    Returns:
        These rows with `ratio` (its time over that of the other), `low` and `high` (the least it can be by least and
        most of both, and the most) and `memory` (its peak over the other's; NaN where one is 0 or not known).

    Raises:
        DataError: the table is missing or lacks a column.
    """
    rows = table_of(table, ("case", *SAME, *TIMES, "peak_mib", "against"))
    rows = rows[rows["median_s"].notna()]
    compared = rows[rows["against"].notna()]
    there = rows[["case", *SAME, *TIMES, "peak_mib"]].rename(columns={"case": "against"})
    both = compared.merge(there, on=["against", *SAME], suffixes=("", "_there"))
    both["ratio"] = both["median_s"] / both["median_s_there"]
    both["low"], both["high"] = both["min_s"] / both["max_s_there"], both["max_s"] / both["min_s_there"]
    both["memory"] = (both["peak_mib"] / both["peak_mib_there"]).where(both["peak_mib_there"] > 0)
    return both


@styled
def speed(table: str | Path) -> Figure:
    """Draw the ratio of each compared case as a dot, its least and most as a line.

    Args:
        table: as for `ratios`.

    Raises:
        DataError: as `ratios`.
    """
    rows = ratios(table)
    if rows.empty:
        return sentence("No two cases that are compared were measured.")
    figure = sheet(0.6 + 0.24 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows.itertuples()):
        axes.plot([row.low, row.high], [y, y], color=GREY, linewidth=1)
        axes.plot(row.ratio, y, "o", color=INK)
    axes.axvline(1, color=INK, linewidth=0.6, linestyle=":")
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 4, 8, 16, 32], ["0.5", "1", "2", "4", "8", "16", "32"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(rows)), [_named(row) for row in rows.itertuples()])
    axes.invert_yaxis()
    label(axes, "times as long as rtslib", "")
    return figure


def _named(row: Any) -> str:
    """Say what is compared with what, at which size."""
    where = [row.group, f"{row.px} px"]
    where += [f"batch {row.batch}"] if row.batch > 1 else []
    where += [row.precision] if row.precision != "fp32" else []
    return f"{', '.join(where)}:\n{row.case} / {row.against}"
