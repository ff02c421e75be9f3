"""Bootstrap over groups: known answers, pairing, and the plain score as a special case."""

import numpy as np
import pytest

from helpers.chip_folders import box_mask
from helpers.scored import truth_and_results
from rtslib.data.masks import encode
from rtslib.evaluation.bootstrap import Drawn, ap_draws, average_precision, difference, draw_weights, hits
from rtslib.evaluation.coco import evaluate


def draws_of(gt, results, groups, draws, seed=0):
    """Draws of a model with one seed."""
    return ap_draws([hits(gt, results, groups)], draws, seed)


def test_a_perfect_model_has_no_uncertainty_and_an_empty_one_neither():
    gt, results = truth_and_results([True] * 6)
    groups = {i: f"g{i % 3}" for i in range(1, 7)}
    assert draws_of(gt, results, groups, 50).interval() == (1.0, 1.0)
    assert draws_of(gt, [], groups, 50).interval() == (0.0, 0.0)


def test_half_found_varies_about_the_score():
    gt, results = truth_and_results([True, False] * 20)
    groups = {i: f"g{i}" for i in range(1, 41)}
    draws = draws_of(gt, results, groups, 400)
    score = evaluate(gt, results)["segm"]["AP50"]
    low, high = draws.interval()
    assert draws.scores[0] == pytest.approx(score) and abs(draws.draws.mean() - score) < 0.02 and low < score < high
    assert 0.25 < low < 0.4 and 0.6 < high < 0.75  # binomial: 0.5 +- 1.96 sqrt(0.25 / 40)


def test_groups_are_drawn_whole():
    gt, results = truth_and_results([True, True, False, False])
    draws = draws_of(gt, results, {1: "a", 2: "a", 3: "b", 4: "b"}, 200)
    half = evaluate(gt, results)["segm"]["AP50"]
    assert set(np.round(draws.draws[0], 6)) == {0.0, round(half, 6), 1.0}


def test_two_models_are_drawn_alike():
    found = [True, False] * 10
    gt, some = truth_and_results(found)
    _, everything = truth_and_results([True] * 20)
    groups = {i: f"g{i}" for i in range(1, 21)}
    a, b = (draws_of(gt, r, groups, 100, seed=3).draws for r in (some, everything))
    assert (b - a).std() == pytest.approx(a.std()) and (b >= a).all()
    assert np.array_equal(a, draws_of(gt, some, groups, 100, seed=3).draws)
    assert not np.array_equal(a, draws_of(gt, some, groups, 100, seed=4).draws)


def test_no_instances_no_interval():
    gt, _ = truth_and_results([True] * 3)
    assert np.isnan(average_precision(hits({**gt, "annotations": []}, [], {1: "a", 2: "b", 3: "c"})))
    draws = draws_of({**gt, "annotations": []}, [], {1: "a", 2: "b", 3: "c"}, 5)
    assert np.isnan(draws.draws).all() and np.isnan(draws.interval()).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_plain_score_is_cocos(seed):
    """Random right and wrong detections with ties: the same AP50 as pycocotools gives."""
    rng = np.random.default_rng(seed)
    gt, results = truth_and_results(rng.random(15) < 0.6)
    wrong = encode(box_mask(20, 30, 20, 10, 5, 5))
    for r in results:
        r["score"] = round(float(rng.random()), 1)
    for i in rng.integers(1, 16, size=12):
        results.append(
            {"image_id": int(i), "category_id": 1, "segmentation": wrong, "score": round(float(rng.random()), 1)}
        )
    found = hits(gt, results, {i: f"g{i % 4}" for i in range(1, 16)})
    assert average_precision(found) == pytest.approx(evaluate(gt, results)["segm"]["AP50"], abs=1e-9)


