"""The detector: modalities in, instances out.

    chip -> one MViTv2 branch per modality -> fusion at strides 4, 8, 16, 32 -> FPN P2-P6
         -> RPN -> three cascade box heads + mask head -> instances

Mask R-CNN family (He et al. 2017) with a cascade (Cai and Vasconcelos 2018), on torchvision's
operators; the composition is Li et al. 2025, arXiv 2504.17822. Everything before the pyramid is
`rtslib.models.trunk`; the same model out of detectron2's modules is `rtslib.models.detectron2.model`.

Coordinates: pixels with the origin at the chip's top left *corner*, x right, y down; a box is
(x0, y0, x1, y1) on pixel edges, so the box of a one-pixel mask at row r, column c is (c, r, c+1, r+1).
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from rtslib.config import Config
from rtslib.evaluation.calibration import tempered
from rtslib.models.cascade import CascadeHeads, nonempty
from rtslib.models.mask_head import MaskHead, paste_masks
from rtslib.models.mvit import load_imagenet
from rtslib.models.rpn import build_rpn
from rtslib.models.trunk import Trunk

if TYPE_CHECKING:
    from rtslib.models.decision import Decision
    from rtslib.models.detectron2.model import FusedRCNN

DIVISOR = 32  # network input sizes are padded to multiples of this


class Detector(Trunk):
    """Cascade Mask R-CNN over fused MViTv2 branches, on torchvision's operators. Build it with `build_model`.

    Args:
        config: with `modality_mean` and `modality_std` for every modality.

    Raises:
        ConfigError: normalisation statistics are missing or of the wrong length.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.fpn = FeaturePyramidNetwork(list(self.channels), config.fpn_channels, LastLevelMaxPool())
        self.rpn = build_rpn(config)
        self.heads = CascadeHeads(config)
        self.mask_head = MaskHead(config)

    def pyramid(self, images: dict[str, Tensor], valid: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the trunk and build the pyramid.

        Args:
            images, valid: as `Trunk.fused` takes them.

        Returns:
            "0".."3", "pool" -> P2-P6, each (B, fpn_channels, H/4.., W/4..).
        """
        return self.fpn({str(i): m for i, m in enumerate(self.fused(images, valid))})

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode.

        Args:
            batch: as `rtslib.data.samples.collate` makes it: `images` {modality: float (B, bands, H, W)},
                `valid` {modality: bool (B, H, W)}, `sizes` [(h, w)] of the chips within the padding, and
                for training `targets` [{boxes (N, 4) xyxy px, labels (N,), masks bool (N, h, w)}]; N may be 0.

        Returns:
            Training: {loss name: scalar}. Evaluation: per chip `boxes` float (n, 4) xyxy px of the chip,
            `scores` float (n,) in [0, 1] descending, `labels` int64 (n,) all 1, `masks` float (n, h, w)
            probabilities.
        """
        images, valid, sizes = network_input(batch, self.config.scale)
        features = self.pyramid(images, valid)
        shape = next(iter(images.values()))
        listed = ImageList(shape, sizes)
        levels = [features[k] for k in ("0", "1", "2", "3")]
        if self.training:
            targets = network_targets(batch["targets"], self.config.scale)
            proposals, losses = self.rpn(listed, features, targets)
            boxes, matches = self.heads.sample(proposals, targets)
            losses |= self.heads.losses(levels, boxes, sizes, targets)
            losses["loss_mask"] = self.mask_head.loss(levels, boxes, matches, targets)
            return losses
        proposals, _ = self.rpn(listed, features)
        found = self.heads.detect(levels, proposals, sizes)
        logits = self.mask_head(levels, [f["boxes"] for f in found]).split([len(f["boxes"]) for f in found])
        return [
            chip_detections(f["boxes"], f["scores"], mask.sigmoid(), size, self.config)
            for f, mask, size in zip(found, logits, batch["sizes"], strict=True)
        ]


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
        size: (h, w) of the chip; config: `scale`, by which it was resized, and `temperature`.

    Returns:
        As `Detector.forward` in evaluation mode.
    """
    boxes = clip_boxes_to_image(boxes / config.scale, size)
    keep = nonempty(boxes)  # as detectron2
    boxes = boxes[keep]
    labels = torch.ones(len(boxes), dtype=torch.long, device=boxes.device)
    masks = paste_masks(probs[keep], boxes, *size)
    return {"boxes": boxes, "scores": tempered(scores[keep], config.temperature), "labels": labels, "masks": masks}


def _resized(x: Tensor, scale: float) -> Tensor:
    """Resize (B, C, H, W) by exactly `scale`, whatever rounding its size needs."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", recompute_scale_factor=False)


def build_model(config: Config) -> "Detector | FusedRCNN | Decision":
    """Build the detector of a config, starting from ImageNet weights if `pretrained`, from COCO's if `zoo`.

    Returns:
        A Detector; for engine detectron2 a `rtslib.models.detectron2.model.FusedRCNN`, for fusion decision a
        `rtslib.models.decision.Decision`, which take and give the same.

    Raises:
        ConfigError: normalisation statistics are missing.
        EngineError: the engine is not installed.
        WeightsError: `pretrained` or `zoo`, and the weights cannot be had or do not fit.
    """
    if config.fusion == "decision" and len(config.modalities) > 1:
        from rtslib.models.decision import Decision

        return Decision(config)
    if config.engine == "detectron2":
        from rtslib.models.detectron2.model import FusedRCNN as Model
    else:
        Model = Detector
    model = Model(config)
    if config.pretrained:
        for branch in model.backbones.values():
            load_imagenet(branch, config.backbone)
    if config.zoo:
        from rtslib.models.zoo import load_zoo

        load_zoo(model, config.zoo)
    return model
