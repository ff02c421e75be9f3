"""Semantic branch: which pixels are slump, before any box is drawn.

A detector learns from the few boxes that it samples; with some hundred chips most pixels teach it nothing. A semantic
branch beside it is taught by every pixel. With P2 .. P5 the pyramid, U upsampling to stride 4:

    f = ReLU(GN(Conv3x3(...(sum over i of U(L_i P_i)))))        L_i 1x1 convolutions
    s = Conv1x1(f)              probability of slump = sigmoid(s), at stride 4
    P_i' = P_i + D_i(E f)       D_i mean pooling to the stride of P_i, E a 1x1 convolution that starts at 0

Proposals and heads then read P', and the loss of s is added to theirs. With t the share of slump in a cell, p its
probability and v which cells belong to the chip:

    loss = BCE(s, t) + 1 - (2 sum p t + 1) / (sum p + sum t + 1)        over v, Dice a chip

What the branch sees as one piece is a proposal, too: the boxes of connected cells above `THRESHOLDS` join those of the
proposal network, in training and after. And a detection has to agree with it: with m its mask's probabilities and c its
class score,

    m' = sqrt(m p)        c' = sqrt(c mean of p over m' >= 1/2)

Source: Chen et al. 2019, HTC, arXiv 1901.07518 (branch, and features that go to the heads); Milletari et al. 2016,
arXiv 1606.04797 (Dice). Differs: features are added to the pyramid, so that proposals see them too, instead of being
pooled anew for every box; Dice beside cross-entropy, as slumps fill a hundredth of the ground; GroupNorm, as batches
are small; proposals and agreement are not in HTC. E starts at 0: what heads read starts as without the branch.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from rtslib.config import Config
from rtslib.models.cascade import conv_stack

STRIDE = 4  # of the branch's map
CONVS = 2
PRIOR = 0.02  # share of slump that the branch starts from
THRESHOLDS = (0.1, 0.3, 0.5, 0.7)  # of probabilities whose connected cells are proposals
MOST = 50  # proposals a chip from the branch, the largest ones


class SemanticBranch(nn.Module):
    """Semantic segmentation on the pyramid.

    Args:
        config: `fpn_channels`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        c = config.fpn_channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(4))
        self.convs = conv_stack(c, c, CONVS, "GN")
        self.logit, self.embed = nn.Conv2d(c, 1, 1), nn.Conv2d(c, c, 1)
        nn.init.normal_(self.logit.weight, std=0.01)
        nn.init.constant_(self.logit.bias, float(torch.tensor(PRIOR).logit()))
        nn.init.zeros_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Segment.

        Args:
            levels: P2-P5, each (B, C, h, w), strides 4-32.

        Returns:
            logits float32 (B, H/4, W/4); what is added to each level, of its shape.
        """
        size = levels[0].shape[-2:]
        laterals = [conv(p) for conv, p in zip(self.lateral, levels, strict=True)]
        total = laterals[0]
        for x in laterals[1:]:
            total = total + F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        f = self.convs(total)
        e = self.embed(f)
        added = [e] + [F.avg_pool2d(e, 1 << i) for i in range(1, 4)]
        return self.logit(f)[:, 0].float(), added


def semantic_loss(logits: Tensor, targets: list[dict[str, Tensor]], sizes: list[tuple[int, int]]) -> Tensor:
    """Cross-entropy and Dice loss, each the mean over chips.

    Args:
        logits: (B, H/4, W/4), of the padded network input.
        targets: `masks` bool (N, h, w) of each chip, at the size of the network input; N may be 0.
        sizes: (h, w) of each chip in the network input; what lies outside is not counted.

    Returns:
        Scalar float32.
    """
    losses = []
    for s, target, (h, w) in zip(logits, targets, sizes, strict=True):
        t, v = shares(target["masks"], (h, w), s.shape)
        bce = (F.binary_cross_entropy_with_logits(s, t, reduction="none") * v).sum() / v.sum().clamp(min=1)
        p = s.sigmoid() * v
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + (t * v).sum() + 1)
        losses.append(bce + dice)
    return torch.stack(losses).mean()


def shares(masks: Tensor, size: tuple[int, int], cells: torch.Size) -> tuple[Tensor, Tensor]:
    """Return the share of each cell that is slump, float (cells), and the share that is chip.

    Args:
        masks: bool (N, h, w), of a chip of that size.
        size: (h, w) px.
        cells: (H/4, W/4), the map that they are brought to.
    """
    union = torch.zeros(2, cells[0] * STRIDE, cells[1] * STRIDE, device=masks.device)
    union[0, : masks.shape[-2], : masks.shape[-1]] = masks.any(0).float() if len(masks) else 0.0
    union[1, : size[0], : size[1]] = 1.0
    pooled = F.avg_pool2d(union[None], STRIDE)[0]
    return pooled[0], pooled[1]


@torch.no_grad()
def component_boxes(logits: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Return the boxes of 8-connected cells above each of `THRESHOLDS`.

    Args:
        logits: (B, H/4, W/4).
        sizes: (h, w) of each chip in the network input; cells beyond are left out.

    Returns:
        Per chip (n, 4) xyxy px of the network input, n at most `MOST`.
    """
    out = []
    for s, (h, w) in zip(logits.sigmoid(), sizes, strict=True):
        p = s[: -(-h // STRIDE), : -(-w // STRIDE)].cpu().numpy()
        pieces = [piece for t in THRESHOLDS for piece in ndimage.find_objects(ndimage.label(p > t, np.ones((3, 3)))[0])]
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in pieces]
        found = torch.tensor(boxes, dtype=torch.float32, device=logits.device).reshape(-1, 4) * STRIDE
        found = torch.minimum(found, found.new_tensor([w, h, w, h]))
        area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
        out.append(found[area.argsort(descending=True, stable=True)[:MOST]])
    return out


def agreed(masks: Tensor, scores: Tensor, boxes: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Bring one chip's detections into agreement with the semantic branch.

    Args:
        masks: (n, s, s) probabilities of cells of each box; scores: (n,).
        boxes: (n, 4) xyxy px of the network input.
        logits: (H/4, W/4) of the chip.

    Returns:
        Masks and scores of the same shapes, by the formulas of the module.
    """
    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    p = roi_align(logits.sigmoid()[None, None], rois, masks.shape[-1], 1 / STRIDE, 2, aligned=True)[:, 0]
    masks = (masks * p.clamp(0, 1)).sqrt()
    inside = (masks >= 0.5).float()
    mean = (p * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
    return masks, (scores * mean.clamp(0, 1)).sqrt()
