"""The fusion strategies that residual cross-modality attention is compared with, and the list of all.

All start near the primary map, so that pyramid and heads pre-trained on it meet features they know.
A place where a modality has no valid pixel is masked: it enters no sum, mean, maximum or attention.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rtslib.models.crossing import CrossAttention
from rtslib.models.fusion import DataLevel, Fusion, Maps, MergeOnly, ResidualCrossAttention


class Sum(Fusion):
    """y = x + g (sum over m of valid_m z_m) M / max(1, sum over m of valid_m), M other modalities.

    The plain sum of feature maps, with inverse scaling where some are missing (as dropout does), so that
    the sum's size does not tell how many there were. g is one learned number per channel, from 0.5: from 0.1 it stayed
    at 0.1 in all the steps of a short training, and the others were hardly heard.
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int) -> None:
        super().__init__(branches, channels, level)
        self.gain = nn.Parameter(torch.full((channels, 1, 1), 0.5))

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        others = self.branches[1:]
        total: Any = sum(maps[b] * valid[b][:, None] for b in others)
        count: Any = sum(valid[b][:, None].to(total.dtype) for b in others)
        return maps[self.branches[0]] + self.gain * total * (len(others) / count.clamp(min=1))


class ConcatConv(Fusion):
    """Convolutional feature fusion: y = Conv3x3([x_1, ..., x_M]), M C channels to C.

    The feature-level convolution that Li et al. 2025 (arXiv 2504.17822) compare with. The kernel starts as
    the identity on the primary map plus small noise on the others.
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int) -> None:
        super().__init__(branches, channels, level)
        self.conv = near_identity(channels, len(branches), 3)

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        return self.conv(stacked(self.branches, maps, valid))


class ChannelAttention(Fusion):
    """Squeeze-and-excitation over the concatenated maps u = [x_1, ..., x_M], then a 1x1 convolution.

        s = 2 sigmoid(W2 ReLU(W1 mean(u))),  y = Conv1x1(s * u)

    Hu et al. 2018, arXiv 1709.01507. Differs: means are over valid places; the factor 2 with W2 starting at
    0 makes s start at 1; the convolution brings M C channels to C.
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int, reduction: int = 8) -> None:
        super().__init__(branches, channels, level)
        self.excite = squeeze_mlp(channels * len(branches), reduction)
        self.conv = near_identity(channels, len(branches), 1)

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        u, _, mean = self.squeezed(maps, valid)
        return self.conv(u * 2 * self.excite(mean).sigmoid()[:, :, None, None])

    def squeezed(self, maps: Maps, valid: Maps) -> tuple[Tensor, Tensor, Tensor]:
        """Return all maps (B, MC, h, w), where they are valid (as bool), and their means there (B, MC)."""
        u = stacked(self.branches, maps, valid)
        weight = torch.cat([valid[b][:, None].expand_as(maps[b]) for b in self.branches], dim=1)
        return u, weight, u.sum((2, 3)) / weight.sum((2, 3)).clamp(min=1)


