"""Boundary IoU, on squares."""

import numpy as np

from helpers.chip_folders import box_mask
from rtslib.data.masks import encode
from rtslib.evaluation.boundary import boundary, boundary_iou


def test_boundary_iou_sees_what_mask_iou_does_not():
    large, shrunk = box_mask(100, 100, 10, 10, 80, 80), box_mask(100, 100, 13, 13, 74, 74)
    assert (large & shrunk).sum() / (large | shrunk).sum() > 0.85
    assert boundary_iou(encode(large), encode(shrunk)) < 0.1 and boundary_iou(encode(large), encode(large)) == 1
    assert boundary(large).sum() == 80**2 - 74**2  # 2 % of the diagonal of 100 x 100 px: 3 px
    nothing = encode(np.zeros((100, 100), bool))
    assert boundary_iou(nothing, nothing) == 0.0
