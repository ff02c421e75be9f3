"""Cascade box heads: three detectors in a row, each trained on the boxes of the one before.

One head trained at IoU 0.5 gives loose boxes; one trained at 0.7 from raw proposals starves. A cascade
(Cai and Vasconcelos 2018, arXiv 1712.00726) raises the threshold stage by stage while the boxes get
better. At test time the class scores of all stages are averaged and the boxes of the last one are taken.

Details follow detectron2's `CascadeROIHeads`, our reference: class-agnostic regression; box weights
(10, 5), (20, 10), (30, 15); no new sampling between stages; box features' gradient scaled by 1/stages;
RoIAlign with the half-pixel correction (`aligned=True`, which torchvision's pooler lacks).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import _utils as det_utils
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image, roi_align

from rtslib.config import Config

CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # a box of 224 px is read from P4 (FPN, arXiv 1612.03144, eq. 1)


def pool_regions(features: list[Tensor], boxes: list[Tensor], size: int, sampling: int) -> Tensor:
    """RoIAlign from the pyramid level that fits each box.

    Args:
        features: P2-P5, each (B, C, h, w), strides 4-32.
        boxes: per chip (n_i, 4) xyxy px of the network input.
        size: bins per side.
        sampling: points per bin and axis, 0: as many as pixels.

    Returns:
        (sum n_i, C, size, size), in the order of the boxes.
    """
    flat = torch.cat(boxes)
    index = torch.cat([torch.full((len(b), 1), float(i), device=flat.device) for i, b in enumerate(boxes)])
    side = ((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1])).clamp(min=0).sqrt()
    level = torch.floor(CANONICAL_LEVEL + torch.log2(side / CANONICAL_SIZE + 1e-8)).clamp(2, 5).long() - 2
    out = features[0].new_zeros(len(flat), features[0].shape[1], size, size)
    rois = torch.cat([index, flat], dim=1)
    for i, feature in enumerate(features):
        chosen = torch.where(level == i)[0]
        # Not skipped when empty: every level then stays in the graph of every step. In float32, as torchvision wants
        # one dtype for both and a box edge at 500 px is 2 px off in bfloat16.
        pooled = roi_align(feature.float(), rois[chosen], size, 0.25 / 2**i, sampling, aligned=True)
        out = out.index_copy(0, chosen, pooled.to(out.dtype))
    return out


class ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor (Cascade R-CNN's feature gradient, 1/stages)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        """Return x."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the scaled gradient."""
        return grad * ctx.factor, None


