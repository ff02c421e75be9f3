"""Region proposals: where on the pyramid may an instance be?

A region proposal network (Ren et al. 2015, arXiv 1506.01497) scores *anchors*, boxes of fixed sizes and
shapes at every place of every pyramid level, and moves them. This is torchvision's, with what
detectron2 does differently (its MViTv2 Cascade Mask R-CNN is our reference):
- anchors are not rounded to whole pixels, and strides are exactly 4-64;
- both losses are sums over the sampled anchors divided by the number of samples asked for, and the
  box loss is plain L1;
- non-maximum suppression goes by logits: float32 sigmoids of sure logits are all 1 and lose their order;
- of the proposals, those without area are dropped, not those thinner than 0.001 px.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import batched_nms, clip_boxes_to_image

from rtslib.config import Config
from rtslib.models.cascade import nonempty

STRIDES = (4, 8, 16, 32, 64)  # px, of P2-P6


class Anchors(AnchorGenerator):
    """torchvision's AnchorGenerator with exact sizes and strides: xyxy px, centred on cell corners (offset 0)."""

    def generate_anchors(
        self, scales: Any, aspect_ratios: Any, dtype: Any = torch.float32, device: Any = None
    ) -> Tensor:
        """Return (sizes * ratios, 4) boxes around the origin; ratio = height / width, area = size^2."""
        sizes = torch.as_tensor(scales, dtype=dtype, device=device)
        root = torch.sqrt(torch.as_tensor(aspect_ratios, dtype=dtype, device=device))
        w = (sizes[None, :] / root[:, None]).reshape(-1)
        h = (sizes[None, :] * root[:, None]).reshape(-1)
        return torch.stack([-w, -h, w, h], dim=1) / 2

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the same (anchors, 4) tensor for each chip. torchvision would derive strides from sizes,
        which is off where a level's size is odd."""
        device = feature_maps[0].device
        self.set_cell_anchors(torch.float32, device)
        strides = [[torch.tensor(s, device=device)] * 2 for s in STRIDES]
        anchors = torch.cat(self.grid_anchors([f.shape[-2:] for f in feature_maps], strides))
        return [anchors] * len(image_list.image_sizes)


class Float32Head(RPNHead):
    """torchvision's RPNHead whose outputs leave mixed precision: boxes need 32 bits."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits (B, A, h, w) and box deltas (B, 4A, h, w) per level, float32."""
        logits, deltas = super().forward(x)
        return [t.float() for t in logits], [t.float() for t in deltas]


class RPN(RegionProposalNetwork):
    """torchvision's RPN with detectron2's losses and choice of proposals.

    `forward(images: ImageList, features: dict[str, (B, C, h, w)], targets)` returns, per chip,
    proposals (n, 4) in xyxy px of the network input, best first, and the losses `loss_objectness`
    and `loss_rpn_box_reg` (training only).
    """

    def filter_proposals(
        self, proposals: Tensor, objectness: Tensor, image_shapes: list, num_anchors_per_level: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return per chip the best boxes (n, 4), best first, and their logits (n,)."""
        logits = objectness.detach().reshape(len(proposals), -1)
        best = self._get_top_n_idx(logits, num_anchors_per_level)
        counts = torch.tensor(num_anchors_per_level, device=logits.device)
        level = torch.arange(len(counts), device=logits.device).repeat_interleave(counts)
        boxes_out, logits_out = [], []
        for boxes, logit, index, shape in zip(proposals, logits, best, image_shapes, strict=True):
            boxes, logit = clip_boxes_to_image(boxes[index], shape), logit[index]
            keep = torch.where(nonempty(boxes) & torch.isfinite(boxes).all(1) & torch.isfinite(logit))[0]
            keep = keep[batched_nms(boxes[keep], logit[keep], level[index[keep]], self.nms_thresh)]
            keep = keep[: self.post_nms_top_n()]
            boxes_out.append(boxes[keep])
            logits_out.append(logit[keep])
        return boxes_out, logits_out

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return (objectness, box) losses, each normalised by samples asked for x chips."""
        pos, neg = (torch.where(torch.cat(part))[0] for part in self.fg_bg_sampler(labels))
        sampled, total = torch.cat([pos, neg]), self.fg_bg_sampler.batch_size_per_image * len(labels)
        wanted, targets = torch.cat(labels), torch.cat(regression_targets)
        box = F.l1_loss(pred_bbox_deltas[pos], targets[pos], reduction="sum")
        score = F.binary_cross_entropy_with_logits(objectness.flatten()[sampled], wanted[sampled], reduction="sum")
        return score / total, box / total


def build_rpn(config: Config) -> RPN:
    """Build the RPN of a config: two 3x3 convolutions, one anchor size per level P2-P6."""
    anchors = Anchors(
        tuple((s,) for s in config.anchor_sizes), (tuple(config.anchor_ratios),) * len(config.anchor_sizes)
    )
    head = Float32Head(config.fpn_channels, len(config.anchor_ratios), conv_depth=2)
    top = {"training": config.proposals, "testing": config.proposals}
    pre = {"training": config.rpn_pre_nms, "testing": config.rpn_pre_nms}
    return RPN(anchors, head, 0.7, 0.3, config.rpn_samples, 0.5, pre, top, config.rpn_nms)
