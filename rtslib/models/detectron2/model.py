"""The same model out of detectron2's modules: the second engine.

Trunk (`rtslib.models.trunk`) as a detectron2 `Backbone` under its `FPN`; its `RPN`, `CascadeROIHeads` and mask head,
built from the same config as `rtslib.models.detector`, in a `GeneralizedRCNN`. Takes and gives what a Detector does, so
that training, prediction and maps work with either; detectron2's own loops can use it too. Weights go over by name
(`rtslib.models.names`), and `rtslib.benchmarks.parity` measures that answers stay equal.

Needs detectron2 0.6 or newer, which is no dependency: importing this module without it raises EngineError.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from rtslib.config import Config
from rtslib.errors import EngineError
from rtslib.models.pixels import DIVISOR, alike, chip_detections, network_input, network_targets
from rtslib.models.rpn import STRIDES
from rtslib.models.trunk import Trunk

if not hasattr(Image, "LINEAR"):
    vars(Image)["LINEAR"] = (
        Image.Resampling.BILINEAR
    )  # Pillow 10 dropped the name, which detectron2 0.6 needs to be imported

try:
    from detectron2.layers import NaiveSyncBatchNorm, ShapeSpec
    from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    from detectron2.modeling.backbone import FPN, Backbone
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.meta_arch import GeneralizedRCNN
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.modeling.proposal_generator import RPN
    from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
    from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNConvFCHead, FastRCNNOutputLayers
    from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
    from detectron2.structures import BitMasks, Boxes, ImageList, Instances
    from detectron2.utils.events import EventStorage
except ImportError as e:
    raise EngineError(
        f"engine detectron2 cannot be imported ({e}): install it from conda-forge, or with pip install"
        " --no-build-isolation git+https://github.com/facebookresearch/detectron2, or set engine=torchvision"
    ) from e

SCALES = ("scale2", "scale3", "scale4", "scale5")  # detectron2's names of the maps of strides 4-32
LOSSES = {"loss_rpn_cls": "loss_objectness", "loss_rpn_loc": "loss_rpn_box_reg"}  # theirs -> ours


class FusedBackbone(Backbone):
    """The trunk as a detectron2 backbone.

    Args:
        config: as for `rtslib.models.trunk.Trunk`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.trunk = Trunk(config)
        self._out_features = list(SCALES)
        self._out_feature_channels = dict(zip(SCALES, self.trunk.channels, strict=True))
        self._out_feature_strides = dict(zip(SCALES, STRIDES[:4], strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, all bands, H, W) to four fused maps of strides 4-32.

        Bands are those of the config's modalities one after the other, in physical units; NaN is nodata, for all bands
        of the modality at once.
        """
        modalities = self.trunk.config.modalities
        parts = x.split([len(bands) for bands in modalities.values()], dim=1)
        images = dict(zip(modalities, parts, strict=True))
        maps = self.trunk.fused(images, {m: part.isfinite().all(1) for m, part in images.items()})
        return dict(zip(SCALES, maps, strict=True))


class FusedRCNN(GeneralizedRCNN):
    """detectron2's GeneralizedRCNN over the trunk. Build it with `rtslib.models.build.build_model`.

    Args:
        config: as for `rtslib.models.detector.Detector`.

    Raises:
        ConfigError: normalisation statistics are missing.
    """

    def __init__(self, config: Config) -> None:
        bands = sum(len(b) for b in config.modalities.values())
        pyramid = FPN(FusedBackbone(config), list(SCALES), config.fpn_channels, top_block=LastLevelMaxPool())
        super().__init__(
            backbone=pyramid, proposal_generator=build_proposals(config), roi_heads=build_heads(config),
            pixel_mean=[0.0] * bands, pixel_std=[1.0] * bands,  # the trunk normalises
        )  # fmt: skip
        self.config = config

    @property
    def backbones(self) -> nn.ModuleDict:
        """The branches by name, as a Detector has them."""
        return self.backbone.bottom_up.trunk.backbones

    def forward(self, batch: dict[str, Any] | list[dict[str, Any]]) -> Any:
        """Losses in training mode, detections in evaluation mode.

        Args:
            batch: as `Detector.forward` takes it; or detectron2's list of dicts with `image` (bands, H, W) as
                `FusedBackbone` takes it, resized already, and `instances`.

        Returns:
            As `Detector.forward`; for a list, as detectron2's GeneralizedRCNN.
        """
        if isinstance(batch, list):
            return super().forward(batch)
        if not self.training:
            return alike(self._detections, batch, self.config.scale)
        listed, features = self._features(batch)
        targets = network_targets(batch["targets"], self.config.scale)
        truth = [as_instances(t, size) for t, size in zip(targets, listed.image_sizes, strict=True)]
        with EventStorage():  # detectron2's heads log into one; Lightning's loop has none
            proposals, losses = self.proposal_generator(listed, features, truth)
            losses = losses | self.roi_heads(listed, features, proposals, truth)[1]
        return {LOSSES.get(k, k).replace("box_reg_stage", "box_stage"): v for k, v in losses.items()}

    def _features(self, batch: dict[str, Any]) -> tuple[ImageList, dict[str, Tensor]]:
        """Return the network's input and its pyramid."""
        images, valid, sizes = network_input(batch, self.config.scale)
        stacked = torch.cat([x.masked_fill(~valid[m][:, None], torch.nan) for m, x in images.items()], dim=1)
        return ImageList(stacked, sizes), self.backbone(stacked)

    def _detections(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        listed, features = self._features(batch)
        proposals, _ = self.proposal_generator(listed, features, None)
        found, _ = self.roi_heads(listed, features, proposals, None)
        return [
            chip_detections(f.pred_boxes.tensor, f.scores, f.pred_masks[:, 0].float(), size, self.config)
            for f, size in zip(found, batch["sizes"], strict=True)
        ]

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Pad with nodata, where detectron2 would normalise and pad with zeros."""
        images = [x["image"].to(self.device) for x in batched_inputs]
        return ImageList.from_tensors(images, DIVISOR, pad_value=torch.nan)


def as_instances(target: dict[str, Tensor], size: tuple[int, int]) -> Instances:
    """Return targets (`boxes` (N, 4) xyxy px, `masks` bool (N, h, w)) as detectron2's ground truth."""
    boxes = target["boxes"]
    truth = Instances(size)
    truth.gt_boxes = Boxes(boxes)
    truth.gt_classes = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
    truth.gt_masks = BitMasks(target["masks"])
    return truth


def build_proposals(config: Config) -> RPN:
    """Build detectron2's RPN on P2-P6, the counterpart of `rtslib.models.rpn.build_rpn`."""
    ratios = list(config.anchor_ratios)
    return RPN(
        in_features=[f"p{i}" for i in range(2, 7)],
        head=StandardRPNHead(in_channels=config.fpn_channels, num_anchors=len(ratios), conv_dims=[-1, -1]),
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[s] for s in config.anchor_sizes], aspect_ratios=ratios, strides=list(STRIDES), offset=0.0
        ),
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=config.rpn_samples,
        positive_fraction=0.5,
        pre_nms_topk=(config.rpn_pre_nms, config.rpn_pre_nms),
        post_nms_topk=(config.proposals, config.proposals),
        nms_thresh=config.rpn_nms,
    )


