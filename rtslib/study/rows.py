"""One row a run and seed: everything that a fusion study says about a trained model.

A run of cross-validation is its folds together: each chip is judged by the model that did not train on its fold, and
one score is computed over all chips. Score thresholds and calibrations come from each model's own validation side,
never from the test side. Average precision ranks the detections of all folds together, so it takes their scores from
before calibration: a fold whose validation side had no right detection keeps temperature 1 where others have 0.3, and
would go to one end of the ranking.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rtslib.config import Config
from rtslib.data.chips import Chip
from rtslib.evaluation.bootstrap import Hits, average_precision, hits
from rtslib.evaluation.boundary import boundary_iou
from rtslib.evaluation.calibration import calibration_error, reliability
from rtslib.evaluation.coco import evaluate, matched, pr_curve
from rtslib.models.macs import pyramid_macs
from rtslib.models.platt import platt, unplatt
from rtslib.study.scores import threshold
from rtslib.study.study import StudyRun
from rtslib.training.runs import Run

#: IoU of AP25. Where slumps are a few pixels wide, an outline one pixel off is right at this IoU and wrong at 0.5.
LOOSE = 0.25


@dataclass(frozen=True, eq=False)
class Judged:
    """A run of one seed on its test chips, all folds together.

    Attributes:
        name, seed: of the run.
        runs: its folders, one a fold.
        gt: COCO ground truth of all test chips; groups: chip id -> site group.
        results: COCO results on them.
        threshold: chip id -> that of the model that judged it.
        calibration: chip id -> temperature and shift of that model.
    """

    name: str
    seed: int
    runs: tuple[Run, ...]
    gt: dict
    groups: dict[int, str]
    results: list[dict]
    threshold: dict[int, float]
    calibration: dict[int, tuple[float, float]]

    @cached_property
    def raw(self) -> list[dict]:
        """The results with their scores from before calibration."""
        scores = _scaled(
            unplatt, [r["score"] for r in self.results], [self.calibration[r["image_id"]] for r in self.results]
        )
        return [{**r, "score": s} for r, s in zip(self.results, scores.tolist(), strict=True)]

    def hits(self, iou: float = 0.5) -> Hits:
        """Match `raw` and instances at an IoU, for average precision and its intervals."""
        return hits(self.gt, self.raw, self.groups, iou)


def judge(parts: Sequence[StudyRun], hidden: dict[str, str] | None = None, attends: bool = True) -> Judged:
    """Gather the predictions of a finished run, or make those that are missing.

    Args:
        parts: of one name and seed; one a fold.
        hidden: modality -> part of every test chip that the model does without (`rtslib.data.missing`).
        attends: False for its predictions with the attention switched off.

    Raises:
        DataError: a run is not there.
    """
    chips: list[Chip] = []
    results: list[dict] = []
    groups: dict[int, str] = {}
    cuts: dict[int, float] = {}
    calibration: dict[int, tuple[float, float]] = {}
    for part in parts:
        here = part.study.chips("test")
        cut, config = threshold(part)[0], part.made.config
        chips += here
        results += part.predictions("test", hidden, attends)
        groups |= {c.id: c.group for c in here}
        cuts |= {c.id: cut for c in here}
        calibration |= {c.id: (config.temperature, config.score_shift) for c in here}
    gt = parts[0].study.chipset.coco(sorted(chips, key=lambda c: c.id))
    runs = tuple(part.made for part in parts)
    return Judged(parts[0].name, parts[0].seed, runs, gt, groups, results, cuts, calibration)


def run_row(
    judged: Judged, side: int, times: Sequence[dict[str, float | None]], known: dict[str, int | None]
) -> dict[str, Any]:
    """Return the row of a run: scores, calibration and costs.

    Args:
        judged: from `judge`.
        side: of a chip, px, for the multiply-adds (`rtslib.models.macs`).
        times: what `rtslib.training.steptime.run_seconds` says of each of its folders.
        known: multiply-adds by config, which is filled on the way.

    Returns:
        model, seed, fusion, modalities; AP, AP50, AP75, AP_small ... AR of masks, AP25 (at IoU 0.25), box_AP, box_AP50
        (fractions, None where undefined); precision, recall, F1 at the validation's threshold, boundary_iou of the
        right detections there; temperature and shift, ECE_before and ECE_after them; chips, instances; costs: image
        passes, seconds and multiply-adds of all forward passes (`train_macs`) of all folds together, seconds a step,
        the highest peak of memory, multiply-adds of one chip (both None of a model without a network).
    """
    scores, config, shown = evaluate(judged.gt, judged.raw), judged.runs[0].config, at_threshold(judged)
    costs = pd.DataFrame([run.cost() for run in judged.runs])
    return {
        "model": judged.name, "seed": judged.seed,
        "fusion": config.fusion if len(config.modalities) > 1 else "none", "modalities": "+".join(config.modalities),
        **scores["segm"], "AP25": average_precision(judged.hits(LOOSE)), 
        **{f"box_{k}": scores["bbox"][k] for k in ("AP", "AP50")},
        **{k: shown[k] for k in ("precision", "recall", "F1", "boundary_iou")}, **_calibration(judged),
        "chips": scores["chips"], "instances": scores["instances"],
        **costs[["parameters", "trained_parameters", "epochs", "epochs_before"]].iloc[0].to_dict(),
        "image_passes": costs["image_passes"].sum(), "seconds": sum(t["seconds"] for t in times),
        "seconds_per_step": times[0]["seconds_per_step"],
        "peak_memory_mib": costs["peak_memory_mib"].astype(float).max(),
        "macs": _macs(config, side, known), "train_macs": _sum(_train_macs(run, side, known) for run in judged.runs),
    }  # fmt: skip


def curve_rows(judged: Judged) -> pd.DataFrame:
    """Return the precision-recall curve at IoU 0.5: model, seed, recall, precision (101 rows)."""
    recall, precision = pr_curve(judged.gt, judged.raw)
    return pd.DataFrame({"model": judged.name, "seed": judged.seed, "recall": recall, "precision": precision})


def reliability_rows(judged: Judged) -> pd.DataFrame:
    """Return bins of the scores before and after calibration: model, seed, when, low, high, count, score,
    right."""
    found = judged.hits()
    pairs = (("before", found.scores), ("after", _after(judged, found)))
    columns = ["low", "high", "count", "score", "right"]  # also where nothing was detected
    parts = [
        pd.DataFrame(reliability(scores, found.right), columns=columns).assign(when=when) for when, scores in pairs
    ]
    return pd.concat(parts).assign(model=judged.name, seed=judged.seed)


def _after(judged: Judged, found: Hits) -> np.ndarray:
    """Return the scores of `Judged.hits` as a user gets them, calibrated by each chip's model."""
    return _scaled(platt, found.scores, [judged.calibration[c] for c in found.chips])


