"""The detector: modalities in, instances out.

    chip -> one MViTv2 branch per modality -> fusion at strides 4, 8, 16, 32 -> FPN P2-P6
         -> RPN -> three cascade box heads + mask head -> instances

Mask R-CNN family (He et al. 2017) with a cascade (Cai and Vasconcelos 2018), on torchvision's
operators; the composition is Li et al. 2025, arXiv 2504.17822. Everything before the pyramid is
`rtslib.models.trunk`, coordinates are those of `rtslib.models.pixels`; the same model out of detectron2's
modules is `rtslib.models.detectron2.model`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from rtslib.config import Config
from rtslib.models.cascade import CascadeHeads
from rtslib.models.mask_head import MaskHead
from rtslib.models.pieces import pieces, together
from rtslib.models.pixels import alike, channels_last, chip_detections, network_input, network_targets
from rtslib.models.platt import platt
from rtslib.models.rpn import build_rpn
from rtslib.models.semantic import SemanticBranch, agreed, component_boxes, semantic_loss
from rtslib.models.trunk import Trunk

LEVELS = ("0", "1", "2", "3")  # torchvision's names of P2-P5


class Detector(Trunk):
    """Cascade Mask R-CNN over fused MViTv2 branches, on torchvision's operators. `rtslib.models.build` makes one.

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
        self.semantic = SemanticBranch(config) if config.semantic else None
        parts: list[nn.Module | None] = [self.fpn, self.rpn, self.heads, self.mask_head, self.semantic]
        for part in filter(None, parts):  # branches give maps channels last: convolutions that follow need no copies
            channels_last(part)

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
        if not self.training:
            return alike(self._detections, batch, self.config.scale)
        listed, features, levels, segmented = self._features(batch)
        targets, sizes = network_targets(batch["targets"], self.config.scale), listed.image_sizes
        proposals, losses = self.rpn(listed, features, targets)
        proposals = self._more(proposals, segmented, sizes)
        boxes, matches = self.heads.sample(proposals, targets)
        losses |= self.heads.losses(levels, boxes, sizes, targets)
        losses["loss_mask"] = self.mask_head.loss(levels, boxes, matches, targets)
        if segmented is not None:
            losses["loss_semantic"] = self.config.semantic * semantic_loss(segmented, targets, sizes)
        return losses

    def _features(self, batch: dict[str, Any]) -> tuple[ImageList, dict[str, Tensor], list[Tensor], Tensor | None]:
        """Return the network's input, the pyramid P2-P6 by name, its levels P2-P5, and the semantic branch's logits."""
        images, valid, sizes = network_input(batch, self.config.scale)
        features, segmented = self.pyramid(images, valid), None
        if self.semantic is not None:
            segmented, added = self.semantic([features[k] for k in LEVELS])
            features |= {k: features[k] + more for k, more in zip(LEVELS, added, strict=True)}
        levels = [features[k].contiguous() for k in LEVELS]  # RoIAlign would copy them so in each of its calls
        return ImageList(next(iter(images.values())), sizes), features, levels, segmented

    def _detections(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        listed, features, levels, segmented = self._features(batch)
        sizes, c = listed.image_sizes, self.config
        proposals = self._more(self.rpn(listed, features)[0], segmented, sizes)
        heads = self.heads.detect(levels, proposals, sizes)
        logits = self.mask_head(levels, [f["boxes"] for f in heads]).split([len(f["boxes"]) for f in heads])
        found = []
        for i, (f, mask, size) in enumerate(zip(heads, logits, batch["sizes"], strict=True)):
            if segmented is None:
                found.append(chip_detections(f["boxes"], f["scores"], mask.sigmoid(), size, c))
                continue
            probs, scores = agreed(mask.sigmoid(), f["scores"], f["boxes"], segmented[i])
            own = chip_detections(f["boxes"], scores, probs, size, c)
            alone = pieces(segmented[i], size, c.scale)
            alone["scores"] = platt(alone["scores"], c.temperature, c.score_shift)
            found.append(together([own, alone], c.max_dets))
        return found

    @staticmethod
    def _more(proposals: list[Tensor], segmented: Tensor | None, sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Add the semantic branch's proposals, where there is one."""
        if segmented is None:
            return proposals
        return [torch.cat(both) for both in zip(proposals, component_boxes(segmented, sizes), strict=True)]
