"""Pixels: from a chip's own to those that the network sees, and back.

Coordinates: pixels with the origin at the chip's top left *corner*, x right, y down; a box is
(x0, y0, x1, y1) on pixel edges, so the box of a one-pixel mask at row r, column c is (c, r, c+1, r+1).
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image

from rtslib.config import Config
from rtslib.models.cascade import nonempty
from rtslib.models.mask_head import paste_masks
from rtslib.models.platt import platt

DIVISOR = 32  # network input sizes are padded to multiples of this


def network_input(batch: dict[str, Any], scale: float) -> tuple[dict[str, Tensor], dict[str, Tensor], list]:
    """Resize a batch by `scale` and pad it to multiples of 32; invalid pixels do not bleed into valid ones.

    Args:
        batch: `images`, `valid`, `sizes` as `rtslib.data.samples.collate` makes them.

    Returns:
        images {modality: float (B, bands, H, W)}, valid {modality: bool (B, H, W)}, sizes [(h, w)] in them.
    """
    sizes = [(int(h * scale), int(w * scale)) for h, w in batch["sizes"]]
    images, valid = {}, {}
    for m, x in batch["images"].items():
        ok = batch["valid"][m]
        if scale != 1:
            weight = _resized(ok[:, None].to(x.dtype), scale)
            x = _resized(x * ok[:, None], scale) / weight.clamp(min=1e-6)
            ok = weight[:, 0] > 0.5
        pad = (0, -x.shape[-1] % DIVISOR, 0, -x.shape[-2] % DIVISOR)
        images[m], valid[m] = F.pad(x, pad), F.pad(ok, pad)
    return images, valid, sizes


def alike(detect: Callable[[dict[str, Any]], list[dict]], batch: dict[str, Any], scale: float) -> list[dict]:
    """Detect on chips of one padded size at a time: what a chip is batched with does not change its detections.

    Beside a larger chip a smaller one gets more padding, and convolutions, proposals and RoIAlign read across its edge.

    Args:
        detect: gives the detections of each chip of a batch.
        batch: `images`, `valid`, `sizes` as `rtslib.data.samples.collate` makes them.
        scale: by which `detect` resizes.

    Returns:
        The detections in the batch's order.
    """
    return apart(detect, batch, lambda h, w: (-(-int(h * scale) // DIVISOR), -(-int(w * scale) // DIVISOR)))


def apart(
    detect: Callable[[dict[str, Any]], list[dict]], batch: dict[str, Any], key: Callable[[int, int], Hashable]
) -> list[dict]:
    """Detect on one group of chips at a time, those whose height and width have the same `key`.

    Args:
        detect: gives the detections of each chip of a batch; sees no more padding than the largest of a group needs.
        batch: `images`, `valid`, `sizes` as `rtslib.data.samples.collate` makes them.
        key: of a chip's height and width, px.

    Returns:
        The detections in the batch's order.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, (h, w) in enumerate(batch["sizes"]):
        groups.setdefault(key(h, w), []).append(i)
    found: dict[int, dict] = {}
    for chosen in groups.values():
        sizes = [batch["sizes"][i] for i in chosen]
        h, w = (max(side) for side in zip(*sizes, strict=True))
        parts = {k: {m: t[chosen, ..., :h, :w] for m, t in batch[k].items()} for k in ("images", "valid")}
        found |= zip(chosen, detect({**parts, "sizes": sizes}), strict=True)
    return [found[i] for i in range(len(batch["sizes"]))]


def network_targets(targets: list[dict[str, Tensor]], scale: float) -> list[dict[str, Tensor]]:
    """Resize `boxes` (N, 4) and `masks` bool (N, h, w) of each chip by `scale`."""
    if scale == 1:
        return targets
    masks = [t["masks"] for t in targets]
    grown = [_resized(m[:, None].float(), scale)[:, 0] >= 0.5 if len(m) else m for m in masks]
    return [{**t, "boxes": t["boxes"] * scale, "masks": m} for t, m in zip(targets, grown, strict=True)]


def chip_detections(
    boxes: Tensor, scores: Tensor, probs: Tensor, size: tuple[int, int], config: Config
) -> dict[str, Tensor]:
    """Bring one chip's detections back to its own pixels and calibrate their scores; boxes without area go.

    Args:
        boxes: (n, 4) xyxy px of the network input; scores: (n,); probs: (n, 28, 28) mask probabilities.
        size: (h, w) of the chip; config: `scale`, by which it was resized, `temperature` and `score_shift`.

    Returns:
        As `Detector.forward` in evaluation mode.
    """
    boxes = clip_boxes_to_image(boxes / config.scale, size)
    keep = nonempty(boxes)  # as detectron2
    boxes = boxes[keep]
    labels = torch.ones(len(boxes), dtype=torch.long, device=boxes.device)
    masks = paste_masks(probs[keep], boxes, *size)
    scores = platt(scores[keep], config.temperature, config.score_shift)
    return {"boxes": boxes, "scores": scores, "labels": labels, "masks": masks}


def channels_last(module: nn.Module) -> nn.Module:
    """Lay a module's convolutions out for maps whose channels lie side by side in memory, in place; return it."""
    move: Any = module.to  # its stub does not know this argument alone
    return move(memory_format=torch.channels_last)


def _resized(x: Tensor, scale: float) -> Tensor:
    """Resize (B, C, H, W) by exactly `scale`, whatever rounding its size needs."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", recompute_scale_factor=False)
