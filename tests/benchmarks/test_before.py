"""Before and after: both codes are run, each its own, by turns."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from rtslib.benchmarks import before
from rtslib.cli.main import main
from rtslib.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def test_the_models_are_those_of_the_checkout_and_the_cases_are_ours(tmp_path):
    """A copy whose nano is of twice the width is slower and holds more."""
    shutil.copytree(ROOT / "rtslib", tmp_path / "old" / "rtslib", ignore=shutil.ignore_patterns("__pycache__"))
    mvit = tmp_path / "old" / "rtslib" / "models" / "mvit.py"
    mvit.write_text(mvit.read_text().replace("embed_dim=32", "embed_dim=128"))
    shutil.rmtree(tmp_path / "old" / "rtslib" / "benchmarks")
    (tmp_path / "old" / "rtslib" / "benchmarks").mkdir()
    (tmp_path / "old" / "rtslib" / "benchmarks" / "__init__.py").touch()
    words = ["--only", "branches inference/one", "--rounds", "1", "--threads", "1", "--quick"]
    assert main(["benchmark", "before", str(tmp_path / "old"), "--out", str(tmp_path), *words]) == 0
    (row,) = pd.read_csv(tmp_path / "tables" / "before.csv").itertuples()
    assert row.before_s > row.after_s > 0 and row.ratio == pytest.approx(row.before_s / row.after_s, rel=1e-4)
    assert row.before_mib > row.after_mib


def test_turns_are_paired():
    """The second round was slow for both: its own ratio is as the first one's."""
    turns = [[{"median_s": b, "peak_mib": 10}, {"median_s": a, "peak_mib": 5}] for b, a in ((2, 1), (8, 4), (3, 1))]
    found = before._medians(turns)
    assert (found["before_s"], found["after_s"], found["ratio"]) == (3, 1, 3)
    assert (found["low"], found["high"], found["before_mib"], found["after_mib"]) == (2, 3, 10, 5)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(DataError, match="no rtslib/__init__.py"):
        before.compare(tmp_path, tmp_path, ["trunk"])
