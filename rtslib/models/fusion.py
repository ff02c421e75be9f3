"""Fusion: one feature map out of one per modality, at each scale of the backbone.

Every strategy says two things: which *branches* (backbones) there are and what each reads, and how
the branches' maps of one scale become one map. The primary modality (the config's first) sets the
scale's channels. Here: the interface, early fusion, and the paper's attention; `rtslib.models.strategies` has
those it is compared with, and `STRATEGIES`, which maps a config's `fusion` to its class.

Li et al. 2025 (arXiv 2504.17822) name three families: data-level (bands stacked before one backbone),
convolutional feature-level, and attention; theirs is residual cross-modality attention.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rtslib.models.crossing import CrossAttention

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


class MergeOnly(Fusion):
    """Merging alone: y = x + sum_m Wm (valid_m * z_m), Wm a 1x1 convolution that starts at 0.

    What `ResidualCrossAttention` is without its attention: it tells what the attention is good for. ControlNet's zero
    convolution (arXiv 2302.05543).
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int) -> None:
        super().__init__(branches, channels, level)
        self.others = self.branches[1:]
        merge = {b: nn.Conv2d(channels, channels, 1, bias=False) for b in self.others}
        for conv in merge.values():
            nn.init.zeros_(conv.weight)
        self.merge = nn.ModuleDict(merge)

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        return self.merged(maps[self.branches[0]], maps, valid)

    def merged(self, y: Tensor, maps: Maps, valid: Maps) -> Tensor:
        """Add the other modalities' maps through their zero-initialised 1x1 convolutions."""
        for name in self.others:
            y = y + self.merge[name](maps[name] * valid[name][:, None])
        return y


class ResidualCrossAttention(MergeOnly):
    """Residual cross-modality attention, then merging.

    With x the primary map and z_m the others, at every scale:

        y = x + sum_m A_m(x, z_m) + sum_m Wm (valid_m * z_m)

    A_m is `rtslib.models.crossing.CrossAttention`, whose output projection starts at 0, and so does every Wm: the
    model equals the primary one exactly before the first step. The merging passes on what another modality shows at
    the same place, the attention what it shows around it.

    Source: Li et al. 2025, arXiv 2504.17822. Differs: attention starts local (see there for why), is masked and in
    windows; every modality is asked by itself, so that a loud one cannot drown another; merging is a 1x1 convolution.

    Attributes:
        attends: False leaves the attention out, to see what a trained model owes to it.
    """

    def __init__(self, branches: Sequence[str], channels: int, level: int) -> None:
        super().__init__(branches, channels, level)
        self.asked = nn.ModuleDict({b: CrossAttention(channels, level) for b in self.others})
        self.attends = True

    def forward(self, maps: Maps, valid: Maps) -> Tensor:
        """See `Fusion.forward`."""
        y = maps[self.branches[0]]
        if self.attends:
            y = y + self.answer(maps, valid)
        return self.merged(y, maps, valid)

    def answer(self, maps: Maps, valid: Maps) -> Tensor:
        """Return what the attention adds, float (B, C, h, w); 0 on chips where no other modality is valid."""
        x = maps[self.branches[0]]
        total: Any = sum(ask(x, maps[b], valid[b]) for b, ask in self.asked.items())
        return total


def without_attention(model: nn.Module) -> nn.Module:
    """Switch the attention of every scale off, in place, and return the model."""
    for module in model.modules():
        if isinstance(module, ResidualCrossAttention):
            module.attends = False
    return model
