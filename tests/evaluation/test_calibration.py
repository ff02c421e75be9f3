"""Temperature scaling: known answers, and that it changes no order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.scored import case
from rtslib.evaluation.calibration import calibration_error, fit_temperature, judged, reliability
from rtslib.models.temperature import tempered


def drawn(temperature, n=20000, seed=0):
    """Scores of a model whose logits are `temperature` times too large, and whether each was right."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    right = rng.random(n) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-logit * temperature)), right


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_and_mends_the_error(temperature):
    scores, right = drawn(temperature)
    fitted = fit_temperature(scores, right)
    assert fitted == pytest.approx(temperature, rel=0.06)
    after = tempered(torch.tensor(scores), fitted).numpy()
    assert calibration_error(after, right) < 0.02
    if temperature != 1:
        assert calibration_error(scores, right) > 0.05


def test_nothing_to_fit_is_none():
    assert fit_temperature(np.array([0.2, 0.9]), np.array([True, True])) is None
    assert fit_temperature(np.zeros(0), np.zeros(0, bool)) is None
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) is None


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.floats(0.05, 20))
def test_the_order_stays_and_scores_stay_scores(scores, temperature):
    before = torch.tensor(sorted(scores))
    after = tempered(before, temperature)
    assert ((after >= 0) & (after <= 1)).all() and (after.diff() >= 0).all()
    assert tempered(before, 1.0) is before


def test_reliability_counts_every_detection():
    scores, right = np.array([0.05, 0.05, 0.95, 1.0]), np.array([False, True, True, True])
    low, high = reliability(scores, right)
    assert (low["count"], low["right"], low["score"]) == (2, 0.5, pytest.approx(0.05))
    assert (high["low"], high["count"], high["right"]) == (0.9, 2, 1.0)
    assert calibration_error(scores, right) == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)


def test_right_is_matched_at_half():
    scores, right = judged(*case([0.9, 0.6], [0.7], 2))
    assert sorted(zip(scores, right)) == [(0.6, True), (0.7, False), (0.9, True)]
