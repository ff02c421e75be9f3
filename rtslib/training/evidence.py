"""Evidence: what a run's validation side says about maps made with it, from the ledger in its folder.

From which score on a map shows detections (`rtslib.evaluation.threshold`), and what its totals have to be corrected by
(`rtslib.mapping.ground`), are questions that a run answers by itself, wherever its training data are.
"""

import numpy as np
import pandas as pd
import torch

from rtslib.evaluation.ledger import TYPES
from rtslib.evaluation.threshold import best_threshold
from rtslib.models.platt import platt
from rtslib.training.runs import Run

#: The score from which a map shows detections of a run that cannot say.
UNKNOWN = 0.5
NO_SIDE = UNKNOWN, f"No validation side to choose the score threshold on: {UNKNOWN} is taken."


def calibrated_ledger(run: Run) -> pd.DataFrame | None:
    """Return the run's ledger (`rtslib.evaluation.ledger`) with calibrated scores; None where it has none, as a run
    without a validation side or one that joins others."""
    if not run.ledger.exists():
        return None
    rows, config = pd.read_csv(run.ledger, dtype=TYPES), run.config
    scores = torch.tensor(rows["score"].to_numpy(), dtype=torch.float64)
    return rows.assign(score=platt(scores, config.temperature, config.score_shift).numpy())


def shown_from(run: Run) -> tuple[float, str]:
    """Return the score from which a map of this run shows detections, and a sentence on where it comes from.

    It is the one with the best F1 on the validation side; `UNKNOWN` where there is none, or no right detection on it.
    """
    rows = calibrated_ledger(run)
    if rows is None:
        return NO_SIDE
    found = rows.dropna(subset="score")
    return chosen(found["score"].to_numpy(), found["right"].to_numpy(), int(rows["truth_px"].notna().sum()))


def chosen(scores: np.ndarray, right: np.ndarray, instances: int) -> tuple[float, str]:
    """Return as `shown_from`, of a validation side's detections; arguments as of `best_threshold`."""
    best = best_threshold(scores, right, instances)
    if best is None:
        said = "No right detection on the validation side to choose the score threshold by"
        return UNKNOWN, f"{said}: {UNKNOWN} is taken."
    return best[0], f"Score threshold {best[0]:.2f}, chosen on the validation side (F1 {best[1]:.2f} there)."
