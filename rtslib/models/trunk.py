"""The trunk: what is before pyramid and heads, the same for every engine.

    chip -> normalisation -> one branch (MViTv2, or one of timm's) per modality -> fusion at strides 4, 8, 16, 32

An *engine* (`rtslib.config.Config.engine`) is the library whose pyramid, proposals and heads sit on it:
torchvision's operators (`rtslib.models.detector`) or detectron2's modules (`rtslib.models.detectron2.model`).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtslib.config import Config
from rtslib.models.fusion import Fusion
from rtslib.models.model import Model
from rtslib.models.mvit import MViT
from rtslib.models.strategies import STRATEGIES
from rtslib.models.timm_branch import NAMES, TimmBranch

Branch = MViT | TimmBranch


class Trunk(Model):
    """Normalisation, branches and fusion.

    Args:
        config: with `modality_mean` and `modality_std` for every modality.

    Raises:
        ConfigError: normalisation statistics are missing or of the wrong length.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.keep_statistics(config)
        strategy = STRATEGIES[config.fusion] if len(config.modalities) > 1 else Fusion
        self.inputs, self.tells_missing = strategy.branch_inputs(tuple(config.modalities)), strategy.tells_missing
        self.backbones = nn.ModuleDict({b: self._branch(ms) for b, ms in self.inputs.items()})
        self.channels = cast(Branch, next(iter(self.backbones.values()))).channels
        self.fusion = nn.ModuleList(strategy(tuple(self.inputs), c, i) for i, c in enumerate(self.channels))

    def _branch(self, modalities: tuple[str, ...]) -> Branch:
        c = self.config
        bands = sum(len(c.modalities[m]) + self.tells_missing for m in modalities)
        branch: Branch
        if c.backbone in NAMES:
            branch = TimmBranch(c.backbone, bands, c.drop_path, still=c.pretrained)
        else:
            branch = MViT(c.backbone, bands, c.windows, c.mvit_like, c.drop_path)
        branch.set_grad_checkpointing(c.checkpoint)
        return branch

    def fused(self, images: dict[str, Tensor], valid: dict[str, Tensor]) -> list[Tensor]:
        """Normalise, run the branches, fuse.

        Args:
            images: modality -> float (B, bands, H, W) in physical units, H and W multiples of 32.
            valid: modality -> bool (B, H, W); invalid pixels enter the branches as 0, the mean.

        Returns:
            Four maps (B, channels_i, H/4/2^i, W/4/2^i), i = 0..3.
        """
        normal = {}
        for m, x in images.items():
            normal[m] = torch.where(valid[m][:, None], self.standardised(m, x), 0.0)
        maps, seen = {}, {}
        for branch, modalities in self.inputs.items():
            planes = [normal[m] for m in modalities]
            if self.tells_missing:
                planes += [(~valid[m][:, None]).to(planes[0].dtype) for m in modalities]
            seen[branch] = torch.stack([valid[m] for m in modalities]).any(0)
            tokens = cells(seen[branch], 4)
            maps[branch] = self.backbones[branch](torch.cat(planes, dim=1), None if tokens.all() else tokens)
        out = []
        for i, fusion in enumerate(self.fusion):
            at_scale = {b: cells(v, 4 << i) for b, v in seen.items()}
            out.append(fusion({b: maps[b][i] for b in maps}, at_scale))
        return out


def cells(valid: Tensor, stride: int) -> Tensor:
    """Return which cells hold any valid pixel: bool (B, H, W) to (B, H/stride, W/stride)."""
    return F.max_pool2d(valid[:, None].float(), stride)[:, 0] > 0
