"""Ledger: what a model found and what it missed on chips whose instances are known, one row each.

It is kept with a run for its validation side. From it come the calibration of scores (`rtslib.evaluation.calibration`)
and, for the totals of a map, how much a model overlooks and how far its areas are off (`rtslib.mapping.ground`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rtslib.evaluation.coco import matched

#: Column -> type; read so, a ledger without a row has them, too.
TYPES = {"chip": int, "group": str, "score": float, "right": bool, "area_px": float, "truth_px": float}


def ledger(gt: dict, results: Sequence[dict], groups: Mapping[int, str], iou: float = 0.5) -> pd.DataFrame:
    """Match predictions and instances, best score first, each instance once; the 10 best predictions a chip count.

    Args:
        gt, results: as for `rtslib.evaluation.coco.evaluate`.
        groups: chip id -> site group.
        iou: of masks, from which a prediction is right.

    Returns:
        One row a prediction, then one a missed instance, chip by chip: `chip` (id), `group`, `score` (NaN for what was
        missed), `right` (bool), `area_px` (of the predicted mask; NaN), `truth_px` (of the instance; NaN for a wrong
        prediction).

    Raises:
        DataError: as `evaluate`.
    """
    run = matched(gt, list(results), "segm", iou=iou, area="all")
    rows: list[tuple] = []
    for image in run.evalImgs:
        if image is None:
            continue
        chip, found = image["image_id"], dict(zip(image["dtIds"], image["dtMatches"][0], strict=True))
        for d, g in found.items():
            prediction, truth = run.cocoDt.anns[d], run.cocoGt.anns[int(g)]["area"] if g else None
            rows.append((chip, groups[chip], prediction["score"], bool(g), prediction["area"], truth))
        missed = set(image["gtIds"]) - {int(g) for g in found.values()}
        rows += [(chip, groups[chip], None, False, None, run.cocoGt.anns[g]["area"]) for g in sorted(missed)]
    return pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)


def judged(gt: dict, results: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Tell right predictions from wrong ones.

    Args:
        gt, results: as for `ledger`.

    Returns:
        Scores, float64 (n,), and which are right, bool (n,).

    Raises:
        DataError: as `evaluate`.
    """
    rows = ledger(gt, results, {image["id"]: "" for image in gt["images"]}).dropna(subset="score")
    return rows["score"].to_numpy(), rows["right"].to_numpy()
