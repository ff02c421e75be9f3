"""Fused attention with relative positions against the plain formula, and windows against cutting by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.mvitv2 import cal_rel_pos_type

from rtslib.models import attention
from rtslib.models.attention import Grid, attend, attend_map, even_sides, join_windows, relative_rows, split_windows


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("q_size,k_size", [((4, 6), (4, 6)), ((8, 4), (4, 2)), ((3, 3), (6, 6))])
def test_attend_equals_the_plain_formula(q_size, k_size):
    b, heads, c = 2, 3, 8
    q, k, v = (draw(b, heads, s[0] * s[1], c, seed=i) for i, s in enumerate((q_size, k_size, k_size)))
    tables = [draw(2 * max(a, z) - 1, c, seed=5 + i) for i, (a, z) in enumerate(zip(q_size, k_size))]
    logits = cal_rel_pos_type((q * c**-0.5) @ k.transpose(-2, -1), q, False, q_size, k_size, *tables)
    rows = [relative_rows(t, a, z, a, z) for t, a, z in zip(tables, q_size, k_size)]
    torch.testing.assert_close(attend(q, k, v, *rows, q_size), logits.softmax(-1) @ v, atol=1e-5, rtol=1e-5)


def test_hidden_keys_have_no_influence_and_a_query_without_keys_gets_zero():
    q, k, v = (draw(2, 1, 16, 8, seed=i) for i in range(3))
    rel = torch.zeros(4, 4, 8)
    ok = torch.ones(2, 16, dtype=torch.bool)
    ok[0, 5:], ok[1] = False, False
    out = attend(q, k, v, rel, rel, (4, 4), ok)
    v2 = v.clone()
    v2[0, :, 5:] = 1e3
    assert torch.equal(attend(q, k, v2, rel, rel, (4, 4), ok)[0], out[0])
    expected = (q[0] * 8**-0.5 @ k[0, :, :5].transpose(-2, -1)).softmax(-1) @ v[0, :, :5]
    torch.testing.assert_close(out[0], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(out[1], torch.zeros_like(out[1]))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("width", [8, 12])
def test_prediction_attends_as_training_does(monkeypatch, hidden, maps, width):
    """By a mask in blocks of queries, the last one smaller, and by longer vectors."""
    monkeypatch.setattr(attention, "LOGITS", 0)
    monkeypatch.setattr(attention, "LEAST", 5)
    q, k, v = draw(2, 3, 24, 8), draw(2, 3, maps * 6, 8, seed=1), draw(2, 3, maps * 6, width, seed=2)
    rel_h, rel_w, prior = draw(4, 2, 8, seed=3), draw(6, 3, 8, seed=4), (draw(3, 4, 2), draw(3, 6, 3))
    ok = draw(2, maps * 6, seed=5) > 0 if hidden else None
    slow = attend(q, k, v, rel_h, rel_w, (4, 6), ok, prior=prior)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v, rel_h, rel_w, (4, 6), ok, prior=prior), slow, atol=1e-5, rtol=1e-5)


@given(st.integers(1, 20), st.integers(1, 20), st.tuples(st.integers(1, 8), st.integers(1, 8)))
@settings(max_examples=40, deadline=None)
def test_windows_round_trip(h, w, window):
    x = draw(2, 3, h * w, 4)
    cut = split_windows(x, (h, w), window)
    assert cut.shape == (2 * -(-h // window[0]) * -(-w // window[1]), 3, window[0] * window[1], 4)
    assert torch.equal(join_windows(cut, (h, w), window), x)


@pytest.mark.parametrize(
    "queries,window,sides",
    [
        (56, 56, (56, 14)),
        (64, 56, (32, 8)),
        (24, 56, (24, 6)),
        (128, 56, (44, 11)),
        (112, 56, (56, 14)),
        (57, 56, (32, 8)),
    ],
)
def test_windows_are_cut_evenly(queries, window, sides):
    """Keys lie four queries apart. 64 queries were cut 56 + 8 before, and padded to 112."""
    grid = Grid((queries, 56), (-(-queries // 4), 14), window, window // 4)
    assert even_sides(grid, 0) == sides
    assert even_sides(Grid(grid.k, grid.q, window // 4, window), 0)[1] <= window  # keys finer than queries


@given(st.integers(1, 300), st.sampled_from([1, 2, 4]))
@settings(max_examples=100, deadline=None)
def test_no_window_is_larger_than_native_and_together_they_pad_less_than_a_key_each(queries, ratio):
    native = 56
    q, k = even_sides(Grid((queries, 1), (-(-queries // ratio), 1), native, native // ratio), 0)
    count = -(-queries // native)
    assert q <= native and count * q - queries < count * ratio
    assert count == 1 or k * ratio == q


def test_a_window_sees_only_itself():
    """Changing a key in one window leaves queries of the other windows as they were."""
    q, k, v = (draw(1, 2, 64, 8, seed=i) for i in range(3))
    table = draw(7, 8, seed=9)
    grid = Grid((8, 8), (8, 8), 4, 4)
    before = attend_map(q, k, v, grid, table, table)
    v2 = v.clone()
    v2[:, :, 0] += 10  # row 0, column 0: first window
    changed = (attend_map(q, k, v2, grid, table, table) != before).any(-1)[0, 0].reshape(8, 8)
    assert changed[:4, :4].all() and not changed[4:].any() and not changed[:, 4:].any()


def test_masked_padding_equals_attention_over_the_real_tokens():
    """A 4 x 4 map in windows of 3 is cut 2 + 2; a 5 x 5 one 3 + 3, and padded: its corner has 2 x 2 real keys.
    In detectron2's way it is cut 3 + 2 too, but the padded keys count."""
    q, k, v = (draw(1, 1, 25, 8, seed=i) for i in range(3))
    table = draw(5, 8, seed=9)
    grid = Grid((5, 5), (5, 5), 3, 3)
    corner = [t.reshape(1, 1, 5, 5, 8)[:, :, 3:, 3:].reshape(1, 1, 4, 8) for t in (q, k, v)]
    alone = attend_map(*corner, Grid((2, 2), (2, 2), 3, 3), table, table)
    out = attend_map(q, k, v, grid, table, table)
    torch.testing.assert_close(out[0, 0, 24], alone[0, 0, 3])
    assert not torch.allclose(attend_map(q, k, v, grid, table, table, zeros=True)[0, 0, 24], out[0, 0, 24])


