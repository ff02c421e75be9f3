"""Scores of a study's runs on held-out chips: averages, how sure they are, curves, and what they cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rtslib.files import read_json, write_json
from rtslib.study.study import side_chips
from rtslib.training.identity import cost

if TYPE_CHECKING:
    from rtslib.data.chips import ChipSet
    from rtslib.evaluation.bootstrap import Hits

#: Seconds of a training step by config, measured once a process.
_TIMED: dict[str, float] = {}


def score(run: str | Path, chipset: "ChipSet", split: pd.DataFrame, side: str = "test") -> dict[str, Any]:
    """Score a run on one side of the split, and say what it cost.

    Args:
        run: folder that `rtslib.study.study.make` returned.
        chipset, split: as from `prepare`.
        side: train, val or test.

    Returns:
        One row of a table: model, modalities, fusion; mask AP, AP50, AP75, AP_small, AP_medium, AP_large, AR,
        box_AP, box_AP50 (fractions 0-1, None where no instance has that size); AP50_low and AP50_high (95 %
        interval over site groups, see `rtslib.evaluation.bootstrap`); chips, instances; and the costs as `rtslib.training.identity.cost`
        and, timed anew, `rtslib.training.steptime.run_seconds` have them.

    Raises:
        DataError: the side has no chips.
    """
    from rtslib.evaluation.bootstrap import ap_draws, interval
    from rtslib.evaluation.coco import evaluate
    from rtslib.training.steptime import run_seconds

    run = Path(run)
    scores = evaluate(chipset.coco(side_chips(chipset, split, side)), predictions(run, chipset, split, side))
    low, high = interval(ap_draws([_hits(run, chipset, split, side)]))
    config = read_json(run / "config.json")
    row = {
        "model": run.name,
        "modalities": "+".join(config["modalities"]),
        "fusion": config["fusion"] if len(config["modalities"]) > 1 else "none",
        **scores["segm"],
        **{"AP50_low": low, "AP50_high": high},
        **{f"box_{k}": scores["bbox"][k] for k in ("AP", "AP50")},
        "chips": scores["chips"],
        "instances": scores["instances"],
    }
    return {**row, **cost(run), **run_seconds(run, chipset, _TIMED)}


def gains(
    run: str | Path, others: list[Path], chipset: "ChipSet", split: pd.DataFrame, side: str = "test"
) -> pd.DataFrame:
    """Compare the AP50 of one run with others on the same bootstrap samples of site groups.

    Returns:
        One row per other run: model, over, AP50_gain (fractions; positive where `run` is ahead), low and high
        (95 % interval), and share_ahead, that of the samples in which it is.
    """
    from rtslib.evaluation.bootstrap import ap_draws, average_precision, interval

    own = _hits(run, chipset, split, side)
    draws, rows = ap_draws([own]), []
    for other in others:
        theirs = _hits(other, chipset, split, side)
        difference = draws - ap_draws([theirs])
        low, high = interval(difference)
        known = difference[np.isfinite(difference)]
        rows.append(
            {
                "model": Path(run).name,
                "over": Path(other).name,
                "AP50_gain": average_precision(own) - average_precision(theirs),
                "low": low,
                "high": high,
                "share_ahead": (known > 0).mean() if len(known) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def threshold(run: str | Path, chipset: "ChipSet", split: pd.DataFrame) -> tuple[float, str]:
    """Return the score from which a map shows this run's detections, and a sentence on where it comes from.

    It is the one with the best F1 on the validation side (`rtslib.evaluation.threshold`); 0.5 where that side is
    missing or has no right detection to learn it from.
    """
    from rtslib.evaluation.threshold import best_threshold

    if "val" not in set(split["side"]):
        return 0.5, "No validation side to choose the score threshold on: 0.5 is taken."
    truth = chipset.coco(side_chips(chipset, split, "val"))
    found = best_threshold(truth, predictions(run, chipset, split, "val"))
    if found is None:
        return 0.5, "No right detection on the validation side to choose the score threshold by: 0.5 is taken."
    return found[0], f"Score threshold {found[0]:.2f}, chosen on the validation side (F1 {found[1]:.2f} there)."


def _hits(run: str | Path, chipset: "ChipSet", split: pd.DataFrame, side: str) -> "Hits":
    """Match a run's detections on one side with its instances."""
    from rtslib.evaluation.bootstrap import hits

    chips = side_chips(chipset, split, side)
    return hits(chipset.coco(chips), predictions(run, chipset, split, side), {c.id: c.group for c in chips})


def predictions(
    run: str | Path,
    chipset: "ChipSet",
    split: pd.DataFrame,
    side: str = "test",
    hidden: Mapping[str, str] | None = None,
) -> list[dict]:
    """Return a run's COCO results on one side of the split; they are kept in the run's folder.

    `hidden` is as for `rtslib.training.predict.predict`: what of each chip the model has to do without.
    """
    from rtslib.training.predict import predict
    from rtslib.training.runs import load_run, predictions_file

    kept = predictions_file(run, side, hidden)
    if not kept.exists():
        model, _ = load_run(run)
        write_json(kept, predict(model, chipset, side_chips(chipset, split, side), hidden=hidden))
    return read_json(kept)


def curve_table(runs: list[Path], chipset: "ChipSet", split: pd.DataFrame, side: str = "test") -> pd.DataFrame:
    """Return precision-recall curves of masks at IoU 0.5: model, recall, precision; 101 rows a run."""
    from rtslib.evaluation.coco import pr_curve

    truth = chipset.coco(side_chips(chipset, split, side))
    parts = []
    for run in runs:
        recall, precision = pr_curve(truth, predictions(run, chipset, split, side))
        parts.append(pd.DataFrame({"model": Path(run).name, "recall": recall, "precision": precision}))
    return pd.concat(parts, ignore_index=True)


def log_table(runs: list[Path]) -> pd.DataFrame:
    """Return the training logs of runs: model, epoch (from 0), loss, and val_AP50 where it was validated."""
    parts = [pd.read_csv(Path(run) / "log.csv").assign(model=Path(run).name) for run in runs]
    table = pd.concat(parts, ignore_index=True)
    return table[[c for c in ("model", "epoch", "loss", "val_AP50") if c in table]]
