"""Totals: how many slumps a map holds and how large they are together, with 95 % intervals.

The score of a detection is taken as the probability that it is a slump, and detections as independent of each
other. The number of slumps among them then has a Poisson binomial distribution with the mean sum(p), and their area
the mean sum(p * a).

What the intervals leave out: slumps that the map missed, or that lie below its least score (the totals are of the
map, not of the ground); errors of the outlines; dependence (what is wrong with one detection is often wrong with its
neighbours, which makes the true interval wider); and scores that are no probabilities on this ground, since a
calibration (`rtslib.evaluation.calibration`) holds where it was made and need not hold elsewhere.

Source: Hong 2013, "On computing the distribution function for the Poisson binomial distribution", CSDA 59, 41-51;
here it is computed by multiplying generating functions in pairs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtslib.errors import DataError

#: The file in a map's folder.
TOTALS = "totals.json"
#: Draws of the area.
DRAWS = 10_000
#: Random numbers held at a time.
_AT_A_TIME = 10_000_000


def totals(scores: np.ndarray, areas_m2: np.ndarray, draws: int = DRAWS, seed: int = 0) -> dict[str, int | float]:
    """Count slumps and add up their area, with 95 % intervals from scores.

    Args:
        scores: float (n,), probabilities 0-1 that a detection is right.
        areas_m2: float (n,), area of each.
        draws, seed: of the simulation that gives the interval of the area (two minutes for a million slumps).

    Returns:
        `detections`, `expected_count`, `count_low`, `count_high` (numbers; the last two integers, exact: at most
        2.5 % lie below the one and above the other), `mapped_area_m2` (of all detections), `expected_area_m2`,
        `area_low`, `area_high` (m2). Zeros where there is no detection.

    Raises:
        DataError: scores outside 0-1, areas that are negative or not finite, or not one for each score.
    """
    p, a = np.asarray(scores, dtype=float).ravel(), np.asarray(areas_m2, dtype=float).ravel()
    if len(p) != len(a):
        raise DataError("map", f"{len(p)} scores and {len(a)} areas", "one area for each score")
    _refuse("score", p, (p >= 0) & (p <= 1), "0 to 1")
    _refuse("area", a, (a >= 0) & np.isfinite(a), "0 m2 or more")
    if not len(p):
        low, high, area = 0, 0, np.zeros(1)
    else:
        below = np.cumsum(count_distribution(p))
        low, high = (int(np.argmax(below >= q - 1e-12)) for q in (0.025, 0.975))
        area = _areas(p, a, draws, seed)
    area_low, area_high = np.quantile(area, [0.025, 0.975])
    return {
        "detections": len(p), "expected_count": float(p.sum()), "count_low": low, "count_high": high,
        "mapped_area_m2": float(a.sum()), "expected_area_m2": float(p @ a),
        "area_low": float(area_low), "area_high": float(area_high),
    }  # fmt: skip


def as_text(found: Mapping[str, Any]) -> str:
    """Say count and area with their intervals.

    Args:
        found: what `totals.json` holds: from `totals` and, where a ledger was known, `rtslib.mapping.ground`.
    """
    if found.get("ground_count") is not None:
        of, count, area = "ground_", "ground_count", "ground_area_m2"
        said = f"with those it misses (recall {found['recall']:.2f} on validation) there are"
    else:
        of, count, area = "", "expected_count", "expected_area_m2"
        said = "by their scores alone, nothing known of those missed, right are"
    said += f" {found[count]:.0f} (95 %: {found[of + 'count_low']:.0f} to {found[of + 'count_high']:.0f})"
    if found[area] is None:
        return f"{said}; how large they are together, chips do not tell"
    low, high = (found[of + k] / 1e4 for k in ("area_low", "area_high"))
    return f"{said}, {found[area] / 1e4:.2f} ha ({low:.2f} to {high:.2f})"


def count_distribution(p: np.ndarray) -> np.ndarray:
    """Return the Poisson binomial distribution of the number of successes.

    Args:
        p: float (n,), probabilities 0-1 of independent trials; n >= 1.

    Returns:
        float64 (n + 1,), probability of 0, 1, ... n successes, to about 1e-15.
    """
    parts = np.stack([1 - p, p], axis=1)
    while len(parts) > 1:
        if len(parts) % 2:  # a trial that cannot succeed changes nothing
            parts = np.vstack([parts, np.eye(1, parts.shape[1])])
        size = 2 * parts.shape[1] - 1
        spectrum = np.fft.rfft(parts, n=size, axis=1)
        parts = np.fft.irfft(spectrum[::2] * spectrum[1::2], n=size, axis=1)
    return np.clip(parts[0, : len(p) + 1], 0, 1)


def _areas(p: np.ndarray, a: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draw the area of the right detections `draws` times, m2."""
    rng, total = np.random.default_rng(seed), np.zeros(draws)
    step = max(_AT_A_TIME // draws, 1)
    for k in range(0, len(p), step):
        part = slice(k, k + step)
        total += (rng.random((draws, len(p[part])), dtype=np.float32) < p[part]) @ a[part]
    return total


def _refuse(what: str, values: np.ndarray, right: np.ndarray, expected: str) -> None:
    if not right.all():
        k = int(np.argmin(right))
        raise DataError("map", f"{what} {values[k]:g} of detection {k + 1}", expected)
