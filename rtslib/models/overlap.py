"""Overlap: which of several masks show the same slump, the surest one first?

Non-maximum suppression by masks, not boxes: slumps lie askew, and boxes of neighbours overlap by a half where their
masks do not touch.
"""

import torch
from torch import Tensor


def mask_ious(masks: Tensor) -> Tensor:
    """Return the IoU of each pair of masks, bool (n, h, w), as float (n, n); 0 between empty ones."""
    flat = masks.flatten(1).float()
    both, area = flat @ flat.T, flat.sum(1)
    return both / (area[:, None] + area - both).clamp(min=1)


def mask_nms(masks: Tensor, iou: float) -> Tensor:
    """Return indices int64 (k,) of the masks, bool (n, h, w) best first, that no better kept one overlaps by more."""
    overlap = mask_ious(masks)
    kept: list[int] = []
    for i in range(len(masks)):
        if not kept or overlap[i, kept].max() <= iou:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long, device=masks.device)
