"""Cross-attention: where it looks at the start, and what only it can learn."""

import pytest
import torch
from torch.nn import functional as F

from rtslib.models.crossing import HEADS, CrossAttention
from rtslib.models.strategies import STRATEGIES

SIDE, CHANNELS, SHIFT = 14, 16, (4, -3)


def open_heads(ask):
    """Let each head's answer through in turn: Wo = [I, 0, 0, 0] and so on."""
    channels = ask.out.out_features
    for h in range(HEADS):
        with torch.no_grad():
            ask.out.weight.zero_()
            ask.out.weight[:, h * channels : (h + 1) * channels] = torch.eye(channels)
        yield ask


@pytest.mark.parametrize("level", range(4))
def test_heads_start_around_the_own_place_each_wider_than_the_one_before(level):
    """A single bright token, asked for by all places: the answer falls off with the distance."""
    side = 28 >> level if level else 56
    z = torch.zeros(1, 32, side, side)
    middle = side // 2
    z[..., middle, middle] = 1
    ask = CrossAttention(32, level)
    ok = torch.ones(1, side, side, dtype=torch.bool)
    x, spreads = torch.randn(1, 32, side, side), []
    with torch.no_grad():  # what x and z show says nothing
        ask.q.weight.zero_()
        ask.q.bias.zero_()
    for one in open_heads(ask):
        with torch.no_grad():
            seen = one(x, z, ok)[0].mean(0)
        assert abs(int(seen.argmax()) // side - middle) <= ask.pool
        rows = torch.arange(side) + 0.5
        away = (rows[:, None] - middle - 0.5) ** 2 + (rows - middle - 0.5) ** 2
        spreads.append(float((seen * away).sum() / seen.sum()))
    assert spreads == sorted(spreads)


def test_a_query_of_no_valid_key_gets_nothing():
    ask = CrossAttention(32, 2)
    with torch.no_grad():
        ask.out.bias.fill_(1.0)
    ok = torch.zeros(2, 14, 14, dtype=torch.bool)
    ok[1, 3, 3] = True
    out = ask(torch.randn(2, 32, 14, 14), torch.randn(2, 32, 14, 14), ok)
    assert (out[0] == 0).all() and (out[1] == 1).all()


def shifted(seed):
    """Maps x and z, and what is wanted: a mixture of z's channels as they are `SHIFT` tokens (down, right) away."""
    draw = torch.Generator().manual_seed(seed)
    x, z = (torch.randn(8, CHANNELS, SIDE, SIDE, generator=draw) for _ in range(2))
    blur = torch.full((CHANNELS, 1, 3, 3), 1 / 3)
    z = F.conv2d(F.pad(z, (1, 1, 1, 1), mode="circular"), blur, groups=CHANNELS)
    mixture = torch.randn(CHANNELS, CHANNELS, generator=torch.Generator().manual_seed(99)) / CHANNELS**0.5
    away = torch.roll(z, (-SHIFT[0], -SHIFT[1]), (2, 3))
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[: SIDE - SHIFT[0], -SHIFT[1] :] = True
    return x, z, torch.einsum("cd,ndhw->nchw", mixture, away), inside


def left_over(name, steps=150):
    """Train a strategy to undo the shift; return the share of the wanted that it lacks on new maps, and itself."""
    torch.manual_seed(0)
    fusion = STRATEGIES[name](("rgb", "terrain"), CHANNELS, 2)
    optimizer = torch.optim.AdamW(fusion.parameters(), 0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    valid = dict.fromkeys(("rgb", "terrain"), torch.ones(8, SIDE, SIDE, dtype=torch.bool))
    for step in range(steps + 1):
        x, z, wanted, inside = shifted(step)
        lack = (fusion({"rgb": x, "terrain": z}, valid) - x - wanted)[..., inside].square().mean()
        if step == steps:
            return float(lack.detach() / wanted[..., inside].square().mean()), fusion
        optimizer.zero_grad()
        lack.backward()
        optimizer.step()
        rate.step()


def test_in_mixed_precision_the_attention_itself_is_float32(monkeypatch):
    from rtslib.models import attention

    seen, real = set(), F.scaled_dot_product_attention

    def watched(q, k, v, **more):
        seen.update({q.dtype, k.dtype, v.dtype})
        return real(q, k, v, **more)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", watched)
    torch.manual_seed(0)
    ask, ok = CrossAttention(32, 1), torch.ones(1, 28, 28, dtype=torch.bool)
    next(open_heads(ask))
    x, z = torch.randn(2, 1, 32, 28, 28)
    whole = ask(x, z, ok)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ask(x, z, ok)
    assert seen == {torch.float32} and (mixed.float() - whole).abs().max() < 0.02 * whole.abs().max()


def test_only_attention_finds_a_modality_that_lies_beside_the_others():
    """A DEM that is shifted against the image: merging sees the same place, a 3x3 convolution its neighbours."""
    lacks, fusion = left_over("residual_cross_attention")
    assert lacks < 0.05
    assert left_over("merge_only")[0] > 0.9 and left_over("concat_conv")[0] > 0.9
    ask = fusion.asked["terrain"]
    found = (ask.offset * ask.window).T.detach()
    assert ((found - torch.tensor(SHIFT)).abs().amax(1) < 1).sum() >= 2  # and heads say by how much
