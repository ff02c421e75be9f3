"""What a run's ledger says of maps."""

import numpy as np
import pandas as pd
import pytest

from rtslib.config import Config
from rtslib.mapping.ground import ground_totals, in_m2
from rtslib.training.evidence import UNKNOWN, calibrated_ledger, shown_from
from rtslib.training.runs import Run

COLUMNS = ["chip", "group", "score", "right", "area_px", "truth_px"]


def run_of(folder, *rows, **knobs):
    Config(**knobs).save(folder / "config.json")
    table = [(1, "007", score, right, 9.0, 9.0 if right or score is None else None) for score, right in rows]
    pd.DataFrame(table, columns=COLUMNS).to_csv(folder / "ledger.csv", index=False)
    return Run(folder)


def test_scores_are_calibrated_as_the_model_gives_them(tmp_path):
    rows = calibrated_ledger(run_of(tmp_path, (0.8, True), (None, False), temperature=2.0, score_shift=0.0))
    assert rows["score"][0] == pytest.approx(2 / 3) and pd.isna(rows["score"][1])
    assert rows["group"].tolist() == ["007", "007"]


def test_the_threshold_has_the_best_f1_on_the_validation_side(tmp_path):
    found, said = shown_from(run_of(tmp_path, (0.9, True), (0.7, False), (0.6, True), (0.1, False)))
    assert found == pytest.approx(0.35) and said.startswith(
        "Score threshold 0.35, chosen on the validation side (F1 0.8"
    )


def test_a_run_that_cannot_say_says_so(tmp_path):
    Config().save(tmp_path / "config.json")
    assert calibrated_ledger(Run(tmp_path)) is None
    assert shown_from(Run(tmp_path)) == (UNKNOWN, "No validation side to choose the score threshold on: 0.5 is taken.")
    wrong = run_of(tmp_path, (0.9, False))
    assert shown_from(wrong)[0] == UNKNOWN and "No right detection" in shown_from(wrong)[1]


def test_a_validation_side_without_slumps_and_detections_says_nothing(tmp_path):
    bare = run_of(tmp_path)
    assert len(calibrated_ledger(bare)) == 0 and shown_from(bare)[0] == UNKNOWN
    totals = ground_totals(np.array([0.9]), np.array([100.0]), in_m2(calibrated_ledger(bare), 16.0), 0.5)
    assert totals["ground_count"] is None
