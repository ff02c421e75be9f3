"""Sentences that notebooks say of tables: an average with its interval, who is ahead, what a map holds.

An interval (95 %, over test sites and, where there are several, seeds) decides the words: *ahead* and *behind* where a
difference's interval leaves zero out, *level* where it does not.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def average(row: Mapping[str, Any]) -> str:
    """Say a row's AP50 with its interval: `0.85 (0.80 to 0.91)`.

    Args:
        row: with AP50, AP50_low, AP50_high (fractions; the interval may be missing).
    """
    low, high = row["AP50_low"], row["AP50_high"]
    interval = "" if pd.isna(low) or pd.isna(high) else f" ({low:.2f} to {high:.2f})"
    return f"{row['AP50']:.2f}{interval}"


def leader(rows: pd.DataFrame) -> str:
    """Say which model has the highest AP50, and those that come next in order.

    Args:
        rows: with model, AP50, AP50_low, AP50_high; at least one.
    """
    order = rows.sort_values("AP50", ascending=False, kind="stable")
    first, *others = [f"`{row['model']}` {average(row)}" for _, row in order.iterrows()]
    return f"highest AP50 on sites not trained on: {first}" + (f"; then {', '.join(others)}" if others else "")


def standing(row: Mapping[str, Any]) -> str:
    """Say how a model stands to another: `ahead of `rgb` by 0.38 (0.29 to 0.46)`.

    Args:
        row: of `rtslib.study.scores.gains` or a study's `gains.csv`: over, AP50_gain, low, high.
    """
    gain, low, high = row["AP50_gain"], row["low"], row["high"]
    if low > 0:
        return f"ahead of `{row['over']}` by {gain:.2f} ({low:.2f} to {high:.2f})"
    if high < 0:
        return f"behind `{row['over']}` by {-gain:.2f} ({-high:.2f} to {-low:.2f})"
    return f"level with `{row['over']}` (difference {gain:+.2f}, {low:+.2f} to {high:+.2f})"


def standings(gains: pd.DataFrame, model: str, others: Iterable[str] | None = None) -> str:
    """Say how a model stands to others, in the table's order.

    Args:
        gains: rows as `standing` takes them, with `model`.
        model: of which is spoken; others: all if None.
    """
    rows = gains[gains["model"] == model]
    rows = rows if others is None else rows[rows["over"].isin(list(others))]
    return f"`{model}` is " + ", ".join(standing(row) for _, row in rows.iterrows()) if len(rows) else ""


def on_the_ground(totals: Mapping[str, Any]) -> str:
    """Say how many slumps the ground holds, missed ones too: of `totals.json`; empty where no ledger tells."""
    count, low, high = (totals.get(f"ground_count{end}") for end in ("", "_low", "_high"))
    if count is None:
        return ""
    return f"With those that the model misses, the ground holds about {count:.0f} (95 % {low:.0f} to {high:.0f})."
