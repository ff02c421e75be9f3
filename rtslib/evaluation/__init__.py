"""Evaluation: scores of chips and of maps, how sure they are, and the rules of the challenge."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "coco": ["evaluate", "pr_curve"], "maps": ["evaluate_map", "read_map"], "polygons": ["match_polygons"],
    "bootstrap": ["ap_draws", "average_precision", "hits", "interval"],
    "calibration": ["calibration_error", "fit_platt", "reliability"], "threshold": ["best_threshold"],
    "boundary": ["boundary_iou"], "submission": ["validate"],
})  # fmt: skip
