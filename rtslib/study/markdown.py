"""Markdown: a committed table on its way to a page."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rtslib.errors import DataError


def committed(path: Path) -> pd.DataFrame:
    """Read a table of record. Raises DataError: it is missing."""
    if not path.exists():
        raise DataError(path, "no such file", "a table, as `make reproduce` writes it")
    return pd.read_csv(path)


def as_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table: its head and its rows, of as many cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
