"""Temperature: the one number that makes scores mean what they say (`rtslib.evaluation.calibration` fits it)."""

import torch
from torch import Tensor

EPS = 1e-6  # scores are kept this far from 0 and 1, where the logit ends


def tempered(scores: Tensor, temperature: float) -> Tensor:
    """Scale scores, float (n,) in [0, 1], by a temperature; exactly the same scores for 1."""
    if temperature == 1:
        return scores
    return (torch.logit(scores, EPS) / temperature).sigmoid()
