"""Attention between two token maps, with decomposed relative positions, in windows or global.

MViTv2 (Li et al. 2022, arXiv 2112.01526, eq. 3-4) adds to every logit q.k a term q.R that depends on
the offset between query and key only, split into a part for rows and one for columns:

    logit(i, j) = s q_i.k_j + q_i.Rh[yi - yj] + q_i.Rw[xi - xj]

Here that sum is one dot product of longer vectors, so that PyTorch's fused attention computes it and no
queries x keys matrix is ever stored: append to q_i its products with Rh for every key row and with Rw
for every key column, and to k_j a one-hot code of its row and column. Memory is then linear in area.

*Windows* cut query and key maps into the same footprints (Hwin of the paper): each query attends to
the keys of its own window. Sizes need not divide: the last windows are padded, and padded keys are
masked, or stay in as zero vectors (`zeros`, as detectron2's MViT does, for weights trained with it).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

HIDDEN = -1e4  # logit of a masked key: exp() of it is 0 in every dtype, and no row becomes NaN


class Grid(NamedTuple):
    """How two token maps are related: their sizes and the window of each, in tokens (rows, columns)."""

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
    key_ok: Tensor | None = None, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """Attention of a map's queries to keys, with row and column terms.

    Args:
        q: (B, heads, Hq*Wq, C); k, v: (B, heads, G*Hk*Wk, C), G maps of keys one after the other.
        rel_h: (Hq, Hk, C), rel_w: (Wq, Wk, C) from `relative_rows`.
        q_size: (Hq, Wq).
        key_ok: bool (B, G*Hk*Wk), False for a key that may not be seen; None: all may.
            A query that may see none gets 0.
        scale: factor on q.k, 1/sqrt(C) if None.

    Returns:
        (B, heads, Hq*Wq, C).
    """
    b, heads, n, c = q.shape
    (hq, wq), hk, wk = q_size, rel_h.shape[1], rel_w.shape[1]
    grid = q.reshape(b, heads, hq, wq, c)
    rows = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h.to(q.dtype)).reshape(b, heads, n, hk)
    cols = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w.to(q.dtype)).reshape(b, heads, n, wk)
    code = torch.cat(
        [
            torch.eye(hk, dtype=k.dtype, device=k.device).repeat_interleave(wk, 0),
            torch.eye(wk, dtype=k.dtype, device=k.device).repeat(hk, 1),
        ],
        dim=1,
    ).repeat(k.shape[2] // (hk * wk), 1)
    long_q = [q * (c**-0.5 if scale is None else scale), rows, cols]
    long_k = [k, code.expand(b, heads, -1, -1)]
    if key_ok is not None:
        long_q.append(q.new_ones(b, heads, n, 1))
        hidden = torch.zeros(key_ok.shape, dtype=k.dtype, device=k.device).masked_fill_(~key_ok, HIDDEN)
        long_k.append(hidden[:, None, :, None].expand(b, heads, -1, 1))
    long_q, long_k = torch.cat(long_q, dim=-1), torch.cat(long_k, dim=-1)
    # The fused kernels want one width for all three, on GPUs a multiple of 8.
    pad = -long_q.shape[-1] % 8
    out = F.scaled_dot_product_attention(
        F.pad(long_q, (0, pad)), F.pad(long_k, (0, pad)), F.pad(v, (0, long_q.shape[-1] + pad - c)), scale=1.0
    )[..., :c]
    return out if key_ok is None else out * key_ok.any(1)[:, None, None, None]


def split_windows(x: Tensor, size: tuple[int, int], window: int) -> Tensor:
    """Cut (B, heads, H*W, C) into (B * windows, heads, window^2, C), zero-padding at bottom and right."""
    b, heads, _, c = x.shape
    h, w = size
    x = F.pad(x.reshape(b, heads, h, w, c), (0, 0, 0, -w % window, 0, -h % window))
    rows, cols = x.shape[2] // window, x.shape[3] // window
    x = x.reshape(b, heads, rows, window, cols, window, c).permute(0, 2, 4, 1, 3, 5, 6)
    return x.reshape(b * rows * cols, heads, window * window, c)


def join_windows(x: Tensor, size: tuple[int, int], window: int) -> Tensor:
    """Undo `split_windows`: (B * windows, heads, window^2, C) to (B, heads, H*W, C), padding cut off."""
    h, w = size
    rows, cols = -(-h // window), -(-w // window)
    _, heads, _, c = x.shape
    x = x.reshape(-1, rows, cols, heads, window, window, c).permute(0, 3, 1, 4, 2, 5, 6)
    x = x.reshape(x.shape[0], heads, rows * window, cols * window, c)
    return x[:, :, :h, :w].reshape(x.shape[0], heads, h * w, c)


def attend_map(
    q: Tensor, k: Tensor, v: Tensor, grid: Grid, rel_h: Tensor, rel_w: Tensor, key_ok: Tensor | None = None,
    zeros: bool = False,
) -> Tensor:  # fmt: skip
    """Attend globally or window by window.

    Args:
        q: (B, heads, Hq*Wq, C); k, v: (B, heads, G*Hk*Wk, C), G key maps of the same size.
        grid: sizes and windows.
        rel_h, rel_w: (offsets, C) relative-position tables.
        key_ok: bool (B, G*Hk*Wk) or None.
        zeros: keep padded keys in the softmax as zero vectors instead of masking them.

    Returns:
        (B, heads, Hq*Wq, C).
    """
    (hq, wq), (hk, wk) = grid.q, grid.k
    if not grid.q_window:
        rows = relative_rows(rel_h, hq, hk, hq, hk)
        cols = relative_rows(rel_w, wq, wk, wq, wk)
        return attend(q, k, v, rows, cols, grid.q, key_ok)
    qw, kw = grid.q_window, grid.k_window
    if hq <= qw and wq <= qw and not zeros:  # one window: padding it would only cost time
        rows = relative_rows(rel_h, hq, hk, qw, kw)
        cols = relative_rows(rel_w, wq, wk, qw, kw)
        return attend(q, k, v, rows, cols, grid.q, key_ok)
    maps = k.shape[2] // (hk * wk)
    padded = hk % kw or wk % kw
    if key_ok is None and padded and not zeros:
        key_ok = torch.ones(k.shape[0], k.shape[2], dtype=torch.bool, device=k.device)
    rows, cols = relative_rows(rel_h, qw, kw, qw, kw), relative_rows(rel_w, qw, kw, qw, kw)
    k, v = (_split_maps(t, maps, grid.k, kw) for t in (k, v))
    if key_ok is not None:
        key_ok = _split_maps(key_ok[:, None, :, None], maps, grid.k, kw)[:, 0, :, 0]
    out = attend(split_windows(q, grid.q, qw), k, v, rows, cols, (qw, qw), key_ok)
    return join_windows(out, grid.q, qw)


def _split_maps(x: Tensor, maps: int, size: tuple[int, int], window: int) -> Tensor:
    parts = [split_windows(part, size, window) for part in x.chunk(maps, dim=2)]
    return torch.cat(parts, dim=2)
