"""The detector: parts against hand-made answers, shapes, empty targets, and learning."""

import pytest
import torch

from helpers.models import made_batch, redraw, small_config
from rtslib.errors import ConfigError
from rtslib.models.build import build_model
from rtslib.models.cascade import match_boxes, nonempty, pool_regions
from rtslib.models.mask_head import AT_ONCE, _paste, crop_masks, paste_masks
from rtslib.models.rpn import Anchors
from rtslib.models.strategies import STRATEGIES

LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_mask"} | {
    f"loss_{kind}_stage{k}" for kind in ("cls", "box") for k in range(3)
}


def test_anchors_are_exact_and_centred_on_cell_corners():
    anchors = Anchors(((10.0,),) * 5, ((0.5, 1.0, 2.0),) * 5)
    features = [torch.zeros(1, 1, s, s) for s in (16, 8, 4, 2, 1)]

    class Listed:
        image_sizes = [(64, 64)]

    boxes = anchors(Listed, features)[0]
    assert boxes.shape == ((256 + 64 + 16 + 4 + 1) * 3, 4)
    w, h = (boxes[:, 2:] - boxes[:, :2]).T
    torch.testing.assert_close(w * h, torch.full_like(w, 100.0))
    torch.testing.assert_close((h / w)[:3], torch.tensor([0.5, 1.0, 2.0]))
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    torch.testing.assert_close(centre[3], torch.tensor([4.0, 0.0]))  # second cell of P2
    torch.testing.assert_close(centre[256 * 3 + 3], torch.tensor([8.0, 0.0]))  # second cell of P3


def test_regions_are_read_from_the_level_that_fits_their_size():
    features = [torch.full((1, 1, 256 >> i, 256 >> i), float(i + 2)) for i in range(4)]
    boxes = [torch.tensor([[0.0, 0, s, s]]) + 8 for s in (20, 111, 113, 230, 500)]
    levels = [pool_regions(features, [b], 1, 2).item() for b in boxes]
    assert levels == [2, 2, 3, 4, 5]


def test_pooling_has_no_half_pixel_shift():
    """A ramp read in a box gives the ramp's value at the bins' centres."""
    ramp = torch.arange(64.0).expand(1, 1, 64, 64) * 4 + 2  # value = x at the centre of a stride-4 cell
    features = [ramp, *[torch.zeros(1, 1, 64 >> i, 64 >> i) for i in (1, 2, 3)]]
    out = pool_regions(features, [torch.tensor([[40.0, 40, 96, 96]])], 7, 2)[0, 0]
    torch.testing.assert_close(out[3], torch.arange(44.0, 97, 8))


def test_boxes_stay_float32_where_features_are_not():
    """At 500 px bfloat16 has steps of 2 px: a box rounded to it would read the ramp elsewhere."""
    ramp = torch.arange(160.0).expand(1, 1, 160, 160)
    features = [ramp, *[torch.zeros(1, 1, 160 >> i, 160 >> i) for i in (1, 2, 3)]]
    boxes = [torch.tensor([[500.7, 40.0, 556.7, 96.0]])]
    full = pool_regions(features, boxes, 7, 2)
    half = pool_regions([f.bfloat16() for f in features], boxes, 7, 2)
    assert half.dtype == torch.bfloat16 and full.max() > 130
    torch.testing.assert_close(half, full.bfloat16())


def test_matching():
    truth = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = torch.tensor([[0.0, 0, 10, 8], [20, 20, 30, 24], [50, 50, 60, 60]])  # IoU 0.8, 0.4, 0
    assert match_boxes(boxes, truth, 0.5).tolist() == [0, -1, -1]
    assert match_boxes(boxes, truth, 0.4).tolist() == [0, 1, -1]
    assert match_boxes(boxes, truth[:0], 0.5).tolist() == [-1, -1, -1]
    assert nonempty(torch.tensor([[0.0, 0, 1, 1], [1, 1, 1, 2]])).tolist() == [True, False]


