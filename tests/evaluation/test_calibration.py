"""Platt scaling: known answers, that it keeps the order, and that scores then add up."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtslib.evaluation.calibration import calibration_error, fit_platt, reliability
from rtslib.models.platt import platt, unplatt


def drawn(temperature, shift, n=20000, seed=0):
    """Scores of a model that this temperature and shift mend, and whether each was right."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    right = rng.random(n) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-(logit - shift) * temperature)), right


@pytest.mark.parametrize("temperature,shift", [(0.5, 0.0), (1.0, 0.0), (1.0, -2.0), (3.0, 1.0)])
def test_both_numbers_are_found_and_mend_the_error(temperature, shift):
    scores, right = drawn(temperature, shift)
    fitted = fit_platt(scores, right)
    assert fitted == pytest.approx((temperature, shift), rel=0.06, abs=0.06)
    after = platt(torch.tensor(scores), *fitted).numpy()
    assert calibration_error(after, right) < 0.02
    if (temperature, shift) != (1, 0):
        assert calibration_error(scores, right) > 0.05


@pytest.mark.parametrize("seed", range(5))
def test_scores_sum_to_what_was_right(seed):
    """Also of few; no temperature alone brings scores around 0.3 of which eight in ten are right to their number."""
    rng = np.random.default_rng(seed)
    scores, right = rng.uniform(0.2, 0.45, 40), rng.random(40) < 0.8
    after = platt(torch.tensor(scores), *fit_platt(scores, right)).numpy()
    assert after.sum() == pytest.approx(right.sum(), abs=0.05)
    assert max(platt(torch.tensor(scores), t, 0.0).sum() for t in (0.05, 0.5, 1, 5, 20)) < right.sum() - 4


def test_nothing_to_fit_is_none():
    assert fit_platt(np.array([0.2, 0.9]), np.array([True, True])) is None
    assert fit_platt(np.zeros(0), np.zeros(0, bool)) is None
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) is None


def test_a_perfect_ranking_stays_in_bounds():
    """Likelihood then grows without end."""
    temperature, shift = fit_platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert temperature >= 0.05 and abs(shift) <= 10


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.floats(0.05, 20), st.floats(-10, 10))
def test_the_order_stays_and_scores_stay_scores(scores, temperature, shift):
    before = torch.tensor(sorted(scores))
    after = platt(before, temperature, shift)
    assert ((after >= 0) & (after <= 1)).all() and (after.diff() >= 0).all()
    assert platt(before, 1.0, 0.0) is before


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=20), st.floats(0.5, 4), st.floats(-3, 3))
def test_it_can_be_undone(scores, temperature, shift):
    before = torch.tensor(scores, dtype=torch.float64)
    after = platt(before, temperature, shift).clamp(1e-5, 1 - 1e-5)
    kept = (after > 1e-5) & (after < 1 - 1e-5)
    torch.testing.assert_close(unplatt(after, temperature, shift)[kept], before[kept], atol=1e-6, rtol=1e-6)


def test_reliability_counts_every_detection():
    scores, right = np.array([0.05, 0.05, 0.95, 1.0]), np.array([False, True, True, True])
    low, high = reliability(scores, right)
    assert (low["count"], low["right"], low["score"]) == (2, 0.5, pytest.approx(0.05))
    assert (high["low"], high["count"], high["right"]) == (0.9, 2, 1.0)
    assert calibration_error(scores, right) == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
