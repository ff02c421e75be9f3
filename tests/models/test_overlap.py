"""Suppression by masks."""

import torch

from rtslib.models.overlap import mask_nms


def test_mask_nms_is_greedy():
    masks = torch.zeros(3, 1, 12, dtype=torch.bool)
    masks[0, 0, 0:6], masks[1, 0, 1:7], masks[2, 0, 5:12] = True, True, True
    assert mask_nms(masks, 0.5).tolist() == [0, 2]
    assert mask_nms(masks[:0], 0.5).tolist() == []