def test_masks_cropped_and_pasted_come_back():
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 10:38, 20:48] = True
    mask[0, 10:20, 20:30] = False
    boxes = torch.tensor([[20.0, 10, 48, 38]])  # 28 px: one cell a pixel
    cells = crop_masks(mask, boxes)
    assert torch.equal(cells[0].bool(), mask[0, 10:38, 20:48])
    pasted = paste_masks(cells, boxes, 64, 64)
    assert torch.equal(pasted >= 0.5, mask)
    assert pasted[0, :9].max() == 0 and paste_masks(cells[:0], boxes[:0], 8, 9).shape == (0, 8, 9)


def test_masks_pasted_together_are_those_pasted_alone():
    torch.manual_seed(0)
    n = 2 * AT_ONCE + 1
    corners = torch.rand(n, 2) * 40
    cells, boxes = torch.rand(n, 28, 28), torch.cat([corners, corners + 1 + torch.rand(n, 2) * 30], dim=1)
    alone = [paste_masks(c[None], b[None], 64, 48)[0] for c, b in zip(cells, boxes, strict=True)]
    assert torch.equal(paste_masks(cells, boxes, 64, 48), torch.stack(alone))


@pytest.mark.parametrize("fusion", STRATEGIES)
@pytest.mark.parametrize("instances", [(2, 0), (0, 0)])
def test_losses_are_finite_and_reach_every_parameter(fusion, instances):
    torch.manual_seed(0)
    model = build_model(small_config(fusion=fusion))
    losses = model(made_batch(instances=instances))
    assert set(losses) == LOSSES and all(v.ndim == 0 and v.isfinite() for v in losses.values())
    if instances == (0, 0):
        assert all(losses[k] == 0 for k in losses if "box" in k or k == "loss_mask")
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("backbone", ["nano", "lite0"])
@pytest.mark.parametrize("instances", [(2, 0), (0, 0)])
def test_the_semantic_branch_adds_one_loss_and_starts_without_effect(backbone, instances):
    torch.manual_seed(0)
    without = build_model(small_config(backbone=backbone)).eval()
    model = build_model(small_config(backbone=backbone, semantic=2.0))
    model.load_state_dict(without.state_dict(), strict=False)
    batch, answers = made_batch(instances=instances), []
    for one in (model, without.train()):
        torch.manual_seed(1)  # of sampling
        answers.append(one(batch))
    losses = answers[0]
    for name, loss in answers[1].items():
        torch.testing.assert_close(losses[name], loss)
    assert set(losses) == LOSSES | {"loss_semantic"} and losses["loss_semantic"] > 0
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_pasting_within_boxes_is_sampling_the_whole_chip():
    torch.manual_seed(0)
    corners = torch.rand(60, 2) * 90 - 15  # some boxes reach over the chip's edges or lie beyond
    boxes, cells = torch.cat([corners, corners + torch.rand(60, 2) ** 3 * 60 + 1e-3], dim=1), torch.rand(60, 28, 28)
    whole = _paste(cells, boxes, torch.arange(50) + 0.5, torch.arange(70) + 0.5)
    assert whole.amax((1, 2)).gt(0).any()
    torch.testing.assert_close(paste_masks(cells, boxes, 50, 70), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_detections_have_the_stated_shapes_and_stay_in_the_chip(scale):
    torch.manual_seed(0)
    model = build_model(small_config(scale=scale, score_thresh=0.0)).eval()
    with torch.inference_mode():
        found = model(made_batch(sizes=((64, 64), (40, 90)), instances=(2, 0)))
    for f, (h, w) in zip(found, ((64, 64), (40, 90))):
        n = len(f["scores"])
        assert 0 < n <= 10 and f["boxes"].shape == (n, 4) and f["masks"].shape == (n, h, w)
        assert f["labels"].dtype == torch.int64 and f["labels"].eq(1).all()
        assert (f["scores"].diff() <= 0).all() and f["scores"].min() >= 0 and f["scores"].max() <= 1
        assert (f["boxes"] >= 0).all() and (f["boxes"] <= torch.tensor([w, h, w, h]) + 1e-3).all()
        assert f["masks"].min() >= 0 and f["masks"].max() <= 1


@pytest.mark.parametrize("knobs", [{}, {"scale": 1.5}, {"semantic": 1.0}, {"backbone": "lite0", "semantic": 1.0}])
def test_padding_and_batch_mates_change_nothing(knobs):
    """Each chip alone against all four together, with random weights everywhere: initial ones hide what is read."""
    torch.manual_seed(0)
    model = build_model(small_config(score_thresh=0.0, **knobs)).eval()
    redraw(model, spread=0.1)
    sizes = ((64, 64), (130, 96), (40, 60), (64, 160))
    batch = made_batch(sizes=sizes, instances=(1, 1, 0, 2))
    with torch.inference_mode():
        together = model(batch)
        for i, (h, w) in enumerate(sizes):
            parts = {k: {m: x[i : i + 1, ..., :h, :w] for m, x in batch[k].items()} for k in ("images", "valid")}
            (alone,) = model({**batch, **parts, "sizes": [sizes[i]]})
            n = len(alone["scores"])
            assert n and (model.config.semantic or alone["scores"].std() > 1e-3)  # one piece may cover the chip
            torch.testing.assert_close(together[i]["scores"], alone["scores"], atol=1e-5, rtol=0)
            torch.testing.assert_close(together[i]["boxes"], alone["boxes"], atol=1e-3, rtol=1e-4)
            torch.testing.assert_close(together[i]["masks"], alone["masks"], atol=0.01, rtol=0)  # steep at a box edge


def test_the_fused_model_equals_the_primary_one_before_the_first_step():
    torch.manual_seed(0)
    alone = build_model(small_config(("rgb",), score_thresh=0.0)).eval()
    fused = build_model(small_config(score_thresh=0.0)).eval()
    fused.load_state_dict(alone.state_dict(), strict=False)
    batch = made_batch()
    with torch.inference_mode():
        for a, b in zip(alone(batch | {"images": {"rgb": batch["images"]["rgb"]}}), fused(batch)):
            assert all(torch.equal(a[k], b[k]) for k in a)


def test_values_of_invalid_pixels_do_not_matter():
    torch.manual_seed(0)
    model = build_model(small_config(scale=1.5, score_thresh=0.0)).eval()
    a, b = made_batch(), made_batch()
    for batch, value in ((a, 0.0), (b, 1e6)):
        batch["valid"]["terrain"][:, 10:30, 10:50] = False
        batch["images"]["terrain"][:, :, 10:30, 10:50] = value
    with torch.inference_mode():
        for one, other in zip(model(a), model(b)):
            assert torch.equal(one["scores"], other["scores"])


@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_bf16_changes_types_inside_only(norm):
    torch.manual_seed(0)
    model = build_model(small_config(head_norm=norm, scale=1.5))
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(made_batch())
    assert all(v.dtype == torch.float32 and v.isfinite() for v in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        found = model(made_batch())[0]
    assert all(found[k].dtype == torch.float32 for k in ("boxes", "scores", "masks"))


def test_it_learns_two_rectangles():
    torch.manual_seed(0)
    model = build_model(small_config(("rgb",)))
    batch = made_batch(("rgb",), instances=(2, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(80):
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        found = model(batch)
    for f, t in zip(found, batch["targets"]):
        n = len(t["masks"])
        predicted = f["masks"][:n] >= 0.5
        iou = (predicted[:, None] & t["masks"]).sum((2, 3)) / (predicted[:, None] | t["masks"]).sum((2, 3))
        assert (iou.max(0).values > 0.5).all() and (f["scores"][:n] > 0.4).all()


def test_a_model_without_statistics_is_refused():
    with pytest.raises(ConfigError, match="modality 'rgb' has no usable modality_mean"):
        build_model(small_config(("rgb",), modality_mean={}))
    with pytest.raises(ConfigError, match="modality 'rgb'"):
        build_model(small_config(("rgb",), modality_std={"rgb": [1.0, 0.0, 1.0]}))
