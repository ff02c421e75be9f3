"""Gates: how wide a fusion lets the other modalities in, before training and after.

A strategy that starts with its gate nearly shut, and has few steps to open it, loses by its first value, not by its
idea. So every run writes down the size of each parameter of its fusion at both ends (`rtslib.training.trainer`).
"""

from torch import nn


def gates(model: nn.Module) -> dict[str, float]:
    """Return the root mean square of every parameter between branches and pyramid, by its name; {} where none is."""
    fusion = getattr(model, "fusion", None) or nn.Module()
    return {name: float(p.detach().float().pow(2).mean().sqrt()) for name, p in fusion.named_parameters()}