@pytest.mark.parametrize("window", [0, 3, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_hidden_keys_have_no_influence_in_windows_either(window, zeros):
    """With `zeros`, padded keys still take part: hiding none changes nothing."""
    q, k, v = (draw(1, 1, 25, 8, seed=i) for i in range(3))
    table, grid = draw(2 * (window or 5) - 1, 8, seed=9), Grid((5, 5), (5, 5), window, window)
    ok = torch.ones(1, 25, dtype=torch.bool)
    plain = attend_map(q, k, v, grid, table, table, zeros=zeros)
    torch.testing.assert_close(attend_map(q, k, v, grid, table, table, ok, zeros), plain)
    ok[0, 7] = False
    v2 = v.clone()
    v2[0, 0, 7] = 1e3
    hidden = attend_map(q, k, v, grid, table, table, ok, zeros)
    assert torch.equal(attend_map(q, k, v2, grid, table, table, ok, zeros), hidden) and not torch.equal(hidden, plain)


def test_a_map_smaller_than_its_window_uses_true_offsets():
    """A 3 x 3 map in one window of 8 equals the same tokens in the corner of a masked 8 x 8 map."""
    q, k, v = (draw(1, 1, 9, 8, seed=i) for i in range(3))
    table = draw(15, 8, seed=9)
    small = attend_map(q, k, v, Grid((3, 3), (3, 3), 8, 8), table, table)
    big = [split_windows(t, (3, 3), (8, 8)) for t in (q, k, v)]
    ok = split_windows(torch.ones(1, 1, 9, 1, dtype=torch.bool), (3, 3), (8, 8))[:, 0, :, 0]
    rel = relative_rows(table, 8, 8, 8, 8)
    padded = attend(*big, rel, rel, (8, 8), ok).reshape(1, 1, 8, 8, 8)[:, :, :3, :3].reshape(1, 1, 9, 8)
    torch.testing.assert_close(small, padded, atol=1e-5, rtol=1e-5)
