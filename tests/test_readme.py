"""The README's numbers are those of the committed tables."""

from pathlib import Path

import pytest

from rtslib.errors import DataError
from rtslib.readme import BEGIN, END, results_section, rewritten

ROOT = Path(__file__).resolve().parents[1]


def test_the_readme_says_what_the_tables_say():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert rewritten(readme, results_section(ROOT / "results" / "quick" / "tables")) == readme


def test_only_what_stands_between_the_marks_changes():
    assert rewritten(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == f"a\n{BEGIN}\nnew\n{END}\nb\n"
    with pytest.raises(DataError, match="marks"):
        rewritten("a", "new")


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(DataError, match="sides.csv: found no such file"):
        results_section(tmp_path)
