"""Ensembles: what models agree on is surer, and nothing else changes."""

import pytest
import torch

from rtslib.config import Config
from rtslib.errors import ConfigError
from rtslib.models.build import build_model
from rtslib.models.ensemble import Ensemble, united
from rtslib.models.overlap import mask_ious, mask_nms

SIDE = 20


def found(*detections):
    """Detections of (score, first column, width), all of rows 5 to 10."""
    masks = torch.zeros(len(detections), SIDE, SIDE)
    for k, (_, x, width) in enumerate(detections):
        masks[k, 5:10, x : x + width] = 0.9
    boxes = torch.tensor([[x, 5, x + w, 10] for _, x, w in detections], dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "scores": torch.tensor([float(s) for s, _, _ in detections]), "masks": masks}


def test_what_both_see_rises_above_what_one_makes_up():
    out = united([found((0.6, 0, 4), (0.7, 12, 4)), found((0.5, 0, 4))], 10)
    assert out["scores"].tolist() == pytest.approx([0.55, 0.35]) and out["boxes"][:, 0].tolist() == [0, 12]
    assert out["labels"].tolist() == [1, 1]


def test_support_grows_with_the_overlap_up_to_a_half():
    for width, iou in ((4, 1.0), (2, 0.5), (1, 0.25)):
        out = united([found((0.8, 0, 4)), found((0.4, 0, width))], 1)
        assert out["scores"].tolist() == pytest.approx([(0.8 + 0.4 * min(1, 2 * iou)) / 2])


def test_each_instance_once_with_the_outline_of_the_first_model():
    """Both are more than half alike, so each supports the other fully and they are equally sure."""
    out = united([found((0.4, 0, 4)), found((0.9, 0, 3))], 10)
    assert out["scores"].tolist() == pytest.approx([0.65]) and out["boxes"][0].tolist() == [0, 5, 4, 10]
    out = united([found((0.4, 0, 8)), found((0.9, 0, 3))], 1)  # IoU 3/8: the surer one says more
    assert out["boxes"][0].tolist() == [0, 5, 3, 10]


def test_models_that_see_nothing():
    nothing, some = found(), found((0.8, 3, 5))
    assert len(united([nothing, nothing], 10)["scores"]) == 0
    assert united([nothing, some], 10)["scores"].tolist() == pytest.approx([0.4])
    assert united([nothing, some, nothing], 10)["scores"].tolist() == pytest.approx([0.8 / 3])


def test_one_model_twice_is_that_model():
    one = found((0.9, 0, 4), (0.3, 8, 4))
    out = united([one, one], 10)
    assert out["scores"].tolist() == pytest.approx([0.9, 0.3]) and torch.equal(out["masks"], one["masks"])


def test_overlaps_of_masks():
    masks = found((1, 0, 4), (1, 2, 4), (1, 12, 4))["masks"] >= 0.5
    expected = torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
    assert torch.allclose(mask_ious(masks), expected)
    assert mask_ious(torch.zeros(2, 3, 3, dtype=torch.bool)).tolist() == [[0, 0], [0, 0]]
    assert mask_nms(masks, 0.3).tolist() == [0, 2] and mask_nms(masks[:0], 0.5).tolist() == []


def small(fusion, modalities, **more):
    stats = {"modality_mean": {m: [0.0] * len(b) for m, b in modalities.items()}}
    stats["modality_std"] = {m: [1.0] * len(b) for m, b in modalities.items()}
    sizes = {"backbone": "nano", "fpn_channels": 16, "head_channels": 16, "head_convs": 0, "head_fc": 16}
    return Config(modalities=modalities, fusion=fusion, tree_rounds=2, **stats, **sizes, **more)


def test_members_read_their_own_modalities_and_learn_nothing():
    rgb, dem = {"rgb": ["red", "green", "blue"]}, {"terrain": ["relative_elevation"]}
    members = [small("data", rgb), small("trees", {**rgb, **dem})]
    config = small("ensemble", {**rgb, **dem}, members=[m.model_dump() for m in members])
    model = build_model(config)
    assert isinstance(model, Ensemble) and list(model.backbones) == ["rgb_0"]
    batch = {
        "sizes": [(64, 64)], "image_ids": [1], "targets": None,
        "images": {m: torch.rand(1, len(b), 64, 64) for m, b in config.modalities.items()},
        "valid": {m: torch.ones(1, 64, 64, dtype=torch.bool) for m in config.modalities},
    }  # fmt: skip
    with torch.inference_mode():
        (out,) = model.eval()(batch)
    assert set(out) == {"boxes", "scores", "labels", "masks"} and (out["scores"].diff() <= 0).all()
    with pytest.raises(ConfigError, match="learns nothing"):
        model.train()(batch)
    with pytest.raises(ConfigError, match="two or more models"):
        build_model(config.updated(members=config.members[:1]))
