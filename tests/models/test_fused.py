"""Fused branches: the same maps without batch normalisation."""

import pytest
import torch
from torch import nn

from rtslib.models.fused import Shifted, fuse
from rtslib.models.timm_branch import TimmBranch


def branch(name):
    """A branch whose batch normalisations have statistics, scales and shifts of their own."""
    torch.manual_seed(0)
    made = TimmBranch(name, in_chans=2)
    for m in made.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 2)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.1)
    return made.eval()


@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
@pytest.mark.parametrize("name", ["lite0", "resnet50", "convnext_tiny"])
@torch.no_grad()
def test_fused_maps_are_those_of_before(name, size):
    made, x = branch(name), torch.randn(2, 2, *size)
    before = made(x)
    assert fuse(made) is made
    assert not any(isinstance(m, nn.BatchNorm2d) for m in made.modules())
    for ours, theirs in zip(made(x), before, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_lite0_pads_without_copies():
    shifted = [m.padding for m in fuse(branch("lite0")).modules() if isinstance(m, Shifted)]
    assert sorted(shifted) == [2, 2, 2, 3, 3]  # strides 2 to 32: the stem, and blocks of 3 x 3 and 5 x 5


def test_what_has_no_such_branch_stays():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    assert fuse(net) is net and all(torch.equal(kept[k], v) for k, v in net.state_dict().items())
