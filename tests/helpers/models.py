"""Small models and batches for the tests of model and training."""

import numpy as np
import torch

from rtslib.config import Config

BANDS = {"rgb": 3, "spectral": 3, "terrain": 2}
SMALL = {
    "backbone": "nano",
    "fpn_channels": 32,
    "head_channels": 32,
    "head_fc": 32,
    "head_convs": 1,
    "roi_samples": 16,
    "proposals": 40,
    "rpn_pre_nms": 60,
    "rpn_samples": 32,
    "roi_sampling": 2,
    "max_dets": 10,
    "drop_path": 0.0,
}

#: A model small enough to train within seconds.
TINY_KNOBS = (
    "backbone=nano", "epochs=1", "batch_size=4", "fpn_channels=16", "head_channels=16", "head_convs=1",
    "head_fc=16", "proposals=10", "rpn_pre_nms=20", "score_thresh=0", "max_dets=3", "val_fraction=0",
)  # fmt: skip


def small_config(names=("rgb", "spectral", "terrain"), **knobs):
    """Config of a nano model on made-up bands with mean 0 and std 1."""
    return Config.make(
        {
            "modalities": {m: [f"{m}{i}" for i in range(BANDS[m])] for m in names},
            "modality_mean": {m: [0.0] * BANDS[m] for m in names},
            "modality_std": {m: [1.0] * BANDS[m] for m in names},
            **SMALL,
            **knobs,
        }
    )


def made_batch(names=("rgb", "spectral", "terrain"), sizes=((64, 64), (64, 96)), instances=(2, 0), seed=0):
    """A batch as `collate` makes it; chip i has `instances[i]` bright rectangles."""
    generator = torch.Generator().manual_seed(seed)
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    images = {m: torch.randn(len(sizes), BANDS[m], height, width, generator=generator) * 0.1 for m in names}
    valid = {m: torch.zeros(len(sizes), height, width, dtype=torch.bool) for m in names}
    targets = []
    for i, ((h, w), n) in enumerate(zip(sizes, instances)):
        masks, boxes = torch.zeros(n, h, w, dtype=torch.bool), torch.zeros(n, 4)
        for j in range(n):
            y, x = 6 + 28 * j, 8 + 20 * j
            masks[j, y : y + 20, x : x + 24] = True
            boxes[j] = torch.tensor([x, y, x + 24, y + 20])
            for m in names:
                images[m][i, :, y : y + 20, x : x + 24] += 2
        for m in names:
            valid[m][i, :h, :w] = True
        targets.append({"boxes": boxes, "labels": torch.ones(n, dtype=torch.long), "masks": masks})
    ids = list(range(1, len(sizes) + 1))
    return {"image_ids": ids, "sizes": list(sizes), "images": images, "valid": valid, "targets": targets}


def redraw(module, seed=0, spread=0.05):
    """Random parameters everywhere: initial ones (zero biases, small positions) hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            centre = 1.0 if p.ndim == 1 and p.mean() > 0.5 else 0
            p.copy_(torch.randn(p.shape, generator=generator) * spread + centre)


def stump(feature=0, cut=1.0, low=-4.0, high=4.0):
    """Nodes of a tree of one cut, as scikit-learn keeps them: log-odds `low` up to it, and `high` above."""
    kinds = [("feature_idx", int), ("num_threshold", float), ("left", int), ("right", int), ("is_leaf", bool),
             ("missing_go_to_left", bool), ("value", float)]  # fmt: skip
    return np.array([(feature, cut, 1, 2, False, True, 0), (0, 0, 0, 0, True, False, low),
                     (0, 0, 0, 0, True, False, high)], dtype=kinds)  # fmt: skip
