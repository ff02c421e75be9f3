"""Multiply-adds: what one chip costs a model, whatever the machine.

Counted are branches, fusion and pyramid, by PyTorch's FLOP counter (matrix products, convolutions, attention; half
of its FLOPs, as it counts a multiply-add as two). Left out are proposals and heads: they are the same in all models
and depend on how many boxes there are. A `Decision` has a pyramid a modality, and all count. Of the
eight views that a trained model has of a chip with `tta`, one is counted.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from rtslib.config import Config
from rtslib.models.build import build_model
from rtslib.models.ensemble import Ensemble


def pyramid_macs(config: Config, size: int) -> int | None:
    """Count the multiply-adds of branches, fusion and pyramid for one chip.

    Args:
        config: of the run, with normalisation statistics.
        size: side of a square chip, px, before `config.scale`; padded to a multiple of 32.

    Returns:
        The number; None of a model that has no branches, as trees on pixels, which compare more than they multiply.

    Raises:
        ConfigError: as `rtslib.models.build.build_model`.
    """
    side = -(-int(size * config.scale) // 32) * 32
    model = build_model(config.updated(pretrained=False, zoo="", engine="torchvision")).eval()
    if isinstance(model, Ensemble):
        counts = [pyramid_macs(Config.make(member), size) for member in config.members]
        return sum(n for n in counts if n is not None) or None
    if not model.backbones:
        return None
    images = {m: torch.zeros(1, len(bands), side, side) for m, bands in config.modalities.items()}
    valid = {m: torch.ones(1, side, side, dtype=torch.bool) for m in images}
    parts = getattr(model, "detectors", {"": model})
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for name, part in parts.items():
            mine = [name] if name else list(images)
            part.pyramid({m: images[m] for m in mine}, {m: valid[m] for m in mine})
    return counter.get_total_flops() // 2
