"""The semantic branch: what its cells are taught, and a loss that is nothing where the answer is right."""

import pytest
import torch

from rtslib.config import Config
from rtslib.models.semantic import PRIOR, THRESHOLDS, SemanticBranch, agreed, component_boxes, semantic_loss, shares


def target(mask):
    return {"masks": mask[None] if mask is not None else torch.zeros(0, 32, 48, dtype=torch.bool)}


def test_shares_of_cells():
    mask = torch.zeros(30, 48, dtype=torch.bool)
    mask[4:8, 8:14] = True  # one cell whole, half of the next
    t, v = shares(mask[None], (30, 48), torch.Size((8, 16)))
    assert t.shape == v.shape == (8, 16)
    assert t[1, 2] == 1 and t[1, 3] == 0.5 and t.sum() == 1.5
    assert v[:7, :12].eq(1).all() and v[7, :12].eq(0.5).all() and v[:, 12:].eq(0).all()


def test_overlapping_instances_count_once():
    mask = torch.ones(2, 32, 32, dtype=torch.bool)
    assert shares(mask, (32, 32), torch.Size((8, 8)))[0].max() == 1


def test_the_loss_is_small_where_the_answer_is_right_and_large_where_it_is_turned_round():
    mask = torch.zeros(32, 48, dtype=torch.bool)
    mask[8:16, 8:24] = True
    right = (shares(mask[None], (32, 48), torch.Size((8, 12)))[0] * 2 - 1) * 20
    assert semantic_loss(right[None], [target(mask)], [(32, 48)]) < 0.01
    assert semantic_loss(-right[None], [target(mask)], [(32, 48)]) > 10
    assert semantic_loss(torch.full((1, 8, 12), -20.0), [target(None)], [(32, 48)]) < 0.01


@pytest.mark.parametrize("beside", [-9.0, 9.0])
def test_what_lies_beside_the_chip_is_not_counted(beside):
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:8] = True
    logits = torch.full((1, 8, 8), beside)
    logits[:, :4, :4] = 0.0
    assert semantic_loss(logits, [target(mask)], [(16, 16)]).item() == pytest.approx(0.6931 + 1 - 9 / 17, abs=1e-3)


def test_shapes_and_start():
    branch = SemanticBranch(Config(fpn_channels=16))
    levels = [torch.randn(2, 16, 16 >> i, 24 >> i) for i in range(4)]
    logits, added = branch(levels)
    assert logits.shape == (2, 16, 24) and [a.shape for a in added] == [x.shape for x in levels]
    assert all(a.eq(0).all() for a in added)  # the detector starts as the one without
    assert logits.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.3)


def test_pieces_become_boxes_in_pixels_of_the_input():
    logits = torch.full((2, 8, 12), -9.0)
    logits[0, 1:3, 2:5] = 9.0
    logits[0, 3, 5] = 9.0  # touches by a corner: the same piece
    logits[0, 6, 9:12] = 0.0  # probability 0.5: above the two lower thresholds alone
    found = component_boxes(logits, [(32, 48), (32, 48)])
    sure, unsure = [8.0, 4.0, 24.0, 16.0], [36.0, 24.0, 48.0, 28.0]
    assert sorted(found[0].tolist()) == [sure] * len(THRESHOLDS) + [unsure] * 2
    assert found[1].shape == (0, 4)
    assert component_boxes(logits[:1], [(26, 40)])[0].max() == 40  # boxes end with the chip


def test_detections_have_to_agree_with_the_branch():
    logits = torch.full((8, 8), -20.0)
    logits[:, :4] = 20.0
    boxes = torch.tensor([[0.0, 0, 16, 32], [20.0, 0, 32, 32]])
    masks, scores = agreed(torch.full((2, 28, 28), 0.81), torch.tensor([0.64, 0.64]), boxes, logits)
    assert masks[0, :, :20].mean().item() == pytest.approx(0.9, abs=0.01) and masks[1].max() < 0.01
    assert scores[0].item() == pytest.approx(0.8, abs=0.03) and scores[1] < 0.01
    none = agreed(torch.zeros(0, 28, 28), torch.zeros(0), torch.zeros(0, 4), logits)
    assert none[0].shape == (0, 28, 28) and none[1].shape == (0,)
