"""Decision-level fusion: union with non-maximum suppression by masks, voids, and a run made of runs."""

import math

import pytest
import torch

from helpers.models import made_batch, small_config
from rtslib.errors import ConfigError
from rtslib.models.decision import Decision


class Known(torch.nn.Module):
    """A detector that answers one square with a known score, wherever it looks."""

    def __init__(self, left, score):
        super().__init__()
        self.left, self.score = left, score

    def forward(self, batch):
        out = []
        for h, w in batch["sizes"]:
            mask = torch.zeros(1, h, w)
            mask[0, 10:20, self.left : self.left + 10] = 0.9
            box = torch.tensor([[self.left, 10.0, self.left + 10, 20]])
            out.append({"boxes": box, "scores": torch.tensor([self.score]), "labels": torch.ones(1), "masks": mask})
        return out


def of(*answers, **knobs):
    model = Decision(small_config(**knobs, fusion="decision")).eval()
    for m, (left, score) in zip(("rgb", "spectral", "terrain"), answers):
        model.detectors[m] = Known(left, score)
    return model


def test_detections_are_united_and_the_better_of_two_alike_stays():
    out = of((10, 0.6), (11, 0.9), (40, 0.3))(made_batch(sizes=((64, 64),), instances=(0,)))[0]
    torch.testing.assert_close(out["scores"], torch.tensor([0.9, 0.3]))
    assert out["boxes"][:, 0].tolist() == [11, 40] and out["masks"].shape == (2, 64, 64)


def test_a_void_adds_nothing_and_nobody_reaches_into_it():
    batch = made_batch(sizes=((64, 64),), instances=(0,))
    batch["valid"]["spectral"][:] = False
    batch["valid"]["terrain"][:, :, :45] = False
    out = of((10, 0.6), (11, 0.9), (40, 0.3))(batch)[0]
    assert out["boxes"][:, 0].tolist() == [10, 40]
    assert (out["masks"][1] > 0).sum() == 50  # the half of the square that terrain could see
    for m in ("rgb", "terrain"):
        batch["valid"][m][:] = False
    assert len(of((10, 0.6), (11, 0.9), (40, 0.3))(batch)[0]["scores"]) == 0


def test_each_detector_is_calibrated_by_its_own_numbers():
    model = of((10, 0.8), (30, 0.8), (50, 0.8))
    model.calibrations[:] = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, -1.0]])
    scores = model(made_batch(sizes=((64, 64),), instances=(0,)))[0]["scores"]
    torch.testing.assert_close(scores, torch.tensor([0.8, 2 / 3, 4**0.25 / (math.e + 4**0.25)]))


def test_gradient_reaches_every_modality():
    model = Decision(small_config(fusion="decision"))
    sum(model(made_batch()).values()).backward()
    for detector in model.detectors.values():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in detector.backbones.parameters())


def test_detectron2_is_refused():
    with pytest.raises(ConfigError, match="set engine=torchvision"):
        Decision(small_config(fusion="decision", engine="detectron2"))