def conv_stack(channels: int, width: int, count: int, norm: str) -> nn.Sequential:
    """`count` times 3x3 convolution, norm (BN, or GN with 16 channels a group), ReLU; channels -> width."""
    layers: list[nn.Module] = []
    for i in range(count):
        groups = max(1, width // 16)
        layers += [
            nn.Conv2d(channels if i == 0 else width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width) if norm == "BN" else nn.GroupNorm(groups, width),
            nn.ReLU(inplace=True),
        ]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(*layers)


class BoxStage(nn.Module):
    """One cascade stage: features (n, C, 7, 7) to class logits (n, 2) and box deltas (n, 4), float32."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.head_channels if config.head_convs else config.fpn_channels
        self.convs = conv_stack(config.fpn_channels, config.head_channels, config.head_convs, config.head_norm)
        self.fc = nn.Linear(width * 49, config.head_fc)
        self.cls = nn.Linear(config.head_fc, 2)
        self.box = nn.Linear(config.head_fc, 4)
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.normal_(self.box.weight, std=0.001)
        for layer in (self.cls, self.box):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (logits, deltas); class 0 is RTS, class 1 background, as in detectron2."""
        x = F.relu(self.fc(self.convs(x).flatten(1)))
        return self.cls(x).float(), self.box(x).float()


class CascadeHeads(nn.Module):
    """The stages of the cascade: sampling, losses, inference.

    Args:
        config: `cascade_ious`, `roi_samples`, `roi_positive`, `roi_sampling`, head sizes, thresholds.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList(BoxStage(config) for _ in config.cascade_ious)
        factors = [10.0 * (i + 1) for i in range(len(self.stages))]
        self.coders = [det_utils.BoxCoder((f, f, f / 2, f / 2)) for f in factors]

    @torch.no_grad()
    def sample(self, proposals: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], ...]:
        """Choose the proposals that enter the loss.

        Ground truth boxes are added to the proposals. Returns, per chip: boxes (n, 4), matched instance
        (n,), -1 for background; at most `roi_samples` with at most `roi_positive` of them foreground.
        """
        c = self.config
        sampler = det_utils.BalancedPositiveNegativeSampler(c.roi_samples, c.roi_positive)
        boxes, matches = [], []
        for proposed, target in zip(proposals, targets):
            candidates = torch.cat([proposed, target["boxes"]])
            match = match_boxes(candidates, target["boxes"], c.cascade_ious[0])
            pos, neg = sampler([(match >= 0).float()])
            keep = torch.where(pos[0] | neg[0])[0]
            boxes.append(candidates[keep])
            matches.append(match[keep])
        return boxes, matches

    def losses(
        self, features: list[Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Losses of all stages: `loss_cls_stageK` (cross entropy) and `loss_box_stageK` (L1)."""
        out: dict[str, Tensor] = {}
        for k, threshold in enumerate(self.config.cascade_ious):
            if k:
                boxes = [b[nonempty(b)] for b in boxes]
            match = [match_boxes(b, t["boxes"], threshold) for b, t in zip(boxes, targets)]
            logits, deltas = self._run(k, features, boxes)
            fg = torch.cat(match) >= 0
            out[f"loss_cls_stage{k}"] = F.cross_entropy(logits, (~fg).long(), reduction="sum") / max(len(fg), 1)
            wanted = torch.cat([t["boxes"][m[m >= 0]] for m, t in zip(match, targets)])
            goal = self.coders[k].encode_single(wanted, torch.cat(boxes)[fg])
            out[f"loss_box_stage{k}"] = F.l1_loss(deltas[fg], goal, reduction="sum") / max(len(fg), 1)
            boxes = self._move(k, deltas, boxes, sizes)
        return out

    @torch.no_grad()
    def detect(
        self, features: list[Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Detections per chip: `boxes` (n, 4) xyxy px of the network input, `scores` (n,) descending."""
        scores: Any = 0.0
        for k in range(len(self.stages)):
            logits, deltas = self._run(k, features, boxes)
            scores = scores + logits.softmax(-1)[:, 0] / len(self.stages)
            boxes = self._move(k, deltas, boxes, sizes)
        out = []
        for b, s in zip(boxes, scores.split([len(b) for b in boxes])):
            keep = torch.where((s > self.config.score_thresh) & torch.isfinite(b).all(1))[0]
            keep = keep[batched_nms(b[keep], s[keep], torch.zeros_like(keep), self.config.nms)]
            keep = keep[: self.config.max_dets]
            out.append({"boxes": b[keep], "scores": s[keep]})
        return out

    def _run(self, k: int, features: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        pooled = pool_regions(features, boxes, 7, self.config.roi_sampling)
        return self.stages[k](ScaleGradient.apply(pooled, 1 / len(self.stages)))

    def _move(self, k: int, deltas: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        moved = self.coders[k].decode_single(deltas.detach(), torch.cat(boxes)).split([len(b) for b in boxes])
        return [clip_boxes_to_image(b, size) for b, size in zip(moved, sizes)]


def nonempty(boxes: Tensor) -> Tensor:
    """Bool (n,): boxes (n, 4) xyxy with positive width and height."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def match_boxes(boxes: Tensor, truth: Tensor, threshold: float) -> Tensor:
    """Index (n,) of the truth box (m, 4) with the highest IoU, -1 where that is below `threshold` or m = 0."""
    if len(truth) == 0:
        return torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)
    best, index = box_iou(boxes, truth).max(dim=1)
    return torch.where(best >= threshold, index, -1)