class CBAM(ChannelAttention):
    """Channel attention from means and maxima, then spatial attention, then a 1x1 convolution.

        s = 2 sigmoid(MLP(mean(u)) + MLP(max(u))),  v = s * u
        t = 2 sigmoid(Conv7x7([mean over channels of v, max over channels of v])),  y = Conv1x1(t * v)

    Woo et al. 2018, arXiv 1807.06521. Differs as `ChannelAttention`; the 7x7 convolution starts at 0.
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int, reduction: int = 8) -> None:
        super().__init__(branches, channels, level, reduction)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)
        nn.init.zeros_(self.spatial.weight)
        nn.init.zeros_(self.spatial.bias)

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        u, weight, mean = self.squeezed(maps, valid)
        highest = u.masked_fill(~weight, -torch.inf).amax((2, 3))
        highest = highest.masked_fill(highest.isinf(), 0)  # a modality without any valid place
        s = (self.excite(mean) + self.excite(highest)).sigmoid()
        v = u * 2 * s[:, :, None, None]
        seen = weight.sum(1, keepdim=True).clamp(min=1)
        best = v.masked_fill(~weight, -torch.inf).amax(1, keepdim=True)
        best = best.masked_fill(best.isinf(), 0)
        t = self.spatial(torch.cat([v.sum(1, keepdim=True) / seen, best], dim=1)).sigmoid()
        return self.conv(v * 2 * t)


class Gated(Fusion):
    """y = x + sum over m of valid_m g_m * P_m z_m,  g_m = sigmoid(Conv1x1([x, z_m])).

    A gate from both streams decides, place by place and channel by channel, how much of the other one
    passes: Arevalo et al. 2017 (gated multimodal units, arXiv 1702.01992). Differs: residual on the
    primary map, so that any number of others may be missing; P_m is a 1x1 convolution from small noise.
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int) -> None:
        super().__init__(branches, channels, level)
        others = self.branches[1:]
        self.gate = nn.ModuleDict({b: nn.Conv2d(2 * channels, channels, 1) for b in others})
        project = {b: nn.Conv2d(channels, channels, 1, bias=False) for b in others}
        for conv in project.values():
            nn.init.normal_(conv.weight, std=1e-3)
        self.project = nn.ModuleDict(project)

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        x = y = maps[self.branches[0]]
        for b in self.branches[1:]:
            z = maps[b] * valid[b][:, None]
            y = y + self.gate[b](torch.cat([x, z], dim=1)).sigmoid() * self.project[b](z)
        return y


class PlainCrossAttention(ResidualCrossAttention):
    """Cross-modality attention without the residual: y = sum_m A_m(x, z_m) + merging, as in `ResidualCrossAttention`.

    What the residual is for, shown by leaving it out: the primary map only asks, and is not passed on. The output
    projections cannot start at 0 here. On a chip where no other modality has a valid pixel there is no answer, and y is
    the primary map.
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int) -> None:
        super().__init__(branches, channels, level)
        for ask in self.asked.values():
            cast(CrossAttention, ask).out.reset_parameters()

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        any_key = torch.stack([valid[b].flatten(1).any(1) for b in self.others]).any(0)
        y = torch.where(any_key[:, None, None, None], self.answer(maps, valid), maps[self.branches[0]])
        return self.merged(y, maps, valid)


def stacked(branches: Sequence[str], maps: Maps, valid: Maps) -> Tensor:
    """Concatenate the maps (B, C, h, w) of all branches along channels, 0 at their invalid places."""
    return torch.cat([maps[b] * valid[b][:, None] for b in branches], dim=1)


def near_identity(channels: int, count: int, kernel: int) -> nn.Conv2d:
    """Convolution from count * C to C channels: identity on the first C, noise of 1e-3 on the others."""
    conv = nn.Conv2d(channels * count, channels, kernel, padding=kernel // 2)
    nn.init.normal_(conv.weight, std=1e-3)
    nn.init.zeros_(conv.bias)
    with torch.no_grad():
        conv.weight[:, :channels] = 0
        conv.weight[range(channels), range(channels), kernel // 2, kernel // 2] = 1
    return conv


def squeeze_mlp(channels: int, reduction: int) -> nn.Sequential:
    """Two linear layers with a narrow middle; the last one starts at 0."""
    last = nn.Linear(max(8, channels // reduction), channels)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(channels, last.in_features), nn.ReLU(inplace=True), last)


STRATEGIES: dict[str, type[Fusion]] = {
    "residual_cross_attention": ResidualCrossAttention, "cross_attention": PlainCrossAttention,
    "merge_only": MergeOnly, "concat_conv": ConcatConv, "channel_attention": ChannelAttention, "cbam": CBAM,
    "gated": Gated, "sum": Sum, "data": DataLevel,
}  # fmt: skip
