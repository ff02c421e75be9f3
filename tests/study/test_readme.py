"""The numbers of README and docs are those of the committed tables, and the charts are drawn from them."""

import json
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from rtslib.errors import DataError
from rtslib.study.readme import BEGIN, END, PAGES, maps_section, rewritten, study_section, summary
from rtslib.study.redraw import CHARTS, draw_all

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted(p.parent for p in (ROOT / "results").rglob("tables"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_tables_say(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    assert rewritten(page, PAGES[name](ROOT / "results"), name) == page


def test_only_what_stands_between_the_marks_changes():
    assert rewritten(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb\n"
    with pytest.raises(DataError, match="marks"):
        rewritten("a", "new")


def test_missing_tables_are_named(tmp_path):
    for section in (summary, maps_section, lambda p: study_section(p / "tables", "")):
        with pytest.raises(DataError, match=r"\.csv: found no such file"):
            section(tmp_path)


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
    terms = said.split("two schedules")[1].split("switched off")[0].splitlines()
    assert [line.split("|")[1].strip() for line in terms if line.startswith("| `")] == [f"`{n}`" for n in names[1::-1]]
    assert "| `residual_cross_attention` | 2 | 0.600 | 0.600 | +0.000 (-0.100 to +0.100) | 1 of 2 |" in said
    assert "| `residual_cross_attention` | 0.25 | 0.50 |" in said
    assert "| `rgb` | -0.300 (-0.400 to -0.200) |" in said and "AP25" not in said


def test_the_summary_shows_the_model_that_a_set_has(tmp_path):
    """True colour trained on where a set has it, else true colour; a model or score that is not there is a dash."""
    intervals = {"AP50_low": 0.1, "AP50_high": 0.3, "AP25": 0.4, "AP25_low": 0.3, "AP25_high": 0.5}
    for folder, file, names in (
        ("quick", "04_comparison", ["rgb", "rgb_continued"]), ("study", "models", ["trees"]),
        ("gpu/sentinel_rts", "models", ["rgb"]),
    ):  # fmt: skip
        (tmp_path / folder / "tables").mkdir(parents=True)
        models = pd.DataFrame({"model": names, "AP50": [0.15, 0.2][: len(names)], **intervals})
        models.to_csv(tmp_path / folder / "tables" / f"{file}.csv")
    _, _, colour, *_, trees, joined = summary(tmp_path).splitlines()
    real = "0.400 (0.300 to 0.500) | 0.150 (0.100 to 0.300)"
    assert colour == f"| true colour alone | 0.200 (0.100 to 0.300) | - | {real} |"
    assert trees == "| boosted trees on pixels | - | 0.150 (0.100 to 0.300) | - | - |"
    assert joined == "| stacked bands and trees joined | - | - | - | - |"
