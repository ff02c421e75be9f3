"""Count and area of a map with their intervals, where the right ones are known by hand."""

from itertools import product

import numpy as np
import pytest

from rtslib.errors import DataError
from rtslib.mapping.totals import count_distribution, totals

KEYS = ["detections", "expected_count", "count_low", "count_high", "mapped_area_m2", "expected_area_m2", "area_low",
        "area_high"]  # fmt: skip


def test_what_is_certain_has_no_interval():
    got = totals(np.array([1.0, 1.0, 0.0]), np.array([100.0, 50.0, 7.0]))
    assert list(got) == KEYS and list(got.values()) == [3, 2, 2, 2, 157, 150, 150, 150]
    assert list(totals(np.zeros(0), np.zeros(0)).values()) == [0] * 8


def test_the_count_is_the_binomial_where_all_scores_are_equal():
    """A hundred fair coins: 40 to 60 heads hold 96.5 %, and below 40 lie 1.8 %."""
    got = totals(np.full(100, 0.5), np.full(100, 10.0))
    assert (got["expected_count"], got["count_low"], got["count_high"]) == (50, 40, 60)
    assert got["expected_area_m2"] == 500 and (got["area_low"], got["area_high"]) == (400, 600)
    assert (totals([0.03], [1.0])["count_low"], totals([0.03], [1.0])["count_high"]) == (0, 1)
    assert totals([0.02], [1.0])["count_high"] == 0


@pytest.mark.parametrize("p", [[0.3], [0.1, 0.9], [0.2, 0.5, 0.7], [0.0, 1.0, 0.25, 0.6, 0.35]])
def test_the_distribution_is_that_of_all_outcomes(p):
    right = np.zeros(len(p) + 1)
    for outcome in product([0, 1], repeat=len(p)):
        right[sum(outcome)] += np.prod([q if o else 1 - q for q, o in zip(p, outcome, strict=True)])
    np.testing.assert_allclose(count_distribution(np.array(p)), right, atol=1e-14)


def test_the_distribution_of_many_slumps_adds_up():
    p = np.random.default_rng(1).random(5000)
    pmf, k = count_distribution(p), np.arange(5001)
    assert pmf.sum() == pytest.approx(1) and pmf @ k == pytest.approx(p.sum())
    assert pmf @ (k - p.sum()) ** 2 == pytest.approx((p * (1 - p)).sum())


def test_the_area_is_that_of_the_slumps_and_not_of_their_number():
    """One large unsure slump among small sure ones: the area is either 1 or 1001 ha, the count 10 or 11."""
    got = totals([1.0] * 10 + [0.5], [1000.0] * 10 + [10_000_000.0])
    assert (got["count_low"], got["count_high"], got["area_low"], got["area_high"]) == (10, 11, 1e4, 1.001e7)
    p, a = np.random.default_rng(2).random((2, 400)) * [[1], [5000]]
    got = totals(p, a)
    spread = 1.96 * np.sqrt((p * (1 - p) * a**2).sum())  # sums of many are near normal
    assert got["area_low"] == pytest.approx(p @ a - spread, rel=0.01)
    assert got["area_high"] == pytest.approx(p @ a + spread, rel=0.01)
    assert totals(p, a) == got and totals(p, a, seed=1) != got


def test_bad_scores_and_areas_are_refused():
    with pytest.raises(DataError, match="score 1.2 of detection 2"):
        totals([0.5, 1.2], [1, 1])
    with pytest.raises(DataError, match="score nan"):
        totals([np.nan], [1])
    with pytest.raises(DataError, match="area -1"):
        totals([0.5], [-1])
    with pytest.raises(DataError, match="2 scores and 1 areas"):
        totals([0.5, 0.5], [1])
