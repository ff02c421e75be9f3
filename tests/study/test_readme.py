"""The README's numbers are those of the committed tables, and the charts are drawn from them."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from rtslib.errors import DataError
from rtslib.study.readme import BEGIN, END, results_section, rewritten
from rtslib.study.redraw import CHARTS, draw_all

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted(p.parent for p in (ROOT / "results").glob("*/tables"))


def test_the_readme_says_what_the_tables_say():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert rewritten(readme, results_section(ROOT / "results")) == readme


def test_only_what_stands_between_the_marks_changes():
    assert rewritten(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == f"a\n{BEGIN}\nnew\n{END}\nb\n"
    with pytest.raises(DataError, match="marks"):
        rewritten("a", "new")


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(DataError, match="models.csv: found no such file"):
        results_section(tmp_path)


@pytest.mark.parametrize("folder", RESULTS, ids=lambda p: p.name)
def test_the_committed_charts_are_drawn_from_the_committed_tables(folder, tmp_path):
    """`make figures` with the versions of the lock gives the same pictures, byte for byte."""
    made_with = json.loads((folder / "manifest.json").read_text())["versions"]["matplotlib"]
    if made_with != version("matplotlib"):
        pytest.skip(f"drawn with matplotlib {made_with}, here is {version('matplotlib')}: pixels may differ")
    (tmp_path / "tables").symlink_to(folder / "tables")
    drawn = draw_all(tmp_path)
    assert drawn and {p.stem for p in drawn} <= set(CHARTS)
    for picture in drawn:
        assert picture.read_bytes() == (folder / "figures" / picture.name).read_bytes(), picture.name
