"""Models: branches, fusion, and Cascade Mask R-CNN over them."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "build": ["build_model"], "detector": ["Detector"], "decision": ["Decision"], "trunk": ["Trunk"],
    "mvit": ["MViT"], "fusion": ["Fusion"], "strategies": ["STRATEGIES"], "macs": ["pyramid_macs"], "tta": ["turned"],
    "trees": ["Trees"],
})  # fmt: skip
