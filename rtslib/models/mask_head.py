"""Mask head: which pixels of a box belong to its instance?

Mask R-CNN (He et al. 2017, arXiv 1703.06870) predicts a small 28 x 28 mask inside each box and pastes
it into the chip. Trained on the foreground proposals of the cascade's first stage, on the masks of the
instances they match; applied to the final boxes. Cropping and pasting follow detectron2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from rtslib.config import Config
from rtslib.models.cascade import conv_stack, pool_regions

SIDE = 28  # mask cells per side of a box
AT_ONCE = 8  # masks pasted together: the sampling grid is twice as large as they are


class MaskHead(nn.Module):
    """Convolutions at 14 x 14, one up-convolution to 28 x 28, one logit per cell.

    Args:
        config: `head_convs`, `head_channels`, `head_norm`, `fpn_channels`, `roi_sampling`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sampling = config.roi_sampling
        width = config.head_channels if config.head_convs else config.fpn_channels
        self.convs = conv_stack(config.fpn_channels, config.head_channels, config.head_convs, config.head_norm)
        self.up = nn.ConvTranspose2d(width, config.head_channels, 2, stride=2)
        self.logit = nn.Conv2d(config.head_channels, 1, 1)
        nn.init.kaiming_normal_(self.up.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.logit.weight, std=0.001)
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.logit.bias)

    def forward(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Return mask logits (sum n_i, 28, 28), float32, for boxes per chip (n_i, 4) xyxy px of the input."""
        x = pool_regions(features, boxes, SIDE // 2, self.sampling)
        return self.logit(F.relu(self.up(self.convs(x))))[:, 0].float()

    def loss(
        self, features: list[Tensor], boxes: list[Tensor], matches: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> Tensor:
        """Mean binary cross entropy over foreground boxes; 0 (with gradient 0) if there is none.

        Args:
            boxes, matches: from `CascadeHeads.sample`.
            targets: `masks` bool (N, H, W) at the size of the network input.
        """
        fg = [b[m >= 0] for b, m in zip(boxes, matches)]
        logits = self(features, fg)
        if not len(logits):
            return logits.sum() + 0 * sum(p.sum() for p in self.parameters())
        wanted = [crop_masks(t["masks"][m[m >= 0]], b) for t, m, b in zip(targets, matches, fg)]
        return F.binary_cross_entropy_with_logits(logits, torch.cat(wanted))


@torch.no_grad()
def crop_masks(masks: Tensor, boxes: Tensor) -> Tensor:
    """Crop bool masks (n, H, W) to boxes (n, 4) xyxy px: float (n, 28, 28) of 0 and 1."""
    index = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)[:, None]
    rois = torch.cat([index, boxes], dim=1)
    return (roi_align(masks[:, None].to(boxes.dtype), rois, SIDE, 1.0, 0, aligned=True)[:, 0] >= 0.5).float()


def paste_masks(probs: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Paste box masks into the chip by bilinear sampling at pixel centres.

    Args:
        probs: float (n, 28, 28).
        boxes: (n, 4) xyxy px of a chip of `height` x `width`.

    Returns:
        float (n, height, width), 0 outside the boxes.

    Source: the sampling rule of detectron2's `paste_masks_in_image` (cells are areas, not points).
    """
    if probs.device.type == "cpu":
        return _paste_one_by_one(probs, boxes, height, width)
    pasted = probs.new_empty(len(probs), height, width)  # on a GPU, starting work for each box costs more than pixels
    rows, cols = (torch.arange(n, device=boxes.device) + 0.5 for n in (height, width))
    for part, cells, box in zip(*(t.split(AT_ONCE) for t in (pasted, probs, boxes)), strict=True):
        part.copy_(_paste(cells, box, rows, cols))
    return pasted


def _paste_one_by_one(probs: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Paste as `paste_masks`, each within its own box; sampling fades to 0 over half a cell beyond its edge."""
    pasted = probs.new_zeros(len(probs), height, width)
    half = (boxes[:, 2:] - boxes[:, :2]) / (2 * probs.shape[-1])
    ends = torch.cat([(boxes[:, :2] - half).floor(), (boxes[:, 2:] + half).ceil()], dim=1)
    ends = torch.minimum(ends.clamp(min=0), ends.new_tensor([width, height] * 2)).int()
    for part, cells, box, (x0, y0, x1, y1) in zip(pasted, probs, boxes, ends.tolist(), strict=True):
        rows, cols = torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5
        if len(rows) and len(cols):
            part[y0:y1, x0:x1] = _paste(cells[None], box[None], rows, cols)[0]
    return pasted


def _paste(probs: Tensor, boxes: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Sample masks at the centres `rows` (h,) and `cols` (w,) of pixels: (n, h, w)."""
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    y = (rows - y0) / (y1 - y0).clamp(min=1e-6) * 2 - 1
    x = (cols - x0) / (x1 - x0).clamp(min=1e-6) * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, len(rows), -1), y[:, :, None].expand(-1, -1, len(cols))], dim=3)
    return F.grid_sample(probs[:, None], grid.to(probs.dtype), align_corners=False)[:, 0]
