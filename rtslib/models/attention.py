"""Attention between two token maps, with decomposed relative positions, in windows or global.

MViTv2 (Li et al. 2022, arXiv 2112.01526, eq. 3-4) adds to every logit q.k a term q.R that depends on
the offset between query and key only, split into a part for rows and one for columns:

    logit(i, j) = s q_i.k_j + q_i.Rh[yi - yj] + q_i.Rw[xi - xj]

Here that sum is one dot product of longer vectors, so that PyTorch's fused attention computes it and no
queries x keys matrix is ever stored: append to q_i its products with Rh for every key row and with Rw
for every key column, and to k_j a one-hot code of its row and column. Memory is then linear in area.
Without gradients a CPU is asked otherwise, a block of queries at a time with the two terms as a mask: its
kernel takes one (and gives it no gradient), and vectors as long as a map's sides are as much work again.

*Windows* cut query and key maps into the same footprints (Hwin of the paper): each query attends to
the keys of its own window. The paper's windows are as large as the training map (56 tokens at stride 4),
and what does not divide is padded; here a map is cut into as many windows, of equal size: 64 tokens become
32 + 32, not 56 + 8 padded to 112. What is still padded is masked. `zeros` cuts as detectron2's MViT does, for
weights trained with it: native windows, whose padded keys stay in as zero vectors.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Prior = Callable[[int, int, int], Tensor]  # axis, queries, keys -> (heads, queries, keys)
HIDDEN = -1e4  # logit of a masked key: exp() of it is 0 in every dtype, and no row becomes NaN

LOGITS, LEAST = 1 << 20, 64  # of a mask at a time (4 MiB); its queries, at least


class Grid(NamedTuple):
    """How two token maps are related: their sizes, and the native window's side on each, in tokens."""

    q: tuple[int, int]
    k: tuple[int, int]
    q_window: int  # 0: global
    k_window: int


def relative_rows(table: Tensor, q_len: int, k_len: int, q_native: int, k_native: int) -> Tensor:
    """Pick the relative-position vectors of all (query, key) pairs along one axis.

    Args:
        table: (2 max(q_native, k_native) - 1, C), the trained offsets.
        q_len, k_len: tokens along the axis.
        q_native, k_native: the lengths that say how query and key spacing relate, and which row of the
            table is offset 0. Equal to q_len, k_len for global attention.

    Returns:
        (q_len, k_len, C). Where the table is shorter than the offsets need, it is stretched linearly.

    Source: the index rule of MViTv2 (timm `cal_rel_pos_type`), with interpolation for other sizes.
    """
    need = 2 * max(q_native, k_native) - 1
    if table.shape[0] != need:
        table = F.interpolate(table.T[None], size=need, mode="linear")[0].T
    q_ratio, k_ratio = max(k_native / q_native, 1.0), max(q_native / k_native, 1.0)
    q = torch.arange(q_len, device=table.device)[:, None] * q_ratio
    k = torch.arange(k_len, device=table.device)[None, :] * k_ratio
    return table[(q - k + (k_native - 1) * k_ratio).long().clamp_(0, need - 1)]


