"""What attention adds and where it looks, where both are known."""

import pandas as pd
import pytest
import torch

from helpers.models import made_batch, small_config
from rtslib.models.build import build_model
from rtslib.models.looking import CELL, asked, looks, reading


@pytest.fixture()
def model():
    torch.manual_seed(0)
    return build_model(small_config()).eval()


@pytest.fixture()
def batch():
    return made_batch(sizes=((96, 96), (96, 96)))


def look_aside(model):
    """Narrow heads, told to look 32 px down and 16 px left, whatever the content."""
    with torch.no_grad():
        for _, _, ask in asked(model):
            ask.offset[0], ask.offset[1] = 32 / 224, -16 / 224
            ask.log_width.fill_(-0.5)
            ask.q.weight.zero_()
            ask.q.bias.zero_()


def test_an_attention_that_has_learnt_nothing_adds_nothing(model, batch):
    much, _ = looks(model, [batch])
    assert [(r["stride"], r["modality"]) for r in much] == [
        (s, m) for s in (4, 8, 16, 32) for m in ("spectral", "terrain")]  # fmt: skip
    assert all(r["share"] == 0 for r in much)


def test_the_share_is_that_of_the_primary_map(model, batch):
    """A bias of 1 alone, on maps normalised to a mean square of 1."""
    with torch.no_grad():
        for _, _, ask in asked(model):
            ask.out.bias.fill_(1.0)
    shares = [r["share"] for r in looks(model, [batch])[0]]
    assert shares == pytest.approx([1.0] * 8, rel=0.01)


def test_a_head_that_looks_aside_is_seen_to(model, batch):
    """Keys of stride 4 are pooled to 16 px."""
    look_aside(model)
    where = pd.DataFrame(looks(model, [batch])[1])
    mean = where.assign(d=where.weight * where.down, r=where.weight * where.right)
    mean = mean[mean.stride < 32].groupby(["stride", "head"])[["d", "r", "weight"]].sum()
    assert (mean.weight > 0.9).all()
    # Near the lower and left edge there is no key so far away: the nearest takes it, and draws the mean towards 0.
    assert ((mean.d / mean.weight > 16) & (mean.d / mean.weight < 36)).all()
    assert ((mean.r / mean.weight < -8) & (mean.r / mean.weight > -20)).all()
    best = where[where.stride == 8].groupby("head").apply(lambda t: t.loc[t.weight.idxmax(), ["down", "right"]])
    assert ((best["down"] - 32).abs() <= CELL).all() and ((best["right"] + 16).abs() <= CELL).all()


def test_a_place_is_seen_to_read_where_its_heads_look(model, batch):
    """The query stands at row 40, column 60."""
    look_aside(model)
    with torch.no_grad():
        for _, _, ask in asked(model):
            ask.out.bias.fill_(2.0)
    one = {k: v[:1] if isinstance(v, list) else {m: t[:1] for m, t in v.items()} for k, v in batch.items()}
    read = reading(model, one, (40, 60))
    assert set(read) == {(s, m) for s in (4, 8, 16, 32) for m in ("spectral", "terrain")}
    for (stride, _), (weights, added) in read.items():
        assert weights.sum() == pytest.approx(1.0, rel=1e-4)
        assert added == pytest.approx(2.0, rel=1e-3)  # a bias of 2 alone
        if stride == 4:  # keys of 16 px
            assert weights.shape == (6, 6) and weights.argmax() == (40 + 32) // 16 * 6 + (60 - 16) // 16
