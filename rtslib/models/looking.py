"""Looking: what a trained model's attention adds, and where it looks.

Questions of a `ResidualCrossAttention` that scores do not answer. *How much*: the root mean square of what is added to
the primary map, as a share of that map's own. *Where*: the mean weight that queries give to keys so far down and so far
right of their own place, and of one chip, which places of another modality a chosen place reads. With the attention
switched off (`rtslib.models.fusion.without_attention`), they tell whether a fusion by attention attends, or lives on
its merging.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtslib.models.attention import attend_map
from rtslib.models.crossing import HEADS, CrossAttention
from rtslib.models.fusion import ResidualCrossAttention
from rtslib.models.model import Model

#: Side of the cells in which offsets are counted, and the farthest, px of the network input.
CELL, FARTHEST = 8, 52
#: Weights of one query, and the size of what is added: float (h, w) each.
Read = tuple[np.ndarray, np.ndarray]


def looks(model: Model, batches: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Watch the attention at work.

    Args:
        model: with `ResidualCrossAttention`, in evaluation mode.
        batches: as `rtslib.data.samples.collate` makes them; a batch's weights (queries x keys) are held at once.

    Returns:
        Two lists of rows. How much: stride (px), modality, share (rms of the added over rms of the primary map). Where:
        stride, modality, head, down, right (px, the middle of a cell of `CELL` px), weight (mean over queries and
        chips; over all cells of a head it sums to the share of its weight that falls within `FARTHEST`).
    """
    much: dict[tuple[int, str], list[tuple[float, float]]] = {}
    where: dict[tuple[int, str], list[np.ndarray]] = {}
    with ExitStack() as hooks, torch.inference_mode():
        for stride, modality, ask in asked(model):

            def note(module: nn.Module, given: Any, out: Tensor, key: tuple[int, str] = (stride, modality)) -> None:
                x, z, valid = given
                much.setdefault(key, []).append((float(out.square().mean()), float(x.square().mean())))
                where.setdefault(key, []).append(_offsets(module, x, z, valid, key[0]))

            hooks.callback(ask.register_forward_hook(note).remove)
        for batch in batches:
            model(batch)
    amounts, places = [], []
    cells = np.arange(-FARTHEST, FARTHEST, CELL) + CELL / 2
    for (stride, modality), pairs in much.items():
        added, own = np.mean(pairs, axis=0)
        amounts.append({"stride": stride, "modality": modality, "share": float(np.sqrt(added / own))})
        for (head, i, j), weight in np.ndenumerate(np.mean(where[stride, modality], axis=0)):
            place = {"head": head, "down": cells[i], "right": cells[j], "weight": weight}
            places.append({"stride": stride, "modality": modality, **place})
    return amounts, places


def asked(model: nn.Module) -> Iterator[tuple[int, str, CrossAttention]]:
    """Yield stride (px), modality and attention of every scale and every modality that is asked."""
    for level, fusion in enumerate(getattr(model, "fusion", [])):
        if isinstance(fusion, ResidualCrossAttention):
            for modality, ask in fusion.asked.items():
                yield 4 << level, modality, ask  # type: ignore[misc]


def reading(model: Model, batch: dict[str, Any], place: tuple[int, int]) -> dict[tuple[int, str], Read]:
    """Watch one place of one chip read the other modalities.

    Args:
        model: with `ResidualCrossAttention`, in evaluation mode.
        batch: one chip, as `rtslib.data.samples.collate` makes it.
        place: row and column, px of the chip.

    Returns:
        (stride px, modality) -> weights float (h, w) that the query at the place gives to the keys, mean over heads, of
        sum 1; and the size of what is added at each place of the primary map, float (h, w), root mean square over
        channels. Both lie over the padded network input.
    """
    out: dict[tuple[int, str], Read] = {}
    row, column = (int((p + 0.5) * model.config.scale) for p in place)
    with ExitStack() as hooks, torch.inference_mode():
        for stride, modality, ask in asked(model):

            def note(module: nn.Module, given: Any, found: Tensor, key: tuple[int, str] = (stride, modality)) -> None:
                weights = _weights(module, *given)[0].mean(0)[row // key[0], column // key[0]]
                out[key] = weights.numpy(), found[0].square().mean(0).sqrt().numpy()

            hooks.callback(ask.register_forward_hook(note).remove)
        model(batch)
    return out


def _weights(ask: Any, x: Tensor, z: Tensor, valid: Tensor) -> Tensor:
    """Return the weight of every key for every query, float (B, HEADS, hq, wq, hk, wk).

    The fused kernel keeps no weights, but where each key's value is its own one-hot code, its answer is them.
    """
    q, k, _, key_ok, grid = ask.question(x, z, valid)
    m = k.shape[2]
    codes = torch.eye(m).expand(len(k), HEADS, -1, -1)
    weights = attend_map(q, k, codes, grid, ask.rel_pos_h, ask.rel_pos_w, key_ok, prior=ask.prior)
    return weights[..., :m].reshape(len(k), HEADS, *grid.q, *grid.k)


def _offsets(ask: Any, x: Tensor, z: Tensor, valid: Tensor, stride: int) -> np.ndarray:
    """Return the mean weight by head and offset, float (HEADS, cells, cells)."""
    weights = _weights(ask, x, z, valid).mean(0)
    hq, wq, hk, wk = weights.shape[1:]
    down, right = (
        (torch.arange(keys) + 0.5) * ask.pool * stride - ((torch.arange(queries) + 0.5) * stride)[:, None]
        for keys, queries in ((hk, hq), (wk, wq))
    )
    edges = np.arange(-FARTHEST, FARTHEST + 1, CELL)
    down = down[:, None, :, None].expand(hq, wq, hk, wk).reshape(-1).numpy()
    right = right[None, :, None, :].expand(hq, wq, hk, wk).reshape(-1).numpy()
    aside = [(a, b) for a in (-0.01, 0.01) for b in (-0.01, 0.01)]  # what lies on an edge goes to both cells by halves
    return np.mean([
        [np.histogram2d(down + a, right + b, bins=(edges, edges), weights=head.reshape(-1).numpy())[0] / (hq * wq)
         for head in weights]
        for a, b in aside
    ], axis=0)  # fmt: skip
