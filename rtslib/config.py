"""One flat set of knobs for a run.

Every knob stands here once, with its default, its range and one comment (the nanoGPT way). Unknown keys are refused, so
a typing error cannot pass as a default. A run saves its config as JSON.

Batch arithmetic: one epoch is ceil(training chips / batch_size) optimiser steps, the last one on a
smaller batch; `epochs` x training chips = *passes*, the unit in which training costs are compared. Processes that train
together (`devices` x `num_nodes`) share a batch: each takes batch_size / processes chips, and steps stay as many.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtslib.bands import MODALITIES, check_modalities
from rtslib.errors import ConfigError
from rtslib.files import read_json, write_json

#: Knobs that training sets, from the data.
MEASURED = ("modality_mean", "modality_std", "derived", "temperature", "score_shift")

#: Knobs of processes that train together (`rtslib.training.team`).
TOGETHER = ("devices", "num_nodes", "strategy")
#: Knobs that say who loads and trains: a run with others is the same run.
HANDS = ("workers", *TOGETHER)

#: The keys of `rtslib.models.strategies.STRATEGIES`, in a study's order, `decision` (`rtslib.models.decision`),
#: `trees` (`rtslib.models.trees`), which has no branches to fuse, and `ensemble` (`rtslib.models.ensemble`).
FusionName = Literal[
    "sum", "merge_only", "concat_conv", "channel_attention", "cbam", "gated", "cross_attention",
    "residual_cross_attention", "data", "decision", "trees",
    "ensemble",
]  # fmt: skip

#: What a branch may be.
BackboneName = Literal[
    "nano", "tiny", "small", "base", "large", "lite0", "resnet50", "convnext_tiny", "swin_tiny"
]  # fmt: skip


class Config(BaseModel):
    """All knobs of data, model and training. Raises ConfigError through `make`, `load`, `with_overrides`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    # data
    modalities: dict[str, list[str]] = {m: list(b) for m, b in MODALITIES.items()}  # first one is primary
    scale: float = Field(1.0, gt=0, le=8)  # chips are resized by this before the backbone, and results back
    augment: bool = True  # flips, quarter turns, brightness, the crop, and the knobs from here to `modality_dropout`
    crop: int = Field(0, ge=0)  # px a side that training chips are cut to, mostly around a slump; 0: whole chips
    crop_slumps: float = Field(2 / 3, ge=0, le=1)  # share of crops that are to hold a pixel of a slump
    scale_jitter: float = Field(0.0, ge=0, lt=1)  # x: training chips are resized by a factor in [1 - x, 1 / (1 - x)]
    paste: float = Field(0.0, ge=0, le=1)  # chance that a training chip gets slumps of another (data/paste.py)
    jitter: float = Field(1.0, ge=0, le=4)  # multiplies how far brightness and contrast vary
    hue: float = Field(0.0, ge=0, lt=1)  # x: red, green and blue each get a factor of their own in 1 +- x
    modality_dropout: float = Field(0.0, ge=0, lt=1)  # chance that a modality of a training chip is hidden, all or half
    modality_mean: dict[str, list[float]] = {}  # normalisation, from the training side; filled by training
    modality_std: dict[str, list[float]] = {}  # the same, standard deviations
    derived: dict[str, list[str]] = {}  # band computed from others -> from which; a map does the same; set by training

    # engine
    engine: Literal["torchvision", "detectron2"] = "torchvision"  # whose pyramid and heads; same weights

    # backbone
    backbone: BackboneName = "tiny"  # MViTv2 by size, or a network of timm's (models/timm_branch.py)
    windows: bool = True  # MViTv2: attention in windows outside the last block of each stage
    mvit_like: Literal["timm", "detectron2"] = "timm"  # whose attention its weights know
    pretrained: bool = False  # start branches from ImageNet weights (lite0: installed; others: hub or cache)
    zoo: str = ""  # a detectron2 checkpoint (.pkl, .pth) to start branches, pyramid and heads from
    drop_path: float = Field(0.1, ge=0, lt=1)  # stochastic depth, linearly increasing
    checkpoint: bool = False  # recompute activations in the backward pass: less memory, about 30 % slower

    # fusion and pyramid
    fusion: FusionName = "residual_cross_attention"  # see models/strategies.py; one modality ignores all but trees
    members: list[dict[str, Any]] = []  # fusion=ensemble: the knobs of its models; set by `rtslib join`
    freeze_epochs: int = Field(0, ge=0)  # first epochs that train only fusion, pyramid and heads; >= epochs: all
    fpn_channels: int = Field(256, ge=8)  # channels of P2-P6

    # region proposals
    anchor_sizes: list[float] = [16, 32, 64, 128, 256]  # px, one per level P2-P6
    anchor_ratios: list[float] = [0.5, 1.0, 2.0]  # height / width
    rpn_samples: int = Field(128, ge=2)  # anchors in the loss, per chip
    rpn_pre_nms: int = Field(500, ge=1)  # best anchors per level that enter NMS
    proposals: int = Field(200, ge=1)  # proposals per chip that leave NMS (RTS chips hold a median of 2)
    rpn_nms: float = Field(0.7, gt=0, le=1)  # IoU

    # region heads (cascade)
    roi_samples: int = Field(64, ge=2)  # proposals in the loss, per chip
    roi_positive: float = Field(0.25, gt=0, le=1)  # share of them that may be foreground
    cascade_ious: list[float] = [0.5, 0.6, 0.7]  # foreground threshold of each stage
    roi_sampling: int = Field(0, ge=0)  # RoIAlign points per bin and axis; 0: adaptive, as detectron2
    head_convs: int = Field(4, ge=0)  # 3x3 convolutions of a box head, and of the mask head
    head_channels: int = Field(256, ge=8)  # their channels
    head_fc: int = Field(1024, ge=8)  # width of the box head's fully connected layer
    head_norm: Literal["BN", "GN"] = "GN"  # BN as detectron2's config; GN for small batches
    score_thresh: float = Field(0.05, ge=0, le=1)  # detections below are dropped
    nms: float = Field(0.5, gt=0, le=1)  # IoU of detections
    max_dets: int = Field(50, ge=1)  # detections per chip (the challenge scores 10)
    temperature: float = Field(1.0, gt=0)  # divides the logit of scores (evaluation/calibration.py); set by training
    score_shift: float = 0.0  # is added to the divided logit; set by training
    tta: bool = False  # after training, chips are also seen turned and mirrored (models/tta.py): eight times the time

    # semantic branch
    semantic: float = Field(0.0, ge=0)  # weight of its loss (models/semantic.py); 0: no such branch

    # trees on pixels (fusion=trees), which heed none of the knobs of network and schedule
    tree_scales: list[float] = [1.5, 3, 6, 12]  # px, standard deviations of the Gaussians that a pixel is described by
    tree_rounds: int = Field(200, ge=1)  # boosted trees
    tree_leaves: int = Field(31, ge=2)  # leaves of each, at most
    tree_rate: float = Field(0.1, gt=0, le=1)  # share of each tree's answer that counts
    tree_threshold: float = Field(0.7, gt=0, lt=1)  # probability from which on a pixel is of an instance
    tree_pixels: int = Field(100_000, ge=100)  # drawn from slumps, and as many from elsewhere, at most

    # training
    seed: int = Field(0, ge=0, lt=2**32)  # of weights, sampling, order and augmentation
    epochs: int = Field(50, ge=1)  # passes over the training side
    batch_size: int = Field(8, ge=1)  # chips a step, of all processes together: each takes its share
    lr: float = Field(1.6e-4, gt=0)  # AdamW, at the end of the warm-up
    backbone_lr: float = Field(1.0, gt=0)  # factor on `lr` for the backbones
    fusion_lr: float = Field(1.0, gt=0)  # the same for what fuses, new beside trained branches
    weight_decay: float = Field(0.1, ge=0)  # of the weights of linear layers and convolutions
    warmup: float = Field(0.05, ge=0, lt=1)  # share of all steps with linearly rising rate, then cosine to 0
    clip: float = Field(1.0, gt=0)  # gradient norm
    ema: float = Field(0.998, ge=0, lt=1)  # decay of the averaged weights that are evaluated; 0: none
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"  # auto: bf16-mixed on CUDA, else 32-true
    workers: int = Field(0, ge=0)  # loader processes, of each process that trains
    devices: int = Field(1, ge=1)  # cards a machine that train together; without a GPU, processes
    num_nodes: int = Field(1, ge=1)  # machines, each with `devices`
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"  # Lightning's; auto: ddp
    val_every: int = Field(0, ge=0)  # epochs between validations; 0: never
    val_fraction: float = Field(0.15, ge=0, lt=1)  # share of chips, by whole groups
    test_fraction: float = Field(0.2, ge=0, lt=1)  # the same

    @field_validator("modalities")
    @classmethod
    def _known_bands(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        every = {b for bands in value.values() for b in bands}
        check_modalities(value, tuple(every))
        for name in value:
            if not name.isidentifier():  # it names parameters of the model
                raise ConfigError(f"modality {name!r}: use letters, digits and _, not beginning with a digit")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if len(self.anchor_sizes) != 5 or not self.anchor_ratios:
            raise ConfigError("anchor_sizes needs five values (P2-P6), anchor_ratios at least one")
        if min(self.anchor_sizes + self.anchor_ratios) <= 0:
            raise ConfigError("anchor_sizes and anchor_ratios must be positive")
        if self.engine == "detectron2" and self.semantic:
            raise ConfigError("engine=detectron2 has no semantic branch: set semantic=0 or engine=torchvision")
        if not self.tree_scales or min(self.tree_scales) <= 0:
            raise ConfigError("tree_scales needs at least one positive number of px")
        if not self.cascade_ious or not all(0 < t < 1 for t in self.cascade_ious):
            raise ConfigError("cascade_ious needs at least one threshold, each between 0 and 1")
        many = self.devices * self.num_nodes
        if self.fusion == "trees" and (many > 1 or self.strategy != "auto"):
            raise ConfigError("fusion=trees is planted by one process: leave out devices, num_nodes and strategy")
        if self.batch_size % many:
            raise ConfigError(
                f"batch_size={self.batch_size} is shared by {many} processes (devices x num_nodes): take a multiple"
            )
        return self

    @property
    def primary(self) -> str:
        """Name of the modality that queries the others."""
        return next(iter(self.modalities))

    @classmethod
    def make(cls, values: dict[str, Any]) -> "Config":
        """Build from a dict. Raises ConfigError naming the key, the value and what is allowed."""
        try:
            return cls(**values)
        except ValidationError as e:
            raise ConfigError("; ".join(_explain(err) for err in e.errors())) from None

    @classmethod
    def load(cls, path: str | Path) -> "Config":
        """Read a JSON file of knobs; missing ones keep their defaults. Raises DataError, ConfigError."""
        values = read_json(path)
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: a config is a JSON object of knobs")
        return cls.make(values)

    def save(self, path: str | Path) -> None:
        """Write all knobs as JSON, whole or not at all. Raises OutputError."""
        write_json(path, self.model_dump())

    @property
    def digest(self) -> str:
        """SHA-256 (64 hexadecimal digits) of all knobs but `HANDS`, which change no result."""
        return hashlib.sha256(self.model_dump_json(exclude=set(HANDS)).encode()).hexdigest()

    def updated(self, **values: Any) -> "Config":
        """Return a checked copy with some knobs changed. Raises ConfigError."""
        return Config.make({**self.model_dump(), **values})

    def with_overrides(self, pairs: Iterable[str]) -> "Config":
        """Return a checked copy changed by `key=value` strings; values are JSON, or bare text.

        Raises:
            ConfigError: a string without `=`, an unknown key, or a value out of range.
        """
        return self.updated(**parse_pairs(pairs))


def parse_pairs(pairs: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Read `key=value` strings; values are JSON, or bare text. Raises ConfigError for one without `=`."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sep, text = pair.partition("=")
        if not sep:
            raise ConfigError(f"{option} {pair!r}: write key=value")
        try:
            values[key.strip()] = json.loads(text)
        except ValueError:  # no JSON, or a number of thousands of digits
            values[key.strip()] = text.strip()
    return values


# A model that learns on two CPU cores: narrow pyramid and heads, few proposals, two RoIAlign points a bin, and small
# batches, as many small steps teach more than few large ones of the same chips (results/corrections.md).
_NANO: dict[str, Any] = {
    "backbone": "nano", "drop_path": 0.0, "fpn_channels": 64, "head_channels": 64, "head_convs": 1, "head_fc": 128,
    "rpn_samples": 64, "rpn_pre_nms": 200, "proposals": 100, "roi_samples": 16, "roi_sampling": 2, "semantic": 1.0,
    "batch_size": 4, "lr": 5e-4, "val_fraction": 0.1, "test_fraction": 0.3,
}  # fmt: skip
_SMOKE = {**_NANO, "fpn_channels": 16, "head_channels": 16, "head_convs": 0, "proposals": 20, "epochs": 1,
          "val_every": 1}  # fmt: skip
_GPU = {"backbone": "tiny", "batch_size": 16, "workers": 8, "val_every": 10, "head_norm": "BN", "semantic": 1.0}

# On real chips: weights from elsewhere, chips enlarged so that a slump of 30 px covers anchors and cells, crops around
# slumps, and steps of two crops. Slumps of 10 m pixels are smaller than those of 4 m.
_REAL: dict[str, Any] = {"backbone": "lite0", "pretrained": True, "batch_size": 2}
_LAYOUTS: dict[str, Any] = {
    "geotiff": {**_REAL, "scale": 3.0, "crop": 64, "anchor_sizes": [12, 24, 48, 96, 192], "test_fraction": 0.2},
    "coco": {**_REAL, "scale": 2.0, "crop": 128},
}  # fmt: skip

# How chips of 4 m are varied in training.
_VARIED: dict[str, Any] = {"scale_jitter": 0.25, "paste": 0.3, "jitter": 1.5, "hue": 0.05}

# The same with a GPU: steps of eight crops, 225 of which took a minute on an H200 that trained 14 models at a time
# (results/gpu); `coco` takes as many crops as the challenge's recipe.
_GPU_REAL: dict[str, Any] = {"batch_size": 8, "workers": 1, "val_every": 0, "head_norm": "GN"}
_GPU_LAYOUTS: dict[str, Any] = {
    "geotiff": {**_NANO, **_LAYOUTS["geotiff"], **_GPU_REAL, "scale": 4.0, "steps": 230},
    "coco": {**_NANO, **_LAYOUTS["coco"], **_VARIED, **_GPU_REAL, "steps": 3000},
}  # fmt: skip

# Minutes on two CPU cores; `overnight` has the same models, and steps for eight hours. A validation an epoch takes a
# tenth of its time.
_QUICK: dict[str, Any] = {
    "chips": 320, "size": 96, "scene": 768,
    "pretrain": {**_NANO, "steps": 200, "val_every": 1},
    "finetune": {**_NANO, "steps": 150, "fusion_lr": 2.0, "val_every": 1},
    "transfer": {**_NANO, "steps": 600}, "layouts": _LAYOUTS,
}  # fmt: skip

#: The frozen recipe of `python -m rtslib challenge`: all chips train, hours on two cores.
CHALLENGE: dict[str, Any] = {
    **_NANO, **_LAYOUTS["coco"], "fusion": "data", "steps": 12000, **_VARIED, "tta": True,
    "val_fraction": 0.08, "test_fraction": 0.0,
}  # fmt: skip

#: The same with a GPU: heads twice as wide that see four times as many boxes, and steps of eight crops. On 605 chips of
#: 4 m they brought AP50 0.03 (results/challenge/tables/heads.csv). A step takes a GPU 7 % longer, a CPU 3.5 times as
#: long.
CHALLENGE_GPU: dict[str, Any] = {
    **CHALLENGE, "fpn_channels": 128, "head_channels": 128, "head_convs": 2, "head_fc": 256, "rpn_samples": 128,
    "proposals": 200, "roi_samples": 64, "batch_size": 8, "steps": 3000, "workers": 1,
}  # fmt: skip

#: Notebook profiles: size of the embedded landscape (chips, px a side) and of its scene (px a side), knobs of
#: both training stages and of transfer to real chips, further knobs by layout (they win over a stage's), at
#: most how many chips of a real set (`limit`), and whose runs on the landscape a transfer starts from
#: (`landscape`, a profile; else its own).
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "chips": 24, "size": 64, "scene": 192, "limit": 12,
        "pretrain": _SMOKE, "finetune": _SMOKE, "transfer": _SMOKE, "layouts": {},
    },
    "quick": _QUICK,
    "overnight": {
        **_QUICK, "landscape": "quick",
        "pretrain": {**_NANO, "steps": 6000}, "finetune": {**_NANO, "steps": 4000, "fusion_lr": 2.0},
        "transfer": {**_NANO, "steps": 6000},
    },
    "gpu": {
        "chips": 1200, "size": 256, "scene": 4096,
        "pretrain": {**_GPU, "epochs": 60}, "finetune": {**_GPU, "epochs": 40}, "transfer": {**_GPU, "epochs": 60},
        "layouts": _GPU_LAYOUTS,
    },
}  # fmt: skip


def _explain(err: Any) -> str:
    key = ".".join(str(p) for p in err["loc"]) or "config"
    if err["type"] == "extra_forbidden":
        return f"unknown key {key!r}: known ones are {', '.join(Config.model_fields)}"
    return f"{key} = {err.get('input')!r}: {err['msg'].lower()}"
