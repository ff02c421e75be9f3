"""The README's numbers are those of the committed tables, and the charts are drawn from them."""

import json
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from rtslib.errors import DataError
from rtslib.study.readme import BEGIN, END, results_section, rewritten, study_section
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
        for path in (picture, picture.with_suffix(".svg")):
            assert path.read_bytes() == (folder / "figures" / path.name).read_bytes(), path.name


def test_a_study_with_more_seeds_of_some_models_and_attention(tmp_path):
    """Terms, what attention brings, and how many seeds there are, on hand-made tables."""
    names = ["data", "residual_cross_attention", "rgb"]
    numbers = ["AP50_low", "AP50_high", "AP50_sd", "AP", "F1", "ECE_before", "ECE_after", "chips", "instances",
               "image_passes", "train_macs"]  # fmt: skip
    models = pd.DataFrame(
        {"model": names, "seeds": [8, 8, 3], "AP50": [0.5, 0.6, 0.2]} | {n: [1e12] * 3 for n in numbers}
    )
    models.to_csv(tmp_path / "models.csv")
    pd.DataFrame({"model": ["rgb"], "over": ["data"], "AP50_gain": [-0.3], "low": [-0.4], "high": [-0.2]}).to_csv(
        tmp_path / "gains.csv"
    )
    scores = {"model": names[1], "seed": [0, 1], "AP50": [0.6, 0.6], "AP50_off": [0.5, 0.7]}
    pd.DataFrame(scores).to_csv(tmp_path / "attention.csv")
    pd.DataFrame({"model": names[1], "seed": 0, "stride": [4, 8], "share": [0.25, 0.5]}).to_csv(tmp_path / "added.csv")
    said = study_section(tmp_path, "Made up.")
    assert "3 seeds, 8 of `data`, `residual_cross_attention`:" in said
    terms = [line for line in said.splitlines() if line.startswith("| two schedules")]
    assert [line.split("|")[2].strip() for line in terms] == ["`residual_cross_attention`", "`data`"]
    assert (
        "| `residual_cross_attention` | 2 | 0.600 | 0.600 | +0.000 (-0.100 to +0.100) | 1 of 2 | 0.25 | 0.50 |" in said
    )
