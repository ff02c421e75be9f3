"""Platt scaling: the two numbers that make scores mean what they say (`rtslib.evaluation.calibration` fits them)."""

import torch
from torch import Tensor

EPS = 1e-6  # scores are kept this far from 0 and 1, where the logit ends


def platt(scores: Tensor, temperature: float, shift: float) -> Tensor:
    """Return sigmoid(logit(scores) / temperature + shift), float (n,) in [0, 1]; the very scores for 1 and 0."""
    if (temperature, shift) == (1, 0):
        return scores
    return (torch.logit(scores, EPS) / temperature + shift).sigmoid()


def unplatt(scores: Tensor, temperature: float, shift: float) -> Tensor:
    """Undo `platt`, but for scores that it had to keep from 0 and 1."""
    return platt(scores, 1 / temperature, -shift * temperature)
