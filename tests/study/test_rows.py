"""The row of a run, on hand-made answers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from helpers.chip_folders import box_mask
from helpers.scored import truth_and_results
from rtslib.data.masks import encode
from rtslib.evaluation.bootstrap import average_precision, hits
from rtslib.models.platt import platt
from rtslib.study.rows import Judged, _scaled, at_threshold, curve_rows, reliability_rows


def judged(scores_right, scores_wrong, threshold, temperature=1.0, shift=0.0):
    """Four chips with an instance each; right detections on the first chips, wrong ones on the last."""
    gt, right = truth_and_results([True] * len(scores_right) + [False] * (4 - len(scores_right)))
    wrong = encode(box_mask(20, 30, 20, 10, 5, 5))
    for result, score in zip(right, scores_right, strict=True):
        result["score"] = score
    results = right + [
        {"image_id": 4 - k, "category_id": 1, "segmentation": wrong, "score": s} for k, s in enumerate(scores_wrong)
    ]
    ids = range(1, 5)
    groups = {i: f"g{i}" for i in ids}
    return Judged(
        "a", 0, (), gt, groups, results, dict.fromkeys(ids, threshold), dict.fromkeys(ids, (temperature, shift))
    )


def test_a_map_is_judged_at_the_thresholds_of_validation():
    row = at_threshold(judged([0.9, 0.6, 0.2], [0.7], 0.5))
    assert (row["hits"], row["false_alarms"], row["missed"]) == (2, 1, 2)
    assert (row["precision"], row["recall"]) == (pytest.approx(2 / 3), 0.5) and row["F1"] == pytest.approx(4 / 7)
    assert row["boundary_iou"] == 1.0
    nothing = {"precision": None, "recall": 0.0, "F1": 0.0, "boundary_iou": None}
    assert at_threshold(judged([0.2], [], 0.5)) == {"hits": 0, "false_alarms": 0, "missed": 4, **nothing}


def test_folds_are_ranked_by_the_scores_before_scaling():
    """One model in two folds: a fold without a right detection to fit a temperature by must not lose its place."""
    one = judged([0.9, 0.6], [0.7, 0.5], 0.5)
    fitted = (0.3, 1.5)
    split = {1: (1.0, 0.0), 2: (1.0, 0.0), 3: fitted, 4: fitted}  # chips 3 and 4 are of the fold that is calibrated
    scaled = [{**r, "score": float(_scaled(platt, [r["score"]], [split[r["image_id"]]])[0])} for r in one.results]
    folds = replace(one, results=scaled, calibration=split)
    assert average_precision(folds.hits()) == average_precision(one.hits()) != pooled(scaled, one)
    assert np.allclose(sorted(folds.hits().scores), [0.5, 0.6, 0.7, 0.9])
    assert curve_rows(folds).equals(curve_rows(one))


def pooled(results, one):
    """Average precision as it was, over scores of different scales."""
    return average_precision(hits(one.gt, results, one.groups))


def test_scores_before_scaling_are_recovered():
    bins = reliability_rows(judged([0.8], [], 0.5, temperature=2.0)).set_index("when")
    assert bins.loc["after", "score"] == pytest.approx(0.8)
    assert bins.loc["before", "score"] == pytest.approx(16 / 17)  # logit ln 4, doubled
    shifted = reliability_rows(judged([0.8], [], 0.5, temperature=2.0, shift=math.log(2))).set_index("when")
    assert shifted.loc["before", "score"] == pytest.approx(0.8)  # logit 2 (ln 4 - ln 2)
    assert len(curve_rows(judged([0.8], [], 0.5))) == 101
