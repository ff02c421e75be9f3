"""Tables that charts are drawn from, and when there is too little in them to draw.

Scores are *faint* where AP50 of all models is below `FAINT`: differences between them are then noise, and a chart that
zooms in would show a ranking that is none. Where the ends of their intervals are as low, a sentence stands in place of
the chart.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rtslib.errors import DataError
from rtslib.figures.style import look

FAINT = 0.1


def table_of(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV and check that it has the columns. Raises DataError: it is missing, unreadable or lacks one."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(path, "no such file", "a table that an earlier notebook writes", "run that first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as e:
        raise DataError(path, f"no readable CSV: {e}", f"columns {', '.join(columns)}") from e
    if missing := [c for c in columns if c not in table]:
        raise DataError(path, f"no column {', '.join(missing)}", f"columns {', '.join(columns)}")
    return table


def is_faint(models: pd.DataFrame) -> bool:
    """Tell from `models.csv` whether so little is found (AP50 below `FAINT`) that AP25 has to be looked at too."""
    return "AP25" in models and bool(models["AP50"].max() < FAINT)


def best_of(rows: pd.DataFrame, metric: str) -> str:
    """Say which model has the highest score, and its interval where the table has one; fractions 0-1."""
    if not rows[metric].notna().any():
        return f"{metric} is not known"
    row = rows.loc[rows[metric].idxmax()]
    ends = [row.get(f"{metric}_{end}") for end in ("low", "high")]
    known = "" if any(pd.isna(e) for e in ends) else f" (95 % interval {ends[0]:.2g} to {ends[1]:.2g})"
    return f"the best {metric} is {row[metric]:.2g}{known}, of {look(row['model']).label}"
