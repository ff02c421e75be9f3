"""Bootstrap over groups: known answers, pairing, and the plain score as a special case."""

import numpy as np
import pytest
from chip_folders import box_mask

from rtslib.bootstrap import ap50_draws, interval
from rtslib.evaluate import evaluate
from rtslib.masks import encode


def truth_and_results(found):
    """One instance a chip; chip i is found perfectly if found[i], else not at all."""
    rle = encode(box_mask(20, 30, 4, 5, 6, 7))
    images = [{"id": i, "height": 20, "width": 30, "file_name": f"{i}"} for i in range(1, len(found) + 1)]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "segmentation": rle} for i in range(1, len(found) + 1)]
    results = [
        {"image_id": i, "category_id": 1, "segmentation": rle, "score": 0.9} for i, f in enumerate(found, 1) if f
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "rts"}]}, results


def test_a_perfect_model_has_no_uncertainty_and_an_empty_one_neither():
    gt, results = truth_and_results([True] * 6)
    groups = {i: f"g{i % 3}" for i in range(1, 7)}
    assert interval(ap50_draws(gt, results, groups, 50)) == (1.0, 1.0)
    assert interval(ap50_draws(gt, [], groups, 50)) == (0.0, 0.0)


def test_half_found_varies_about_the_score():
    gt, results = truth_and_results([True, False] * 20)
    groups = {i: f"g{i}" for i in range(1, 41)}
    draws = ap50_draws(gt, results, groups, 400)
    score = evaluate(gt, results)["segm"]["AP50"]
    low, high = interval(draws)
    assert abs(draws.mean() - score) < 0.02 and low < score < high
    assert 0.25 < low < 0.4 and 0.6 < high < 0.75  # binomial: 0.5 +- 1.96 sqrt(0.25 / 40)


def test_groups_are_drawn_whole():
    gt, results = truth_and_results([True, True, False, False])
    draws = ap50_draws(gt, results, {1: "a", 2: "a", 3: "b", 4: "b"}, 200)
    half = evaluate(gt, results)["segm"]["AP50"]
    assert set(np.round(draws, 6)) == {0.0, round(half, 6), 1.0}


def test_two_models_are_drawn_alike():
    found = [True, False] * 10
    gt, some = truth_and_results(found)
    _, everything = truth_and_results([True] * 20)
    groups = {i: f"g{i}" for i in range(1, 21)}
    a, b = (ap50_draws(gt, r, groups, 100, seed=3) for r in (some, everything))
    assert (b - a).std() == pytest.approx(a.std()) and (b >= a).all()
    assert np.array_equal(a, ap50_draws(gt, some, groups, 100, seed=3))
    assert not np.array_equal(a, ap50_draws(gt, some, groups, 100, seed=4))


def test_no_instances_no_interval():
    gt, _ = truth_and_results([True] * 3)
    draws = ap50_draws({**gt, "annotations": []}, [], {1: "a", 2: "b", 3: "c"}, 5)
    assert np.isnan(draws).all() and np.isnan(interval(draws)).all()
