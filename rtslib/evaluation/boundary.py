"""Boundary IoU: how well does an outline follow the slump's edge?

Mask IoU of a large slump hardly changes when its outline is wrong by a pixel all around. Boundary IoU compares only
the *boundary regions*, the pixels of each mask within d of its outline:

    |G_d n P_d| / |G_d u P_d|,   d = 2 % of the chip's diagonal, at least 1 px

Source: Cheng et al. 2021, arXiv 2103.16562. As there, a mask that reaches the chip's edge has a boundary there.
"""

import numpy as np

from rtslib.data.masks import decode


def boundary_iou(truth: dict, found: dict) -> float:
    """Return the boundary IoU, 0-1, of two masks given as compressed RLE of one size; 0 if both are empty."""
    a, b = (boundary(decode(rle)) for rle in (truth, found))
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def boundary(mask: np.ndarray, share: float = 0.02) -> np.ndarray:
    """Return bool (H, W): pixels of a mask, bool (H, W), within `share` of the diagonal of its outline."""
    from scipy.ndimage import binary_erosion

    d = max(1, round(share * float(np.hypot(*mask.shape))))
    return mask & ~binary_erosion(mask, np.ones((3, 3), bool), iterations=d)
