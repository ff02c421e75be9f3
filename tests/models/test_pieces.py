"""Pieces of the semantic map: where they lie, what they are worth, and who stays where two see one slump."""

import pytest
import torch

from helpers.models import made_batch, redraw, small_config
from rtslib.models.build import build_model
from rtslib.models.pieces import MOST, SHARE, pieces, together


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_piece_lies_where_the_map_is_high(scale):
    logits = torch.full((16, 24), -9.0)
    logits[4:8, 6:12] = 9.0
    found = pieces(logits, (int(64 / scale), int(96 / scale)), scale)
    want = torch.tensor([24.0, 16, 48, 32]) / scale
    assert (found["boxes"][0] - want).abs().max() <= 1 and len(found["scores"]) == 1
    assert found["scores"].item() == pytest.approx(SHARE, abs=0.01)
    assert found["masks"].shape == (1, 64 / scale, 96 / scale)
    assert (found["masks"][0] >= 0.5).sum().item() == pytest.approx(24 * 16 / scale**2, rel=0.1)


def test_small_and_unsure_pieces_are_none_and_empty_maps_give_empty_answers():
    logits = torch.full((16, 16), -9.0)
    logits[2, 2], logits[10:12, 10:12] = 0.1, -0.1
    for found in (pieces(logits, (64, 64), 4.0), pieces(logits[:4, :4], (4, 4), 4.0)):
        assert found["boxes"].shape == (0, 4) and found["scores"].shape == (0,) and found["masks"].shape[0] == 0


def test_at_most_so_many_the_largest():
    logits = torch.full((64, 64), -9.0)
    logits[::4, ::4] = 9.0
    logits[40:60, 41:43] = 9.0
    found = pieces(logits, (256, 256), 1.0)
    assert len(found["scores"]) == MOST and found["masks"].flatten(1).sum(1).argmax() == 0


def test_the_surest_of_those_that_overlap_stays():
    masks = torch.zeros(3, 8, 8)
    masks[0, :4], masks[1, :3], masks[2, 6:] = 0.9, 0.8, 0.7
    one = {"boxes": torch.zeros(1, 4), "scores": torch.tensor([0.4]), "masks": masks[:1]}
    two = {"boxes": torch.ones(2, 4), "scores": torch.tensor([0.6, 0.1]), "masks": masks[1:]}
    got = together([one, two], 10)
    torch.testing.assert_close(got["scores"], torch.tensor([0.6, 0.1]))
    assert torch.equal(got["masks"], masks[1:]) and got["labels"].tolist() == [1, 1]
    assert len(together([one, two], 1)["scores"]) == 1
    faint = {**one, "masks": masks[:1] * 0.1}
    assert len(together([faint, faint], 5)["scores"]) == 0


def test_what_the_branch_sees_is_found_by_an_untrained_detector():
    torch.manual_seed(0)
    model = build_model(small_config(semantic=1.0, score_thresh=1.0)).eval()  # heads that say nothing
    redraw(model)
    model.semantic.logit.weight.data.zero_()
    model.semantic.logit.bias.data.fill_(9.0)
    with torch.inference_mode():
        for f, (h, w) in zip(model(made_batch()), ((64, 64), (64, 96)), strict=True):
            assert max(m.ge(0.5).float().mean() for m in f["masks"]) == 1 and f["masks"].shape[1:] == (h, w)
            assert f["scores"].tolist() == pytest.approx([SHARE], abs=0.01)
