"""How sure is a score? Bootstrap over site groups, and over seeds of the training.

Test chips are a sample of places, and chips of one site resemble each other. So whole groups are drawn
with replacement, as many as there are, and AP50 (or AP25) is computed anew each time; the middle 95 % of the draws are
the interval. Where models were trained with several seeds, each draw also draws as many seeds with
replacement and takes the mean, so that the interval holds the luck of a training too (with three seeds rather
less of it than there is). Two models are compared on the *same* draws of groups and seeds (paired), which cancels
what is hard for both. Where there is one group only, chips are drawn.

Matching is COCO's (`rtslib.evaluation.coco.matched`); a draw weighs the detections of each group by how often it was
drawn, which gives the AP50 of a test set with those copies.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13 (percentile interval); groups as
the unit (cluster bootstrap): Davison and Hinkley 1997, sec. 3.8.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtslib.evaluation.coco import matched

DRAWS = 1000
RECALLS = np.linspace(0, 1, 101)  # COCO's


class Hits(NamedTuple):
    """Detections of a test set, matched at one IoU, best score first.

    Attributes:
        scores: float64 (n,); right: bool (n,), which match an instance.
        chips: int64 (n,), id of the chip of each.
        unit: int64 (n,), index of the group of each; instances: int64 (units,), how many each group has.
    """

    scores: np.ndarray
    right: np.ndarray
    chips: np.ndarray
    unit: np.ndarray
    instances: np.ndarray


def hits(gt: dict, results: Sequence[dict], groups: Mapping[int, str], iou: float = 0.5) -> Hits:
    """Match detections and instances.

    Args:
        gt, results: as for `rtslib.evaluation.coco.evaluate`; the 10 best predictions a chip count.
        groups: chip id -> group, for every chip of `gt`; the same for models that are compared.
        iou: of masks, from which a detection is right.

    Raises:
        DataError: as `evaluate`.
    """
    run = matched(gt, list(results), "segm", iou=iou, area="all")
    chips = list(run.params.imgIds)
    names = sorted({str(groups[c]) for c in chips})
    if len(names) == 1:
        groups, names = {c: f"{c:012d}" for c in chips}, sorted(f"{c:012d}" for c in chips)
    index = {name: i for i, name in enumerate(names)}
    instances, parts = np.zeros(len(names), np.int64), []
    for chip, image in zip(chips, run.evalImgs, strict=True):
        unit = index[str(groups[chip])]
        if image is not None:
            instances[unit] += len(image["gtIds"])
            parts += [(s, m > 0, chip, unit) for s, m in zip(image["dtScores"], image["dtMatches"][0], strict=True)]
    table = np.array(parts, dtype=[("s", float), ("r", bool), ("c", np.int64), ("u", np.int64)])
    table = table[np.argsort(-table["s"], kind="stable")]
    scores, right, chip, unit = (np.ascontiguousarray(table[k]) for k in "srcu")
    return Hits(scores, right, chip, unit, instances)


def average_precision(found: Hits, weights: np.ndarray | None = None) -> float:
    """Average precision of masks at the IoU of the hits, as COCO's, 0-1; NaN without instances.

    `weights`, float (units,), says how often each group counts.
    """
    weights = np.ones(len(found.instances)) if weights is None else weights
    total, w = float(weights @ found.instances), weights[found.unit]
    if not total:
        return float("nan")
    kept = w > 0
    right, w = found.right[kept], w[kept]
    tp, every = np.cumsum(w * right), np.cumsum(w)
    precision = np.maximum.accumulate((tp / (every + np.spacing(1)))[::-1])[::-1]
    at = np.searchsorted(tp / total, RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(at, len(precision))].mean())


def draw_weights(units: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Draw groups with replacement: int64 (draws, units), how often each is in each draw."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(units, size=units), minlength=units) for _ in range(draws)])


def ap_draws(of_seeds: Sequence[Hits], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Average precision on bootstrap samples of groups and seeds.

    Args:
        of_seeds: what `hits` returns for a model's seeds, on one test set.
        draws: number of samples; seed: of the draws. Models with as many seeds and the same groups get the
            same samples.

    Returns:
        float64 (draws,), fractions 0-1; NaN for a sample without instances.
    """
    weights = draw_weights(len(of_seeds[0].instances), draws, seed)
    every = np.array([[average_precision(found, w) for w in weights] for found in of_seeds])
    chosen = np.random.default_rng([seed, 1]).integers(len(of_seeds), size=(draws, len(of_seeds)))
    return every[chosen, np.arange(draws)[:, None]].mean(axis=1)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % quantiles of draws (n,), NaN ones left out; (nan, nan) if none is left."""
    known = draws[np.isfinite(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Compare two models on the same draws (n,).

    Returns:
        `low` and `high`, 95 % interval of ours - theirs, and `share_ahead`, that of the draws in which we are ahead.
    """
    gap = ours - theirs
    low, high = interval(gap)
    known = gap[np.isfinite(gap)]
    return {"low": low, "high": high, "share_ahead": float((known > 0).mean()) if len(known) else np.nan}
