"""The log of a run: `log.csv`, one row an epoch, columns named as the losses are."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtslib.files import write_text


def read_log(path: Path) -> list[dict[str, str]]:
    """Rows of a `log.csv`, [] if there is none."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def write_log(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; the columns are all keys in order of appearance. Raises OutputError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for row in rows for k in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