def build_heads(config: Config) -> CascadeROIHeads:
    """Build detectron2's cascade and mask head, counterparts of `rtslib.models.cascade` and `.mask_head`."""
    levels, width = ["p2", "p3", "p4", "p5"], config.fpn_channels
    convs = [config.head_channels] * config.head_convs
    scales = [1 / s for s in STRIDES[:4]]
    box_heads, predictors = [], []
    for k in range(len(config.cascade_ious)):
        shape, w = ShapeSpec(channels=width, height=7, width=7), 10.0 * (k + 1)
        fc = [config.head_fc]
        box_heads.append(FastRCNNConvFCHead(shape, conv_dims=convs, fc_dims=fc, conv_norm=_norm(config)))
        predictors.append(
            FastRCNNOutputLayers(
                ShapeSpec(channels=config.head_fc), box2box_transform=Box2BoxTransform((w, w, w / 2, w / 2)),
                num_classes=1, cls_agnostic_bbox_reg=True, test_score_thresh=config.score_thresh,
                test_nms_thresh=config.nms, test_topk_per_image=config.max_dets,
            )
        )  # fmt: skip
    return CascadeROIHeads(
        num_classes=1, batch_size_per_image=config.roi_samples, positive_fraction=config.roi_positive,
        box_in_features=levels, box_pooler=ROIPooler(7, scales, config.roi_sampling, "ROIAlignV2"),
        box_heads=box_heads, box_predictors=predictors,
        proposal_matchers=[
            Matcher([t], [0, 1], allow_low_quality_matches=False) for t in config.cascade_ious
        ],
        mask_in_features=levels, mask_pooler=ROIPooler(14, scales, config.roi_sampling, "ROIAlignV2"),
        mask_head=MaskRCNNConvUpsampleHead(
            ShapeSpec(channels=width, height=14, width=14), num_classes=1,
            conv_dims=[*convs, config.head_channels], conv_norm=_norm(config),
        ),
    )  # fmt: skip


def _norm(config: Config) -> Callable[[int], nn.Module]:
    """Norm of the heads' convolutions by channels, as `rtslib.models.cascade.conv_stack` has them."""
    if config.head_norm == "BN":
        return lambda channels: NaiveSyncBatchNorm(channels, stats_mode="N")
    return lambda channels: nn.GroupNorm(max(1, channels // 16), channels)
