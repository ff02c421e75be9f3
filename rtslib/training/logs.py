"""The log of a run: `log.csv`, one row an epoch, columns named as the losses are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rtslib.files import whole


def read_log(path: Path) -> list[dict[str, str]]:
    """Rows of a `log.csv`, [] if there is none."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records") if path.exists() else []


def write_log(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; the columns are all keys in order of appearance. Raises OutputError."""
    with whole(path) as part:
        pd.DataFrame(list(rows)).to_csv(part, index=False)
