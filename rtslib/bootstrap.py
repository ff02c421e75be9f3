"""How sure is a score? Bootstrap over site groups.

Test chips are a sample of places, and chips of one site resemble each other. So whole groups are drawn
with replacement, as many as there are, and AP50 is computed anew each time; the middle 95 % of the draws are
the interval. Two models are compared on the *same* draws (paired), which cancels what is hard for both.
It says nothing about other seeds of the training: those need runs of their own.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13 (percentile interval); groups as
the unit (cluster bootstrap): Davison and Hinkley 1997, sec. 3.8.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np

from rtslib.evaluate import matched


def ap50_draws(
    gt: dict, results: Sequence[dict], groups: Mapping[int, str], draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """AP50 of masks on bootstrap samples of the groups.

    Args:
        gt, results: as for `rtslib.evaluate.evaluate`.
        groups: chip id -> group, for every chip of `gt`.
        draws: number of samples.
        seed: of the draws; the same seed and groups give the same samples, whatever the results.

    Returns:
        float64 (draws,), fractions 0-1; NaN for a sample without instances.

    Raises:
        DataError: as `evaluate`.
    """
    run = matched(gt, list(results), "segm", iou=0.5, area="all")
    of_chip = dict(zip(run.params.imgIds, run.evalImgs, strict=True))
    members: dict[str, list] = {}
    for chip in sorted(of_chip):
        members.setdefault(groups[chip], []).append(of_chip[chip])
    names, rng = sorted(members), np.random.default_rng(seed)
    out = np.full(draws, np.nan)
    for i in range(draws):
        sample = [one for g in rng.integers(len(names), size=len(names)) for one in members[names[g]]]
        run.evalImgs = sample
        run.params.imgIds = run._paramsEval.imgIds = list(range(len(sample)))
        with contextlib.redirect_stdout(io.StringIO()):
            run.accumulate(run.params)
        precision = run.eval["precision"]
        if (precision >= 0).all():
            out[i] = precision.mean()
    return out


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % quantiles of draws (n,), NaN ones left out; (nan, nan) if none is left."""
    known = draws[np.isfinite(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)
