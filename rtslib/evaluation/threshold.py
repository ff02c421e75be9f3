"""From which score on is a detection shown? The threshold with the best F1 on validation chips.

Average precision needs no threshold, a map does. It is chosen on chips that the model neither trained on
nor is scored on: at IoU 0.5, over all predicted scores, F1 = 2 TP / (2 TP + FP + FN) is highest there.
"""

import numpy as np


def best_threshold(scores: np.ndarray, right: np.ndarray, instances: int) -> tuple[float, float] | None:
    """Choose the score threshold with the highest F1.

    Args:
        scores: float (n,), of detections.
        right: bool (n,), which are right (`rtslib.evaluation.ledger.judged`).
        instances: how many there are to be found.

    Returns:
        (threshold, F1), both 0-1; the threshold lies half-way between the score of the last detection
        kept and the next one, so that it does not hang on one score. None if there are no instances or
        no right detection, where every threshold is as good.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    if not instances or not right.any():
        return None
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + instances)
    f1[:-1][scores[:-1] == scores[1:]] = -1  # a threshold cannot part equal scores
    best = int(f1.argmax())
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float(scores[best] + below) / 2, float(f1[best])
