"""How sure is a score? From groups of test chips, and from seeds of the training.

Test chips are a sample of places, and chips of one site resemble each other. So whole groups are drawn with
replacement, as many as there are, and AP50 (or AP25) is computed anew each time. Where models were trained with several
seeds, the score is their mean, and a training's luck is the other source of doubt. Three seeds drawn with replacement
tell too little of it (their percentiles cover 81 to 93 % instead of 95), so seeds count by their variance and Student's
t. With S seeds and G groups, each judged by all:

    V_s = variance of the seeds' scores / S                V_g = variance of the mean's draws x G / (G - 1)
    V_i = (mean variance of each seed's draws x G / (G - 1) - V_g) / (S - 1), which V_s and V_g both hold
    V = V_s + V_g - V_i,   df = V^2 / (V_s^2 / (S - 1) + V_g^2 / (G - 1)),   mean +- t(df) sqrt(V)

and never narrower than seeds or groups alone make it. Simulated (`tests/evaluation/test_bootstrap.py`), it covers 93 to
97 % at 3, 5 and 8 seeds, whichever source is the larger. With one seed it holds the groups alone. Two models are
compared on the *same* seeds and draws of groups (paired), which cancels what is hard for both. Where there is one group
only, chips are drawn.

Matching is COCO's (`rtslib.evaluation.coco.matched`); a draw weighs the detections of each group by how often it was
drawn, which gives the AP50 of a test set with those copies.

Sources: Satterthwaite 1946 (Biometrics Bulletin 2(6), 110-114) for df; Searle, Casella and McCulloch 1992, "Variance
Components", ch. 4, for crossed effects; Davison and Hinkley 1997, sec. 3.8, for groups as the unit (cluster bootstrap).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

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


class Drawn(NamedTuple):
    """A score and its bootstrap samples, by seed.

    Attributes:
        scores: float64 (S,), of each seed on the whole test set.
        draws: float64 (S, n), on samples of groups, the same for all seeds; NaN for a sample without instances.
        units: how many groups there are.
    """

    scores: np.ndarray
    draws: np.ndarray
    units: int

    def over(self, other: "Drawn") -> "Drawn":
        """Return the difference to a model with as many seeds, on the same draws of the same groups."""
        return Drawn(self.scores - other.scores, self.draws - other.draws, self.units)

    def of(self, seeds: Sequence[int]) -> "Drawn":
        """Return those of some seeds, by their places in `scores`."""
        return Drawn(self.scores[list(seeds)], self.draws[list(seeds)], self.units)

    @property
    def error(self) -> float:
        """Standard error over groups of the seeds' mean; NaN with one group, or without a known draw."""
        known = self.draws.mean(axis=0)
        known = known[np.isfinite(known)]
        if self.units < 2 or len(known) < 2:
            return float("nan")
        return float(known.std(ddof=1)) * (self.units / (self.units - 1)) ** 0.5

    def interval(self, least: float = 0.0) -> tuple[float, float]:
        """Return the 95 % interval of the mean over seeds and groups, within [least, 1]; (nan, nan) if unknown."""
        seeds, groups = len(self.scores), self.units
        known = self.draws[:, np.isfinite(self.draws).all(axis=0)]
        if not (np.isfinite(self.scores).all() and known.shape[1] > 1 and groups > 1):
            return float("nan"), float("nan")
        whole = groups / (groups - 1)
        by_seed = float(self.scores.var(ddof=1)) / seeds if seeds > 1 else 0.0
        by_group = float(known.mean(axis=0).var(ddof=1)) * whole
        both = (float(known.var(axis=1, ddof=1).mean()) * whole - by_group) / max(seeds - 1, 1)
        total = max(by_seed + by_group - both, by_seed, by_group)
        if not total:
            return (float(self.scores.mean()),) * 2
        free = total**2 / (by_seed**2 / max(seeds - 1, 1) + by_group**2 / (groups - 1))
        parts = ((total, max(free, 1)), (by_seed, max(seeds - 1, 1)), (by_group, groups - 1))
        half = max(student_t.ppf(0.975, df) * variance**0.5 for variance, df in parts)
        low, high = np.clip(self.scores.mean() + [-half, half], least, 1)
        return float(low), float(high)


def ap_draws(of_seeds: Sequence[Hits], draws: int = DRAWS, seed: int = 0) -> Drawn:
    """Average precision on bootstrap samples of groups.

    Args:
        of_seeds: what `hits` returns for a model's seeds, on one test set.
        draws: number of samples; seed: of the draws. Models with the same groups get the same samples.

    Returns:
        Fractions 0-1.
    """
    weights = draw_weights(len(of_seeds[0].instances), draws, seed)
    every = np.array([[average_precision(found, w) for w in weights] for found in of_seeds])
    return Drawn(np.array([average_precision(found) for found in of_seeds]), every, weights.shape[1])


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % quantiles of draws (n,), NaN ones left out; (nan, nan) if none is left."""
    known = draws[np.isfinite(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def difference(ours: Drawn, theirs: Drawn) -> dict[str, float]:
    """Compare two models on the same seeds and draws.

    Returns:
        `low` and `high`, 95 % interval of ours - theirs, and `seeds_ahead`, the share of the seeds in which we are
        ahead: with an interval around 0, the same sign in all of them may be all that is known.
    """
    gap = ours.over(theirs)
    return dict(zip(("low", "high"), gap.interval(least=-1))) | {"seeds_ahead": float((gap.scores > 0).mean())}