def attend(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, q_size: tuple[int, int],
    key_ok: Tensor | None = None, scale: float | None = None, prior: tuple[Tensor, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Attention of a map's queries to keys, with row and column terms.

    Args:
        q: (B, heads, Hq*Wq, C); k: (B, heads, G*Hk*Wk, C), v: (B, heads, G*Hk*Wk, D), G maps of keys one after the
            other.
        rel_h: (Hq, Hk, C), rel_w: (Wq, Wk, C) from `relative_rows`.
        q_size: (Hq, Wq).
        key_ok: bool (B, G*Hk*Wk), False for a key that may not be seen; None: all may.
            A query that may see none gets 0.
        scale: factor on q.k, 1/sqrt(C) if None.
        prior: (heads, Hq, Hk) and (heads, Wq, Wk), added to the logits by row and by column.

    Returns:
        (B, heads, Hq*Wq, D).
    """
    b, heads, n, c = q.shape
    (hq, wq), hk, wk = q_size, rel_h.shape[1], rel_w.shape[1]
    grid = q.reshape(b, heads, hq, wq, c)
    rows = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h.to(q.dtype)).reshape(b, heads, n, hk)
    cols = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w.to(q.dtype)).reshape(b, heads, n, wk)
    if prior is not None:
        rows = rows + prior[0].repeat_interleave(wq, 1).to(q.dtype)
        cols = cols + prior[1].repeat(1, hq, 1).to(q.dtype)
    q = q * (c**-0.5 if scale is None else scale)
    hidden = None
    if key_ok is not None:
        hidden = torch.zeros(key_ok.shape, dtype=k.dtype, device=k.device).masked_fill_(~key_ok, HIDDEN)
    by_mask = q.device.type == "cpu" and not torch.is_grad_enabled()
    out = (_masked if by_mask else _lengthened)(q, k, v, rows, cols, hidden)
    return out if key_ok is None else out * key_ok.any(1)[:, None, None, None]


def _lengthened(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor, hidden: Tensor | None) -> Tensor:
    """Attend with the terms of rows and columns, and what is hidden (B, keys), as further components of q and k."""
    b, heads, n, _ = q.shape
    hk, wk = rows.shape[-1], cols.shape[-1]
    code = torch.cat(
        [
            torch.eye(hk, dtype=k.dtype, device=k.device).repeat_interleave(wk, 0),
            torch.eye(wk, dtype=k.dtype, device=k.device).repeat(hk, 1),
        ],
        dim=1,
    ).repeat(k.shape[2] // (hk * wk), 1)
    long_q, long_k = [q, rows, cols], [k, code.expand(b, heads, -1, -1)]
    if hidden is not None:
        long_q.append(q.new_ones(b, heads, n, 1))
        long_k.append(hidden[:, None, :, None].expand(b, heads, -1, 1))
    long_q, long_k = torch.cat(long_q, dim=-1), torch.cat(long_k, dim=-1)
    # The fused kernels want one width for all three, on GPUs a multiple of 8.
    width = -(-max(long_q.shape[-1], v.shape[-1]) // 8) * 8
    wide_q, wide_k, wide_v = (F.pad(t, (0, width - t.shape[-1])) for t in (long_q, long_k, v))
    return F.scaled_dot_product_attention(wide_q, wide_k, wide_v, scale=1.0)[..., : v.shape[-1]]


def _masked(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor, hidden: Tensor | None) -> Tensor:
    """Attend with the same terms as a mask, a block of queries at a time."""
    b, heads, n, _ = q.shape
    keys = k.shape[2]
    maps = keys // (rows.shape[-1] * cols.shape[-1])
    step = max(LEAST, LOGITS // (b * heads * keys))
    parts = []
    for start in range(0, n, step):
        at = slice(start, start + step)
        mask = (rows[:, :, at, :, None] + cols[:, :, at, None, :]).flatten(3)
        mask = mask if maps == 1 else mask.repeat(1, 1, 1, maps)
        mask = mask if hidden is None else mask + hidden[:, None, None]
        parts.append(F.scaled_dot_product_attention(q[:, :, at], k, v, mask, scale=1.0))
    return torch.cat(parts, dim=2)


def even_sides(grid: Grid, axis: int) -> tuple[int, int]:
    """Return the window's side along an axis in query and in key tokens: at most native, all windows alike."""
    length, ratio = grid.q[axis], max(1, grid.q_window // grid.k_window)
    count = -(-length // grid.q_window)
    if count == 1:
        return length, grid.k[axis]
    side = -(-length // (count * ratio)) * ratio  # a whole number of keys wide
    return side, side * grid.k_window // grid.q_window


def split_windows(x: Tensor, size: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Cut (B, heads, H*W, C) into (B * windows, heads, rows * columns, C), zero-padding at bottom and right."""
    b, heads, _, c = x.shape
    (h, w), (height, width) = size, window
    x = F.pad(x.reshape(b, heads, h, w, c), (0, 0, 0, -w % width, 0, -h % height))
    rows, cols = x.shape[2] // height, x.shape[3] // width
    x = x.reshape(b, heads, rows, height, cols, width, c).permute(0, 2, 4, 1, 3, 5, 6)
    return x.reshape(b * rows * cols, heads, height * width, c)


def join_windows(x: Tensor, size: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Undo `split_windows`: (B * windows, heads, rows * columns, C) to (B, heads, H*W, C), padding cut off."""
    (h, w), (height, width) = size, window
    rows, cols = -(-h // height), -(-w // width)
    _, heads, _, c = x.shape
    x = x.reshape(-1, rows, cols, heads, height, width, c).permute(0, 3, 1, 4, 2, 5, 6)
    x = x.reshape(x.shape[0], heads, rows * height, cols * width, c)
    return x[:, :, :h, :w].reshape(x.shape[0], heads, h * w, c)


def attend_map(
    q: Tensor, k: Tensor, v: Tensor, grid: Grid, rel_h: Tensor, rel_w: Tensor, key_ok: Tensor | None = None,
    zeros: bool = False, prior: Prior | None = None,
) -> Tensor:  # fmt: skip
    """Attend globally or window by window.

    Args:
        q: (B, heads, Hq*Wq, C); k: (B, heads, G*Hk*Wk, C), v: (B, heads, G*Hk*Wk, D), G key maps of the same size.
        grid: sizes and windows.
        rel_h, rel_w: (offsets, C) relative-position tables.
        key_ok: bool (B, G*Hk*Wk) or None.
        zeros: native windows, and padded keys in the softmax as zero vectors instead of being masked.
        prior: gives what is added to the logits along an axis (0 or 1) of a window of so many queries and keys.

    Returns:
        (B, heads, Hq*Wq, D).
    """
    (hq, wq), (hk, wk) = grid.q, grid.k
    if not grid.q_window:
        rows = relative_rows(rel_h, hq, hk, hq, hk)
        cols = relative_rows(rel_w, wq, wk, wq, wk)
        priors = None if prior is None else (prior(0, hq, hk), prior(1, wq, wk))
        return attend(q, k, v, rows, cols, grid.q, key_ok, prior=priors)
    native = grid.q_window, grid.k_window
    (qh, kh), (qw, kw) = (native, native) if zeros else (even_sides(grid, 0), even_sides(grid, 1))
    rows, cols = relative_rows(rel_h, qh, kh, *native), relative_rows(rel_w, qw, kw, *native)
    priors = None if prior is None else (prior(0, qh, kh), prior(1, qw, kw))
    if (qh, qw) == grid.q:
        return attend(q, k, v, rows, cols, grid.q, key_ok, prior=priors)
    maps = k.shape[2] // (hk * wk)
    if key_ok is None and (hk % kh or wk % kw) and not zeros:
        key_ok = torch.ones(k.shape[0], k.shape[2], dtype=torch.bool, device=k.device)
    k, v = (_split_maps(t, maps, grid.k, (kh, kw)) for t in (k, v))
    if key_ok is not None:  # padding is False where it is to be hidden
        key_ok = _split_maps(key_ok[:, None, :, None] ^ zeros, maps, grid.k, (kh, kw))[:, 0, :, 0] ^ zeros
    out = attend(split_windows(q, grid.q, (qh, qw)), k, v, rows, cols, (qh, qw), key_ok, prior=priors)
    return join_windows(out, grid.q, (qh, qw))


def _split_maps(x: Tensor, maps: int, size: tuple[int, int], window: tuple[int, int]) -> Tensor:
    parts = [split_windows(part, size, window) for part in x.chunk(maps, dim=2)]
    return torch.cat(parts, dim=2)
