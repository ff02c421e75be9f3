"""One's own results against those on record."""

import pandas as pd
import pytest

from rtslib.files import write_json
from rtslib.study.record import compare


def results(folder, table, seed=0, data="embedded synthetic landscape", profile="quick", **columns):
    """Write a folder of results with one table of scores."""
    write_json(folder / "manifest.json", {"profile": profile, "seed": seed, "inputs": {"data": data}})
    rows = {"AP50_low": 0.4, "AP50_high": 0.6, "chips": 96, "instances": 150, **columns}
    (folder / "tables").mkdir()
    pd.DataFrame(rows).to_csv(folder / "tables" / f"{table}.csv", index=False)
    return folder


@pytest.fixture
def record(tmp_path):
    results(tmp_path / "results" / "a_other", "models", model=["rgb"], AP50=[0.1], profile="gpu")
    results(tmp_path / "results" / "quick", "04_comparison", model=["rgb", "data"], AP50=[0.5, 0.5])
    return tmp_path / "results"


def test_scores_inside_and_outside_the_recorded_intervals_are_told(tmp_path, record):
    own = results(tmp_path / "own", "04_comparison", model=["data", "rgb", "new"], AP50=[0.6, 0.39, 0.5])
    said = compare(own, record)
    assert said == (
        "compared with results/quick: 1 of 2 AP50 lie inside its 95 % intervals; outside: rgb 0.390 (0.400 to 0.600)"
    )
    own = results(tmp_path / "two", "04_comparison", model=["data"], AP50=[0.4], seed=3)
    assert compare(own, record) == (
        "compared with results/quick (seed 3; on record 0, whose intervals are over sites): "
        "1 of 1 AP50 lie inside its 95 % intervals"
    )


def test_a_study_is_compared_with_a_study(tmp_path, record):
    """Both may have a model `rgb` on the same chips: trained once in the one, over seeds in the other."""
    results(record / "study", "models", model=["rgb"], AP50=[0.2], AP50_low=0.1, AP50_high=0.3)
    own = results(tmp_path / "own", "models", model=["rgb"], AP50=[0.3])
    assert compare(own, record).startswith("compared with results/study: 1 of 1")
    own = results(tmp_path / "book", "04_comparison", model=["rgb"], AP50=[0.3])
    assert compare(own, record).startswith("compared with results/quick: 0 of 1")
    assert compare(record / "study", record).startswith("results/ holds no other")


def test_what_is_not_on_record_is_not_compared(tmp_path, record):
    nothing = "results/ holds no other scores of this profile and data to compare with"
    other = results(tmp_path / "other", "models", model=["rgb"], AP50=[0.5], data="../shared/data/maxar_rgb")
    assert compare(other, record) == nothing
    fewer = results(tmp_path / "fewer", "models", model=["rgb"], AP50=[0.5], chips=12)
    assert compare(fewer, record) == nothing  # scores of other test chips say nothing
    assert compare(record / "quick", record) == nothing  # the record itself
