"""Calibration: of the detections with score 0.7, are seven in ten right?

A detection is *right* if it matches an instance at IoU 0.5 (best score first, each instance once). Detectors
are trained on other questions, so their scores rank well but are no probabilities. *Temperature scaling*
divides the logit of every score by one number T > 0:

    score' = sigmoid(logit(score) / T)

T is fitted on the validation side, which the weights were not trained on, by the least negative log-likelihood
of right and wrong. One model's scores keep their order, so its average precision stays; pooled with those of a model
with another T (the folds of cross-validation), they would not. T > 1 pulls scores to 0.5, T < 1 pushes them away from
it; it cannot move them across 0.5.

The *expected calibration error* is the mean distance between a bin's share of right detections and its mean
score, weighted by the bin's number of detections, over ten bins of equal width.

Source: Guo et al. 2017, arXiv 1706.04599; for detectors Küppers et al. 2020, arXiv 2004.13546.
"""

from collections.abc import Sequence

import numpy as np

from rtslib.evaluation.coco import matched

EPS = 1e-6  # scores are kept this far from 0 and 1, where the logit ends
LOWEST, HIGHEST = 0.05, 20.0  # of T


def judged(gt: dict, results: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Tell right detections from wrong ones.

    Args:
        gt, results: as for `rtslib.evaluation.coco.evaluate`; the 10 best predictions a chip count.

    Returns:
        Scores, float64 (n,), and which are right, bool (n,).

    Raises:
        DataError: as `evaluate`.
    """
    images = [image for image in matched(gt, list(results), "segm", iou=0.5, area="all").evalImgs if image]
    scores = np.concatenate([np.asarray(image["dtScores"], float) for image in images] or [np.zeros(0)])
    right = np.concatenate([np.asarray(image["dtMatches"][0]) > 0 for image in images] or [np.zeros(0, bool)])
    return scores, right.astype(bool)


def fit_temperature(scores: np.ndarray, right: np.ndarray) -> float | None:
    """Fit T by maximum likelihood.

    Args:
        scores: float (n,), 0-1, not scaled before.
        right: bool (n,).

    Returns:
        T between `LOWEST` and `HIGHEST`; None without both right and wrong detections, where none fits best.
    """
    from scipy.optimize import minimize_scalar

    if not right.any() or right.all():
        return None
    clipped = np.clip(scores, EPS, 1 - EPS)
    margin = np.log(clipped / (1 - clipped)) * np.where(right, 1.0, -1.0)

    def loss(log_t: float) -> float:
        return float(np.logaddexp(0, -margin / np.exp(log_t)).mean())

    best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(best.x))


def reliability(scores: np.ndarray, right: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Return one row a bin of equal width with detections in it: low, high, count, score (mean), right (share)."""
    index = np.minimum((scores * bins).astype(int), bins - 1)
    rows = []
    for b in np.unique(index):
        here = index == b
        rows.append({
            "low": b / bins, "high": (b + 1) / bins, "count": int(here.sum()),
            "score": float(scores[here].mean()), "right": float(right[here].mean()),
        })  # fmt: skip
    return rows


def calibration_error(scores: np.ndarray, right: np.ndarray, bins: int = 10) -> float | None:
    """Return the expected calibration error, 0-1; None without detections."""
    rows = reliability(scores, right, bins)
    if not rows:
        return None
    return sum(r["count"] * abs(r["score"] - r["right"]) for r in rows) / len(scores)
