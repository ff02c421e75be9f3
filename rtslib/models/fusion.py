"""Fusion: one feature map out of one per modality, at each scale of the backbone.

Every strategy says two things: which *branches* (backbones) there are and what each reads, and how
the branches' maps of one scale become one map. The primary modality (the config's first) sets the
scale's channels. Here: the interface, early fusion, and the paper's attention; `rtslib.models.strategies` has
those it is compared with, and `STRATEGIES`, which maps a config's `fusion` to its class.

Li et al. 2025 (arXiv 2504.17822) name three families: data-level (bands stacked before one backbone),
convolutional feature-level, and attention; theirs is residual cross-modality attention.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtslib.models.attention import Grid, attend_map

Maps = dict[str, Tensor]


class Fusion(nn.Module):
    """Interface: fuse the branches' maps of one scale. This base is for one branch: it returns its map.

    Args:
        branches: branch names, the primary one first.
        channels: channels of every branch's map at this scale.
        level: scale index, 0 for stride 4 to 3 for stride 32.

    Attributes:
        tells_missing: whether a branch gets one more plane a modality, 1 where that modality is not valid.
            For strategies that cannot mask: their backbone would read the zeros there as the mean.
    """

    tells_missing = False

    def __init__(self, branches: Sequence[str], channels: int, level: int) -> None:
        super().__init__()
        self.branches = tuple(branches)

    @staticmethod
    def branch_inputs(modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return branch name -> modalities it reads, stacked along bands; by default one branch each."""
        return {m: (m,) for m in modalities}

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """Fuse.

        Args:
            maps: branch -> float (B, C, h, w).
            valid: branch -> bool (B, h, w), True where the branch saw any valid pixel.

        Returns:
            float (B, C, h, w).
        """
        return maps[self.branches[0]]


class DataLevel(Fusion):
    """Data-level baseline: all modalities' bands stacked into one backbone (early fusion).

    Differs from a plain stack: one plane a modality says where it is missing, and is 0 where nothing is.
    """

    tells_missing = True

    @staticmethod
    def branch_inputs(modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the single branch `data` that reads every modality."""
        return {"data": tuple(modalities)}


class ResidualCrossAttention(Fusion):
    """Residual cross-modality attention, then merging.

    With x the primary map and z_m the others, at every scale and head:

        q = Wq LN(x),  k_m, v_m = pooled Wk LN(z_m) + e_m, pooled Wv LN(z_m)
        a = softmax over all keys of all m (s q.k + q.R) v
        y = x + g * Wo a                    g: per-channel scale, starts at 0
        out = y + sum_m Wm (valid_m * z_m)  Wm: 1x1 convolution, starts at 0  (the merging)

    R are decomposed relative positions as in MViTv2 (arXiv 2112.01526): without them a query could
    not tell which key lies at its own place. Keys are pooled by the backbone's strides (4, 2, 1, 1) and
    cut into windows of the same footprint as the backbone's (56, 28, 14, 7 tokens), so memory is linear
    in area. Keys without valid pixels are masked; where no key is valid, a is 0. Since g and all Wm start
    at 0, the model equals the primary one exactly before the first step.

    Source: Li et al. 2025, arXiv 2504.17822. Differs: relative positions, masking and windows are added;
    merging is a 1x1 convolution that starts at zero (ControlNet's zero convolution, arXiv 2302.05543).
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int, head_dim: int = 32) -> None:
        super().__init__(branches, channels, level)
        self.others = self.branches[1:]
        self.heads = max(1, channels // head_dim)
        self.pool = max(1, 4 >> level)
        self.q_window = 56 >> level
        width = channels // self.heads
        self.norms = nn.ModuleDict({b: nn.LayerNorm(channels) for b in self.branches})
        self.q = nn.Linear(channels, channels)
        self.kv = nn.ModuleDict({b: nn.Linear(channels, 2 * channels) for b in self.others})
        self.modality_bias = nn.ParameterDict({b: nn.Parameter(torch.zeros(self.heads, 1, width)) for b in self.others})
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * self.q_window - 1, width))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * self.q_window - 1, width))
        nn.init.trunc_normal_(self.rel_pos_h, std=0.02)
        nn.init.trunc_normal_(self.rel_pos_w, std=0.02)
        self.out = nn.Linear(channels, channels)
        self.gain = nn.Parameter(torch.zeros(channels))
        merge = {b: nn.Conv2d(channels, channels, 1, bias=False) for b in self.others}
        for conv in merge.values():
            nn.init.zeros_(conv.weight)
        self.merge = nn.ModuleDict(merge)

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        x = maps[self.branches[0]]
        answer, _ = self.attention(maps, valid)
        return self.merged(x + answer * self.gain[:, None, None], maps, valid)

    def attention(self, maps: Maps, valid: Maps) -> tuple[Tensor, Tensor]:
        """Return Wo a, float (B, C, h, w), and which chips have any valid key, bool (B,)."""
        x = maps[self.branches[0]]
        b, c, h, w = x.shape
        q = self._heads(self.q(self._tokens(self.branches[0], x)))
        keys, values, seen = [], [], []
        for name in self.others:
            k, v, ok, size = self._keys(name, maps[name], valid[name])
            keys.append(k + self.modality_bias[name].to(k.dtype))
            values.append(v)
            seen.append(ok)
        grid = Grid((h, w), size, self.q_window, self.q_window // self.pool)
        key_ok = torch.cat(seen, 1)
        a = attend_map(q, torch.cat(keys, 2), torch.cat(values, 2), grid, self.rel_pos_h, self.rel_pos_w, key_ok)
        a = self.out(a.transpose(1, 2).reshape(b, h * w, c))
        return a.transpose(1, 2).reshape(b, c, h, w), key_ok.any(1)

    def merged(self, y: Tensor, maps: Maps, valid: Maps) -> Tensor:
        """Add the other modalities' maps through their zero-initialised 1x1 convolutions."""
        for name in self.others:
            y = y + self.merge[name](maps[name] * valid[name][:, None])
        return y

    def _tokens(self, name: str, x: Tensor) -> Tensor:
        return self.norms[name](x.flatten(2).transpose(1, 2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _keys(self, name: str, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
        """Keys and values of one other modality: mean over valid tokens of each pooling cell."""
        b, c, h, w = x.shape
        weight = valid[:, None].to(x.dtype)
        z = self._tokens(name, x).transpose(1, 2).reshape(b, c, h, w) * weight
        p = self.pool
        share = F.avg_pool2d(weight, p, ceil_mode=True, count_include_pad=False)
        z = F.avg_pool2d(z, p, ceil_mode=True, count_include_pad=False) / share.clamp(min=1e-6)
        k, v = self.kv[name](z.flatten(2).transpose(1, 2)).chunk(2, dim=-1)
        return self._heads(k), self._heads(v), share.flatten(1) > 0, (z.shape[2], z.shape[3])
