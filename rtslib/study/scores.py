"""Scores of a study's runs on held-out chips: averages, how sure they are, curves, and what they cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rtslib.evaluation.bootstrap import Hits, ap_draws, average_precision, difference, hits
from rtslib.evaluation.coco import evaluate, pr_curve
from rtslib.evaluation.ledger import judged
from rtslib.study.study import StudyRun
from rtslib.training.evidence import NO_SIDE, chosen
from rtslib.training.steptime import run_seconds

#: Seconds of a training step by config, measured once a process.
_TIMED: dict[str, float] = {}


def score(run: StudyRun, side: str = "test") -> dict[str, Any]:
    """Score a run on one side of the split, and say what it cost.

    Args:
        run: one that is made.
        side: train, val or test.

    Returns:
        One row of a table: model, modalities, fusion; mask AP, AP50, AP75, AP_small, AP_medium, AP_large, AR,
        box_AP, box_AP50 (fractions 0-1, None where no instance has that size); AP50_low and AP50_high (95 %
        interval over site groups, see `rtslib.evaluation.bootstrap`); chips, instances; and the costs as
        `rtslib.training.runs.Run.cost` and, timed anew, `rtslib.training.steptime.run_seconds` have them.

    Raises:
        DataError: the side has no chips.
    """
    scores = evaluate(run.study.chipset.coco(run.study.chips(side)), run.predictions(side))
    low, high = ap_draws([_hits(run, side)]).interval()
    config = run.made.config
    return {
        "model": run.name, "modalities": "+".join(config.modalities),
        "fusion": config.fusion if len(config.modalities) > 1 else "none", **scores["segm"],
        **{"AP50_low": low, "AP50_high": high}, **{f"box_{k}": scores["bbox"][k] for k in ("AP", "AP50")},
        **{k: scores[k] for k in ("chips", "instances")}, **run.made.cost(),
        **run_seconds(run.made, run.study.chipset, _TIMED),
    }  # fmt: skip


def gains(run: StudyRun, others: Sequence[StudyRun], side: str = "test") -> pd.DataFrame:
    """Compare the AP50 of one run with others on the same bootstrap samples of site groups.

    Returns:
        One row per other run: model, over, AP50_gain (fractions; positive where `run` is ahead), low and high
        (95 % interval over site groups), and seeds_ahead: 1 where it is, else 0.
    """
    own, rows = _hits(run, side), []
    draws = ap_draws([own])
    for other in others:
        theirs = _hits(other, side)
        gain = average_precision(own) - average_precision(theirs)
        paired = difference(draws, ap_draws([theirs]))
        rows.append({"model": run.name, "over": other.name, "AP50_gain": gain, **paired})
    return pd.DataFrame(rows)


def threshold(run: StudyRun) -> tuple[float, str]:
    """Return the score from which a map shows this run's detections, and a sentence on where it comes from.

    As `rtslib.training.evidence.shown_from`, but of the predictions, which runs that join others have too.
    """
    if "val" not in set(run.study.split["side"]):
        return NO_SIDE
    truth = run.study.chipset.coco(run.study.chips("val"))
    return chosen(*judged(truth, run.predictions("val")), len(truth["annotations"]))


def best(runs: Sequence[StudyRun]) -> StudyRun:
    """Return the run to map with, by mask AP50 on the validation side, never the test side.

    Validation sides are small, and their best score is mostly luck: of the runs that are within one standard error of
    the best one (of the difference, over site groups), it is the one with fewest parameters. The first one where the
    split has no validation side.

    Args:
        runs: of one study, made; at least one.

    Source: the one-standard-error rule of Breiman, Friedman, Olshen and Stone 1984, "Classification and Regression
    Trees", sec. 3.4.3; there for the size of one tree.
    """
    if "val" not in set(runs[0].study.split["side"]):
        return runs[0]
    drawn = [ap_draws([_hits(run, "val")]) for run in runs]
    top = max(drawn, key=lambda own: np.nan_to_num(own.scores[0]))
    near = [run for run, own in zip(runs, drawn, strict=True) if not top.over(own).scores[0] > top.over(own).error]
    return min(near, key=lambda run: run.made.cost()["parameters"])


def _hits(run: StudyRun, side: str) -> Hits:
    """Match a run's detections on one side with its instances."""
    chips = run.study.chips(side)
    return hits(run.study.chipset.coco(chips), run.predictions(side), {c.id: c.group for c in chips})


def curve_table(runs: Sequence[StudyRun], side: str = "test") -> pd.DataFrame:
    """Return precision-recall curves of masks at IoU 0.5: model, recall, precision; 101 rows a run."""
    parts = []
    for run in runs:
        truth = run.study.chipset.coco(run.study.chips(side))
        recall, precision = pr_curve(truth, run.predictions(side))
        parts.append(pd.DataFrame({"model": run.name, "recall": recall, "precision": precision}))
    return pd.concat(parts, ignore_index=True)


def log_table(runs: Sequence[StudyRun]) -> pd.DataFrame:
    """Return the training logs of runs: model, epoch (from 0), loss, and val_AP50 where it was validated; those
    without epochs, trees and what is joined, are left out."""
    trained = [run for run in runs if run.planned.stages and run.planned.fusion != "trees"]
    logs = {run.name: run.made.folder / "log.csv" for run in trained}
    parts = [pd.read_csv(log).assign(model=name) for name, log in logs.items()]
    table = pd.concat(parts, ignore_index=True)
    return table[[c for c in ("model", "epoch", "loss", "val_AP50") if c in table]]