def test_a_draw_is_the_score_of_a_set_with_copies():
    gt, results = truth_and_results([True, False, True, True])
    wrong = encode(box_mask(20, 30, 20, 10, 5, 5))
    results.append({"image_id": 2, "category_id": 1, "segmentation": wrong, "score": 0.95})
    found = hits(gt, results, {1: "a", 2: "b", 3: "c", 4: "d"})
    copies, annotations, more = [], [], []
    for new, old in enumerate([1, 2, 2, 2], 1):  # a once, b three times, c and d never
        copies.append({**gt["images"][old - 1], "id": new})
        annotations.append({**gt["annotations"][old - 1], "id": new, "image_id": new})
        more += [{**r, "image_id": new} for r in results if r["image_id"] == old]
    wanted = evaluate({**gt, "images": copies, "annotations": annotations}, more)["segm"]["AP50"]
    assert average_precision(found, np.array([1, 3, 0, 0])) == pytest.approx(wanted)


def test_one_group_only_draws_chips():
    gt, results = truth_and_results([True, False] * 10)
    low, high = draws_of(gt, results, {i: "yg" for i in range(1, 21)}, 200).interval()
    assert low < 0.4 and high > 0.6


def test_seeds_count_by_their_variance():
    """Two seeds that find all and nothing: t(1) x 0.5 either way, so that nothing is known; two equal ones: all."""
    gt, everything = truth_and_results([True] * 6)
    groups = {i: f"g{i}" for i in range(1, 7)}
    good, bad = hits(gt, everything, groups), hits(gt, [], groups)
    assert ap_draws([good, bad], 400).interval() == (0.0, 1.0)
    assert ap_draws([good, good], 50).interval() == (1.0, 1.0)
    paired = difference(ap_draws([good, bad], 50), ap_draws([good, bad], 50))
    assert paired == {"low": 0.0, "high": 0.0, "seeds_ahead": 0.0}
    assert difference(ap_draws([good], 50), ap_draws([bad], 50)) == {"low": 1.0, "high": 1.0, "seeds_ahead": 1.0}


def test_three_seeds_by_hand():
    """Groups that tell nothing: mean 0.5, sd 0.1, so 0.5 +- 4.303 x 0.1 / sqrt(3)."""
    scores = np.array([0.4, 0.5, 0.6])
    low, high = Drawn(scores, np.repeat(scores[:, None], 20, axis=1), 10).interval()
    assert (low, high) == (pytest.approx(0.5 - 0.2484, abs=1e-4), pytest.approx(0.5 + 0.2484, abs=1e-4))


def test_a_standard_error_by_hand():
    """Draws 0.4 and 0.6: sd 0.1 sqrt(2), and five groups tell sqrt(5 / 4) times as little as their draws seem to."""
    draws = np.array([[0.4, 0.6, np.nan]])
    assert Drawn(np.array([0.5]), draws, 5).error == pytest.approx(0.1 * 2**0.5 * 1.25**0.5)
    assert np.isnan(Drawn(np.array([0.5]), draws, 1).error) and np.isnan(Drawn(np.array([0.5]), draws[:, 2:], 5).error)


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("spread", [(1, 0.1, 1), (1, 1, 1), (1, 3, 3), (1, 5, 3), (0.2, 5, 3), (0.05, 5, 0.5)])
def test_the_interval_covers(seeds, spread):
    """Scores made of a seed's luck, a site's difficulty and both together, sd as in `spread`: 95 % hold the truth."""
    groups, rng = 24, np.random.default_rng(seeds)
    weights = draw_weights(groups, 300) / groups
    covered, tries = 0, 2000
    for _ in range(tries):
        luck, site = rng.normal(0, spread[0], (seeds, 1)), rng.normal(0, spread[1], (1, groups))
        found = 0.02 * (luck + site + rng.normal(0, spread[2], (seeds, groups)))
        low, high = Drawn(found.mean(axis=1), found @ weights.T, groups).interval(least=-1)
        covered += low <= 0 <= high
    assert 0.93 <= covered / tries <= 0.97
