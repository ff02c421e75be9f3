"""Calibration: of the detections with score 0.7, are seven in ten right?

A detection is *right* if it matches an instance at IoU 0.5 (best score first, each instance once). Detectors
are trained on other questions, so their scores rank well but are no probabilities. *Platt scaling* divides
the logit of every score by a temperature T > 0 and shifts it by b:

    score' = sigmoid(logit(score) / T + b)

Both are fitted on the validation side, which the weights were not trained on, by the least negative log-likelihood
of right and wrong; the scores there then sum to the number of right detections, which a temperature alone cannot
bring about (it moves no score across 0.5). One model's scores keep their order, so its average precision stays;
pooled with those of another model (the folds of cross-validation), they would not.

The *expected calibration error* is the mean distance between a bin's share of right detections and its mean
score, weighted by the bin's number of detections, over ten bins of equal width.

Sources: Platt 1999 (Advances in Large Margin Classifiers, 61-74); Guo et al. 2017, arXiv 1706.04599; for detectors
Küppers et al. 2020, arXiv 2004.13546. Differs from Platt's: his targets (r + 1) / (r + 2), which are for few examples
without noise, are 0 and 1 here, as theirs would not sum to r.
"""

import numpy as np

EPS = 1e-6  # scores are kept this far from 0 and 1, where the logit ends
LOWEST, HIGHEST = 0.05, 20.0  # of T
FARTHEST = 10.0  # of b, either way


def fit_platt(scores: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float] | None:
    """Fit T and b by maximum likelihood.

    Args:
        scores: float (n,), 0-1, not scaled before.
        right: bool (n,).
        weights: float (n,), what each counts; None: the same.

    Returns:
        T between `LOWEST` and `HIGHEST`, b between -`FARTHEST` and `FARTHEST`; None without both right and wrong
        detections, where none fit best.
    """
    from scipy.optimize import minimize

    if not right.any() or right.all():
        return None
    clipped = np.clip(scores, EPS, 1 - EPS)
    logits, side = np.log(clipped / (1 - clipped)), np.where(right, 1.0, -1.0)
    share = np.full(len(side), 1 / len(side)) if weights is None else weights / weights.sum()

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        scale, shift = np.exp(-numbers[0]), numbers[1]
        margin = side * (logits * scale + shift)
        slope = -side * share * np.exp(-np.logaddexp(0, margin))
        return float(share @ np.logaddexp(0, -margin)), np.array([slope @ logits * -scale, slope.sum()])

    bounds = [(np.log(LOWEST), np.log(HIGHEST)), (-FARTHEST, FARTHEST)]
    best = minimize(loss, np.zeros(2), jac=True, bounds=bounds, method="L-BFGS-B")
    return float(np.exp(best.x[0])), float(best.x[1])


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
