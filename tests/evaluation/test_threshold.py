"""The score threshold, on hand-made cases."""

import numpy as np
import pytest

from rtslib.evaluation.threshold import best_threshold


def case(right, wrong, instances):
    return np.array(right + wrong), np.array([True] * len(right) + [False] * len(wrong), bool), instances


def test_it_parts_right_from_wrong():
    assert best_threshold(*case([0.9, 0.8, 0.7], [0.3, 0.2], 3)) == (pytest.approx(0.5), 1.0)


def test_it_weighs_wrong_against_missed():
    # Keeping 0.9: F1 = 2/(1+2). Keeping 0.6 too needs the wrong 0.7: 4/(3+2) = 0.8, which is more.
    threshold, f1 = best_threshold(*case([0.9, 0.6], [0.7, 0.1], 2))
    assert threshold == pytest.approx(0.35) and f1 == pytest.approx(0.8)


def test_equal_scores_stay_together():
    threshold, f1 = best_threshold(*case([0.9, 0.5], [0.5], 2))
    assert threshold == pytest.approx(0.25) and f1 == pytest.approx(0.8)


@pytest.mark.parametrize("given", [([], [], 2), ([], [0.9], 2), ([], [0.9], 0)])
def test_nothing_to_choose_from(given):
    assert best_threshold(*case(*given)) is None
