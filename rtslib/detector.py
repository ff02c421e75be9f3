"""The detector: modalities in, instances out.

    chip -> one MViTv2 branch per modality -> fusion at strides 4, 8, 16, 32 -> FPN P2-P6
         -> RPN -> three cascade box heads + mask head -> instances

Mask R-CNN family (He et al. 2017) with a cascade (Cai and Vasconcelos 2018), on torchvision's
operators; the composition is Li et al. 2025, arXiv 2504.17822.

Coordinates: pixels with the origin at the chip's top left *corner*, x right, y down; a box is
(x0, y0, x1, y1) on pixel edges, so the box of a one-pixel mask at row r, column c is (c, r, c+1, r+1).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from rtslib.cascade import CascadeHeads
from rtslib.config import Config
from rtslib.errors import ConfigError
from rtslib.fusion import STRATEGIES, Fusion
from rtslib.maskhead import MaskHead, paste_masks
from rtslib.mvit import MViT, load_imagenet
from rtslib.rpn import build_rpn

DIVISOR = 32  # network input sizes are padded to multiples of this


class Detector(nn.Module):
    """Cascade Mask R-CNN over fused MViTv2 branches. Build it with `build_model`.

    Args:
        config: with `modality_mean` and `modality_std` for every modality.

    Raises:
        ConfigError: normalisation statistics are missing or of the wrong length.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        for m, bands in config.modalities.items():
            mean, std = config.modality_mean.get(m, []), config.modality_std.get(m, [])
            if len(mean) != len(bands) or len(std) != len(bands) or min(std, default=0) <= 0:
                raise ConfigError(f"modality {m!r} has no usable modality_mean and modality_std: train fills them in")
            self.register_buffer(f"mean_{m}", torch.tensor(mean).view(-1, 1, 1))
            self.register_buffer(f"std_{m}", torch.tensor(std).view(-1, 1, 1))
        strategy = STRATEGIES[config.fusion] if len(config.modalities) > 1 else Fusion
        self.inputs = strategy.branch_inputs(tuple(config.modalities))
        self.backbones = nn.ModuleDict({b: self._branch(ms) for b, ms in self.inputs.items()})
        channels = next(iter(self.backbones.values())).channels
        self.fusion = nn.ModuleList(strategy(tuple(self.inputs), c, i) for i, c in enumerate(channels))
        self.fpn = FeaturePyramidNetwork(list(channels), config.fpn_channels, LastLevelMaxPool())
        self.rpn = build_rpn(config)
        self.heads = CascadeHeads(config)
        self.mask_head = MaskHead(config)

    def _branch(self, modalities: tuple[str, ...]) -> MViT:
        c = self.config
        bands = sum(len(c.modalities[m]) for m in modalities)
        zeros = c.window_padding == "zeros"
        branch = MViT(c.backbone, bands, c.windows, zeros, c.kv_stride, c.drop_path)
        branch.set_grad_checkpointing(c.checkpoint)
        return branch

    def pyramid(self, images: dict[str, Tensor], valid: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalise, run the branches, fuse, build the pyramid.

        Args:
            images: modality -> float (B, bands, H, W) in physical units, H and W multiples of 32.
            valid: modality -> bool (B, H, W); invalid pixels enter the branches as 0, the mean.

        Returns:
            "0".."3", "pool" -> P2-P6, each (B, fpn_channels, H/4.., W/4..).
        """
        normal = {}
        for m, x in images.items():
            x = (x - getattr(self, f"mean_{m}")) / getattr(self, f"std_{m}")
            normal[m] = torch.where(valid[m][:, None], x, 0.0)
        maps, seen = {}, {}
        for branch, modalities in self.inputs.items():
            maps[branch] = self.backbones[branch](torch.cat([normal[m] for m in modalities], dim=1))
            seen[branch] = torch.stack([valid[m] for m in modalities]).any(0)
        fused = {}
        for i, fusion in enumerate(self.fusion):
            cell = 4 << i
            at_scale = {b: F.max_pool2d(v[:, None].float(), cell)[:, 0] > 0 for b, v in seen.items()}
            fused[str(i)] = fusion({b: maps[b][i] for b in maps}, at_scale)
        return self.fpn(fused)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode.

        Args:
            batch: as `rtslib.dataset.collate` makes it: `images` {modality: float (B, bands, H, W)},
                `valid` {modality: bool (B, H, W)}, `sizes` [(h, w)] of the chips within the padding, and
                for training `targets` [{boxes (N, 4) xyxy px, labels (N,), masks bool (N, h, w)}]; N may be 0.

        Returns:
            Training: {loss name: scalar}. Evaluation: per chip `boxes` float (n, 4) xyxy px of the chip,
            `scores` float (n,) in [0, 1] descending, `labels` int64 (n,) all 1, `masks` float (n, h, w)
            probabilities.
        """
        images, valid, sizes = self._network_input(batch)
        features = self.pyramid(images, valid)
        shape = next(iter(images.values()))
        listed = ImageList(shape, sizes)
        levels = [features[k] for k in ("0", "1", "2", "3")]
        if self.training:
            targets = self._network_targets(batch["targets"])
            proposals, losses = self.rpn(listed, features, targets)
            boxes, matches = self.heads.sample(proposals, targets)
            losses |= self.heads.losses(levels, boxes, sizes, targets)
            losses["loss_mask"] = self.mask_head.loss(levels, boxes, matches, targets)
            return losses
        proposals, _ = self.rpn(listed, features)
        found = self.heads.detect(levels, proposals, sizes)
        return self._chip_detections(found, levels, batch["sizes"])

    def _network_input(self, batch):
        """Resize by `scale` and pad to multiples of 32. Invalid pixels do not bleed into valid ones."""
        images, valid, s = batch["images"], batch["valid"], self.config.scale
        sizes = [(int(h * s), int(w * s)) for h, w in batch["sizes"]]
        out_images, out_valid = {}, {}
        for m, x in images.items():
            ok = valid[m]
            if s != 1:
                weight = _resized(ok[:, None].to(x.dtype), s)
                x = _resized(x * ok[:, None], s) / weight.clamp(min=1e-6)
                ok = weight[:, 0] > 0.5
            pad = (0, -x.shape[-1] % DIVISOR, 0, -x.shape[-2] % DIVISOR)
            out_images[m], out_valid[m] = F.pad(x, pad), F.pad(ok, pad)
        return out_images, out_valid, sizes

    def _network_targets(self, targets):
        s = self.config.scale
        if s == 1:
            return targets
        masks = [t["masks"] for t in targets]
        grown = [_resized(m[:, None].float(), s)[:, 0] >= 0.5 if len(m) else m for m in masks]
        return [{**t, "boxes": t["boxes"] * s, "masks": m} for t, m in zip(targets, grown)]

    def _chip_detections(self, found, levels, chip_sizes):
        logits = self.mask_head(levels, [f["boxes"] for f in found])
        out = []
        for f, mask, (h, w) in zip(found, logits.split([len(f["boxes"]) for f in found]), chip_sizes):
            boxes = f["boxes"] / self.config.scale
            labels = torch.ones(len(boxes), dtype=torch.long, device=boxes.device)
            masks = paste_masks(mask.sigmoid(), boxes, h, w)
            out.append({"boxes": boxes, "scores": f["scores"], "labels": labels, "masks": masks})
        return out


def _resized(x: Tensor, scale: float) -> Tensor:
    """Resize (B, C, H, W) by exactly `scale`, whatever rounding its size needs."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", recompute_scale_factor=False)


def build_model(config: Config) -> Detector:
    """Build the detector of a config, with ImageNet weights in every branch if `pretrained`.

    Raises:
        ConfigError: normalisation statistics are missing.
        WeightsError: `pretrained` and the weights cannot be had.
    """
    model = Detector(config)
    if config.pretrained:
        for branch in model.backbones.values():
            load_imagenet(branch, config.backbone)
    return model
