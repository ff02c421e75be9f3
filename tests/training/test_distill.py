"""What the student learns, and that what is saved is what starts a branch."""

import pytest
import torch
from torch import nn

from helpers.chip_folders import write_challenge
from rtslib.data.opening import open_chips
from rtslib.errors import WeightsError
from rtslib.models.mvit import MViT, load_imagenet
from rtslib.training.distill import distill, likeness


def test_maps_are_alike_whatever_a_scale_of_the_teacher_is_multiplied_with():
    torch.manual_seed(0)
    bridge = nn.ModuleList([nn.Conv2d(4, 4, 1)])
    nn.init.eye_(bridge[0].weight[:, :, 0, 0])
    nn.init.zeros_(bridge[0].bias)
    teacher = torch.randn(2, 4, 3, 3)
    normed = torch.nn.functional.layer_norm(teacher.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2)
    assert likeness([normed], [13 * teacher], bridge).item() == pytest.approx(0, abs=1e-6)
    assert likeness([torch.zeros_like(normed)], [teacher], bridge).item() == pytest.approx(1, abs=1e-3)


def test_what_is_taught_starts_branches_of_any_number_of_bands(tmp_path):
    chips = open_chips(write_challenge(tmp_path / "chips", size=(32, 64)))
    log = distill("nano", chips, tmp_path / "nano.pt", steps=2, batch=2, every=1)
    assert [row["step"] for row in log] == [1, 2] and all(3 < row["loss"] < 8 for row in log)
    three, two = MViT("nano", 3), MViT("nano", 2)
    for branch in (three, two):
        load_imagenet(branch, "nano", tmp_path / "nano.pt")
    first = "patch_embed.proj.weight"
    a, b = three.state_dict(), two.state_dict()
    assert torch.equal(a["stages.0.blocks.0.mlp.fc1.weight"], b["stages.0.blocks.0.mlp.fc1.weight"])
    torch.testing.assert_close(b[first], a[first][:, :2] * 1.5)


def test_foreign_weights_are_refused(tmp_path):
    torch.save({"patch_embed.proj.weight": torch.zeros(32, 3, 7, 7)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="cannot be read as weights of nano"):
        load_imagenet(MViT("nano", 3), "nano", tmp_path / "w.pt")