def _scaled(
    way: Callable[[Tensor, float, float], Tensor], scores: Sequence[float] | np.ndarray,
    numbers: Sequence[tuple[float, float]],
) -> np.ndarray:  # fmt: skip
    """Scale scores (n,) by a temperature and a shift each."""
    out, each = torch.from_numpy(np.array(scores, dtype=np.float64)), np.array(numbers).reshape(-1, 2)
    for temperature, shift in np.unique(each, axis=0).tolist():
        here = torch.from_numpy((each == (temperature, shift)).all(axis=1))
        out[here] = way(out[here], temperature, shift)
    return out.numpy()


def _calibration(judged: Judged) -> dict[str, float | None]:
    found = judged.hits()
    return {
        **dict(zip(("temperature", "shift"), np.mean(list(judged.calibration.values()), axis=0).tolist(), strict=True)),
        "ECE_before": calibration_error(found.scores, found.right),
        "ECE_after": calibration_error(_after(judged, found), found.right),
    }


def at_threshold(judged: Judged) -> dict[str, Any]:
    """Count what a map would show: the detections from the validation's threshold on, right at IoU 0.5 or not.

    Returns:
        hits, false_alarms, missed (instances without a detection); precision, recall, F1 (fractions, None where
        undefined); boundary_iou, the mean of the hits, which tells how well their outlines follow the edges.
    """
    shown = [r for r in judged.results if r["score"] >= judged.threshold[r["image_id"]]]
    run = matched(judged.gt, shown, "segm", iou=0.5, area="all")
    images = [image for image in run.evalImgs if image is not None]
    pairs = [(int(g), int(d)) for i in images for g, d in zip(i["gtIds"], i["gtMatches"][0], strict=True) if d > 0]
    outlines = [boundary_iou(run.cocoGt.anns[g]["segmentation"], run.cocoDt.anns[d]["segmentation"]) for g, d in pairs]
    detections, instances, hit = sum(len(i["dtIds"]) for i in images), len(judged.gt["annotations"]), len(pairs)
    return {
        "hits": hit, "false_alarms": detections - hit, "missed": instances - hit,
        "precision": hit / detections if detections else None, "recall": hit / instances if instances else None,
        "F1": 2 * hit / max(detections + instances, 1), "boundary_iou": float(np.mean(outlines)) if outlines else None,
    }  # fmt: skip


def counted(runs: Sequence[StudyRun]) -> pd.DataFrame:
    """Return `at_threshold` of made runs on their test chips, one row a model, with the threshold."""
    rows = []
    for run in runs:
        judged = judge([run])
        rows.append({"model": run.name, "threshold": threshold(run)[0], **at_threshold(judged)})
    return pd.DataFrame(rows)


def _macs(config: Config, side: int, known: dict[str, int | None]) -> int | None:
    key = f"{config.fusion} {config.modalities} {config.scale}"
    if key not in known:
        known[key] = pyramid_macs(config, side)
    return known[key]


def _train_macs(run: Run, side: int, known: dict[str, int | None]) -> int | None:
    """Count the multiply-adds of a run's forward passes, with those of all that it started from on the same data."""
    same = [p for p in run.parents if p.record["data_fingerprint"] == run.record["data_fingerprint"]]
    macs = _macs(run.config, side, known)
    own = None if macs is None else run.record["passes"] * macs
    return _sum([own, *(_train_macs(p, side, known) for p in same)])


def _sum(counts: Iterable[int | None]) -> int | None:
    """Add up; None if any is."""
    listed = list(counts)
    return None if None in listed else sum(listed)
