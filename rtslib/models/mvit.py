"""MViTv2 as a detection backbone: timm's network, any input size, windowed attention, four scales.

A multi-scale vision transformer halves its token map and doubles its channels from stage to stage
(strides 4, 8, 16, 32), so its stage outputs feed a feature pyramid as a convolutional network's would.

Paper: Li et al. 2022, "MViTv2: Improved Multiscale Vision Transformers for Classification and
Detection", arXiv 2112.01526. What differs from timm's `MultiScaleVit`, whose modules and parameter
names are kept so that its ImageNet weights load unchanged:
- attention runs in windows outside the last block of each stage (section 4.4, "Hwin"), through
  PyTorch's fused kernel (`rtslib.models.attention`); with windows off and at 224 px outputs equal timm's;
- every scale has its own LayerNorm (`scale_norms` for strides 4-16, timm's `norm` for stride 32);
- tokens of cells without any valid pixel (nodata, and the padding beside a smaller chip of a batch) are hidden
  from attention, so that what a chip is batched with does not reach its features through it;
- `like="detectron2"` computes what detectron2's MViT does with the same parameters: key/value strides
  doubled in the last blocks of stages 2 and 3, windows also in the last block of stage 1, padded keys
  not masked. No tensor shape shows which one weights were trained with.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models import adapt_input_conv
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg, model_cfgs, reshape_post_pool, reshape_pre_pool
from torch import Tensor, nn
from torch.nn import functional as F

from rtslib.errors import WeightsError, one_line
from rtslib.models.attention import Grid, attend_map

NATIVE = 224  # px; the size whose token counts define windows (56/28/14/7) and relative positions
SIZES: dict[str, MultiScaleVitCfg] = {
    "nano": MultiScaleVitCfg(depths=(1, 2, 4, 1), embed_dim=32),
    **{size: model_cfgs[f"mvitv2_{size}"] for size in ("tiny", "small", "base", "large")},
}


#: Weights of `nano` that come with rtslib (`pretrained/README.md`); `rtslib distill --out` makes others.
DISTILLED = Path(__file__).parent / "pretrained" / "mvitv2_nano.pt"


class Extent(tuple[int, int]):
    """A token map's size (rows, columns), and which of its tokens attention may see.

    timm hands sizes from block to block; this one takes the mask along.

    Attributes:
        seen: bool (B, rows, columns), or None where all may be seen.
    """

    seen: Tensor | None

    def __new__(cls, size: Any, seen: Tensor | None = None) -> "Extent":
        """Make one."""
        extent = super().__new__(cls, tuple(size))
        extent.seen = seen
        return extent

    def pooled(self, size: Any) -> "Extent":
        """Return that of the map pooled to a size, which may be the same: a cell is seen if any of its tokens is."""
        if self.seen is None or tuple(size) == self:
            return Extent(size, self.seen)
        return Extent(size, F.adaptive_max_pool2d(self.seen[:, None].float(), tuple(size))[:, 0] > 0)


class PooledAttention(nn.Module):
    """timm's pooling attention, computed in windows by the fused kernel; same parameter names.

    Args:
        source: the attention module whose parameters are taken over.
        window: window in tokens of the map *before* this block's query pooling; 0: global.
        zeros: padded keys stay in the softmax (detectron2) instead of being masked.
    """

    qkv: nn.Module
    proj: nn.Module
    pool_q: nn.Module | None
    pool_k: nn.Module | None

    def __init__(self, source: Any, window: int, zeros: bool) -> None:
        super().__init__()
        for name in ("qkv", "proj", "pool_q", "norm_q", "pool_k", "norm_k", "pool_v", "norm_v"):
            setattr(self, name, getattr(source, name))
        self.rel_pos_h, self.rel_pos_w = source.rel_pos_h, source.rel_pos_w
        self.num_heads, self.dim_out = source.num_heads, source.dim_out
        self.residual_pooling, self.zeros = source.residual_pooling, zeros
        self.q_window, self.k_window = (window // _stride(pool) for pool in (self.pool_q, self.pool_k))

    def forward(self, x: Tensor, feat_size: Extent) -> tuple[Tensor, Extent]:
        """Map tokens (B, H*W, C) to (B, Hq*Wq, dim_out) and return them with (Hq, Wq)."""
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, q_size = self._pool(qkv[0], feat_size, self.pool_q, self.norm_q)
        k, k_size = self._pool(qkv[1], feat_size, self.pool_k, self.norm_k)
        v, _ = self._pool(qkv[2], feat_size, self.pool_v, self.norm_v)
        grid, seen = Grid(tuple(q_size), tuple(k_size), self.q_window, self.k_window), feat_size.pooled(k_size).seen
        key_ok = None if seen is None else seen.flatten(1)
        out = attend_map(q, k, v, grid, self.rel_pos_h, self.rel_pos_w, key_ok, self.zeros)
        if self.residual_pooling:
            out = out + q
        return self.proj(out.transpose(1, 2).reshape(b, -1, self.dim_out)), feat_size.pooled(q_size)

    def _pool(self, x: Tensor, size: Any, pool: Any, norm: Any) -> tuple[Tensor, Any]:
        if pool is not None:
            x, _ = reshape_pre_pool(x, size, False)
            x, size = reshape_post_pool(pool(x), self.num_heads, None)
        return (x if norm is None else norm(x)), size


class MViT(MultiScaleVit):
    """MViTv2 backbone for one branch.

    Args:
        size: nano, tiny, small, base or large.
        in_chans: bands of the branch.
        windows, drop_path: see `rtslib.config.Config`.
        like: `mvit_like` there.

    Source: timm's MultiScaleVit; the module docstring says what differs.
    """

    def __init__(
        self, size: str = "tiny", in_chans: int = 3, windows: bool = True, like: str = "timm", drop_path: float = 0.0
    ) -> None:
        super().__init__(SIZES[size], (NATIVE, NATIVE), in_chans, num_classes=0, drop_path_rate=drop_path)
        last, side, detectron2 = len(self.stages) - 1, NATIVE // 4, like == "detectron2"
        for s, stage in enumerate(cast(Any, self.stages)):
            for j, block in enumerate(stage.blocks):
                final = j == len(stage.blocks) - 1
                if detectron2 and final and 0 < s < last:
                    for pool in (block.attn.pool_k, block.attn.pool_v):
                        pool.stride = tuple(2 * step for step in pool.stride)
                whole = final and not (detectron2 and s == 0)  # it cuts even the last block of stage 1
                window = side if windows and not whole else 0
                block.attn = PooledAttention(block.attn, window, zeros=detectron2)
                side //= _stride(block.attn.pool_q)
        # `large` widens at the end of a stage, so a scale's channels are those its last block gives.
        self.channels: tuple[int, ...] = tuple(cast(Any, info)["num_chs"] for info in self.feature_info)
        norm = partial(nn.LayerNorm, eps=SIZES[size].norm_eps)
        self.scale_norms = nn.ModuleList(norm(c) for c in self.channels[:-1])

    def stage_maps(self, x: Tensor, seen: Tensor | None = None) -> list[Tensor]:
        """Return the four stage outputs before their norms.

        Args:
            x: float (B, in_chans, H, W), normalised, H and W multiples of 32.
            seen: bool (B, H/4, W/4), False for tokens that attention must not see; None: it may see all.

        Returns:
            Four maps (B, C_s, H/4/2^s, W/4/2^s), s = 0..3.
        """
        x, size = self.patch_embed(x)
        size = Extent(size, seen)
        maps = []
        for stage in self.stages:
            x, size = stage(x, size)
            maps.append(x.transpose(1, 2).unflatten(2, tuple(size)))
        return maps

    def forward(self, x: Tensor, seen: Tensor | None = None) -> list[Tensor]:
        """Return the four normalised maps (strides 4, 8, 16, 32); arguments and shapes as in `stage_maps`."""
        norms = [*self.scale_norms, self.norm]
        return [norm(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for norm, m in zip(norms, self.stage_maps(x, seen))]


def load_imagenet(model: MViT, size: str, file: str | Path | None = None) -> None:
    """Load weights that know ImageNet into a branch, in place: timm's, or for `nano` those that `distill` made.

    The latter learnt to see as an ImageNet network does (`rtslib.training.distill`). For other than three bands timm's
    rule applies to the first convolution: the RGB kernels are repeated over the bands and scaled by 3/bands, so that
    activations keep their size.

    Args:
        size: the backbone's size.
        file: a local file instead: in timm's format, of `nano` in that of `rtslib.training.distill`.

    Raises:
        WeightsError: no weights for this size, hub and cache out of reach, unreadable file, or keys that
            do not fit.
    """
    if size == "nano":
        _load_distilled(model, Path(file or DISTILLED))
        return
    source = from_hub(f"mvitv2_{size}", model.in_chans, file, num_classes=0).state_dict()
    missing, unexpected = model.load_state_dict(source, strict=False)
    missing = [k for k in missing if not k.startswith("scale_norms.")]
    if missing or unexpected:
        raise WeightsError(f"ImageNet weights do not fit: missing {missing[:5]}, unexpected {unexpected[:5]}")


def _load_distilled(model: MViT, file: Path) -> None:
    """Load what `rtslib.training.distill` wrote; raises as `load_imagenet`."""
    if not file.exists():
        raise WeightsError(
            f"there are no ImageNet weights for nano: set pretrained=false, or make some: rtslib distill --out {file}"
        )
    try:
        theirs = {k: v.float() for k, v in torch.load(file, map_location="cpu", weights_only=True).items()}
        first = "patch_embed.proj.weight"
        theirs[first] = adapt_input_conv(model.patch_embed.proj.in_channels, theirs[first])
        model.load_state_dict(theirs)
    except Exception as e:  # torch raises many kinds for files that are cut, foreign or of another network
        raise WeightsError(f"{file} cannot be read as weights of nano ({one_line(e)}): install rtslib again") from e


def from_hub(name: str, in_chans: int, file: str | Path | None = None, **options: Any) -> nn.Module:
    """Return a timm network with its ImageNet weights, from the hub or its cache, or from a local file.

    Args:
        name: timm's.
        in_chans: bands; for other than three, timm's rule applies to the first convolution.
        file: a local file in timm's format instead of the hub.
        options: further ones of `timm.create_model`.

    Raises:
        WeightsError: hub and cache are out of reach, or the file is unreadable.
    """
    overlay = {"file": str(file)} if file else None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else a line for every retry of every request
    try:
        return timm.create_model(name, pretrained=True, in_chans=in_chans, pretrained_cfg_overlay=overlay, **options)
    except Exception as e:  # the hub's client raises many kinds
        reason = str(e).strip().splitlines()[0][:200] if str(e).strip() else type(e).__name__
        raise WeightsError(
            f"ImageNet weights of {name} cannot be loaded ({reason}): connect once so that timm caches them,"
            " or set pretrained=false"
        ) from e


def _stride(pool: Any) -> int:
    return 1 if pool is None else int(pool.stride[0])
