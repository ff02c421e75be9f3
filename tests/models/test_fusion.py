"""Fusion strategies: the start, gradients, validity."""

import pytest
import torch

from rtslib.config import Config
from rtslib.models.fusion import DataLevel, MergeOnly, ResidualCrossAttention
from rtslib.models.strategies import STRATEGIES, PlainCrossAttention

BRANCHES = ("rgb", "spectral", "terrain")
FUSING = [cls for cls in STRATEGIES.values() if cls is not DataLevel]
NEAR = [
    cls for cls in FUSING if cls not in (PlainCrossAttention, STRATEGIES["sum"])
]  # those that start near the primary map


def maps(level, seed=0, size=(16, 24), channels=64):
    generator = torch.Generator().manual_seed(seed)
    h, w = (s >> level for s in size)
    found = {b: torch.randn(2, channels, h, w, generator=generator) for b in BRANCHES}
    return found, {b: torch.ones(2, h, w, dtype=torch.bool) for b in BRANCHES}


def test_the_config_offers_exactly_the_strategies():
    assert set(Config.model_fields["fusion"].annotation.__args__) == {*STRATEGIES, "decision", "trees", "ensemble"}


@pytest.mark.parametrize("cls", [MergeOnly, ResidualCrossAttention])
@pytest.mark.parametrize("level", range(4))
def test_residual_attention_and_merging_start_as_the_primary_map(level, cls):
    x, ok = maps(level)
    assert torch.equal(cls(BRANCHES, 64, level)(x, ok), x["rgb"])


def test_the_attention_learns_from_the_first_step():
    """Behind a gain of 0 it did not: nothing but the gain had a gradient, and after training it was 0.001."""
    x, ok = maps(1)
    fusion = ResidualCrossAttention(BRANCHES, 64, 1)
    (fusion(x, ok) - x["terrain"]).square().mean().backward()
    for ask in fusion.asked.values():
        assert ask.out.weight.grad.abs().mean() > 1e-4


def test_the_attention_of_a_trained_model_can_be_switched_off():
    x, ok = maps(1)
    fusion = ResidualCrossAttention(BRANCHES, 64, 1)
    with torch.no_grad():
        for p in fusion.parameters():
            p.normal_(std=0.05)
    whole = fusion(x, ok)
    fusion.attends = False
    torch.testing.assert_close(whole - fusion(x, ok), fusion.answer(x, ok), atol=1e-5, rtol=1e-4)
    assert fusion.answer(x, ok).abs().mean() > 0.01


@pytest.mark.parametrize("cls", NEAR)
def test_all_start_near_the_primary_map(cls):
    torch.manual_seed(0)
    x, ok = maps(0)
    assert (cls(BRANCHES, 64, 0)(x, ok) - x["rgb"]).abs().mean() < 0.15


@pytest.mark.parametrize("cls", FUSING)
def test_gradient_reaches_every_modality_after_one_step(cls):
    x, ok = maps(1)
    fusion = cls(BRANCHES, 64, 1)
    optimizer = torch.optim.SGD(fusion.parameters(), 0.1)
    fusion(x, ok).square().mean().backward()
    optimizer.step()
    leaves = {b: t.requires_grad_() for b, t in x.items()}
    fusion(leaves, ok).square().mean().backward()
    assert all(t.grad.abs().sum() > 0 for t in leaves.values())
    assert all(p.grad is not None for p in fusion.parameters())


@pytest.mark.parametrize("cls", FUSING)
def test_invalid_places_of_a_modality_have_no_influence(cls):
    torch.manual_seed(0)
    x, ok = maps(0)
    fusion = cls(BRANCHES, 64, 0)
    with torch.no_grad():
        for p in fusion.parameters():
            p.normal_(std=0.05)
    ok["terrain"][0] = False
    ok["spectral"][0, :8] = False
    out = fusion(x, ok)
    other = {**x, "terrain": x["terrain"].clone(), "spectral": x["spectral"].clone()}
    other["terrain"][0] = 99.0
    other["spectral"][0, :, :8] = -99.0
    torch.testing.assert_close(fusion(other, ok), out)
    other["terrain"][1, :, 0, 0] = 99.0
    assert not torch.allclose(fusion(other, ok)[1], out[1])


@pytest.mark.parametrize("cls", FUSING)
def test_nothing_but_the_primary_left_gives_the_primary(cls):
    torch.manual_seed(0)
    x, ok = maps(0)
    fusion = cls(BRANCHES, 64, 0)
    if cls in (ResidualCrossAttention, PlainCrossAttention):
        with torch.no_grad():
            for ask in fusion.asked.values():
                ask.out.weight.normal_()
                ask.out.bias.fill_(1.0)
    for b in BRANCHES[1:]:
        ok[b][:] = False
    out = fusion(x, ok)
    torch.testing.assert_close(out, x["rgb"], atol=1e-5, rtol=1e-5)
    assert out.isfinite().all()


def test_without_the_residual_the_primary_map_is_not_passed_on():
    torch.manual_seed(0)
    x, ok = maps(0)
    fusion = PlainCrossAttention(BRANCHES, 64, 0)
    other = {**x, "rgb": x["rgb"] + 5.0}  # LayerNorm takes a constant away: the questions stay the same
    torch.testing.assert_close(fusion(other, ok), fusion(x, ok), atol=1e-4, rtol=1e-4)


def test_a_missing_modality_scales_the_sum_of_the_rest():
    x, ok = maps(0)
    x["terrain"] = x["spectral"]
    fusion = STRATEGIES["sum"](BRANCHES, 64, 0)
    both = fusion(x, ok)
    ok["terrain"][:] = False
    torch.testing.assert_close(fusion(x, ok), both)
