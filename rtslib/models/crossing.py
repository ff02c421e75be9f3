"""Cross-attention from one modality's feature map to another's: what does the other one show around here?

For a query at place i of map x, keys and values at places j of map z, and every head h:

    a_h(i) = sum over j of softmax_j(s q_h(i).k_h(j) + q_h(i).R(j - i) - |j - i - d_h|^2 / (2 w_h^2)) z(j)
    y(i) = Wo [a_1(i), ..., a_H(i)]            q = Wq LN(x), k = Wk LN(z)

R are decomposed relative positions as in MViTv2 (arXiv 2112.01526). The last term is a *place prior*: each head starts
around the query's own place with a width w of 1, 2, 4 ... tokens, and learns width and offset d. Every head passes the
whole map z on (its value projection is part of Wo), and Wo starts at 0.

Why so. With the usual heads, whose first weights look everywhere alike, a is nearly the mean of the map, the same at
each place: its gradient teaches Wo a constant, and in a fine-tuning of some hundred steps nothing else. With a share of
the channels for each head, what a head sees is blurred for those channels and unseen for the others. Both were tried on
a landscape kept for this (results/corrections.md): switching the attention off in the trained model changed nothing.

Sources: Cordonnier et al. 2020, arXiv 1911.03584 (a quadratic prior makes a head a convolution's tap), d'Ascoli et al.
2021, arXiv 2103.10697 (ConViT: attention that starts local). Differs: widths double from head to head, and the prior is
added to the content's logits without a gate.

In mixed precision the attention itself stays in float32: in bf16 on an H200, 12 of 14 trainings of real chips met a NaN
within 15 steps, models without this attention none (results/corrections.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtslib.models.attention import Grid, attend_map

HEADS, WIDTH = 4, 32  # of queries and keys
NATIVE = 56  # tokens a side at stride 4: windows of 224 px, as the backbone's


class CrossAttention(nn.Module):
    """Attention from a query map to a key map of the same size and channels.

    Keys are pooled by the backbone's strides (4, 2, 1, 1) and cut into windows of the same footprint as the backbone's
    (at most 56, 28, 14, 7 tokens), so memory is linear in area. Keys without valid pixels are masked; where no key of
    a window is valid, the answer is 0.

    Args:
        channels: of both maps.
        level: scale index, 0 for stride 4 to 3 for stride 32.
    """

    def __init__(self, channels: int, level: int) -> None:
        super().__init__()
        self.pool, self.window = max(1, 4 >> level), NATIVE >> level
        self.norm_q, self.norm_k = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.q, self.k = nn.Linear(channels, HEADS * WIDTH), nn.Linear(channels, HEADS * WIDTH)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * self.window - 1, WIDTH))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * self.window - 1, WIDTH))
        for table in (self.rel_pos_h, self.rel_pos_w):
            nn.init.trunc_normal_(table, std=0.02)
        self.offset = nn.Parameter(torch.zeros(2, HEADS))  # down, right; in windows, so that a step is felt
        self.log_width = nn.Parameter(torch.arange(HEADS) * torch.tensor(2.0).log())  # tokens
        self.out = nn.Linear(HEADS * channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, z: Tensor, valid: Tensor) -> Tensor:
        """Ask map z from map x.

        Args:
            x, z: float (B, C, h, w), queries and keys.
            valid: bool (B, h, w), where z saw any valid pixel.

        Returns:
            float (B, C, h, w).
        """
        b, c, h, w = x.shape
        q, k, v, key_ok, grid = self.question(x, z, valid)
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = q.float(), k.float(), v.float()[:, None].expand(-1, HEADS, -1, -1)
            a = attend_map(q, k, v, grid, self.rel_pos_h, self.rel_pos_w, key_ok, prior=self.prior)
        a = self.out(a.transpose(1, 2).reshape(b, h * w, HEADS * c)) * key_ok.any(1)[:, None, None]
        return a.transpose(1, 2).reshape(b, c, h, w)

    def prior(self, axis: int, queries: int, keys: int) -> Tensor:
        """Return the place prior along an axis (0 down, 1 right) in a window: float (HEADS, queries, keys)."""
        q = torch.arange(queries, device=self.offset.device) + 0.5
        k = (torch.arange(keys, device=self.offset.device) + 0.5) * self.pool
        away = k - q[:, None] - self.offset[axis][:, None, None] * self.window
        return -0.5 * (away / self.log_width.exp()[:, None, None]) ** 2

    def question(self, x: Tensor, z: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Grid]:
        """Return queries (B, HEADS, n, WIDTH), keys (B, HEADS, m, WIDTH), values (B, m, C), valid keys (B, m), grid."""
        weight = valid[:, None].to(z.dtype)
        share = _pooled(weight, self.pool)

        def seen(m: Tensor) -> Tensor:  # mean over the valid tokens of each pooling cell
            return _tokens(_pooled(m * weight, self.pool) / share.clamp(min=1e-6))

        b, _, h, w = z.shape
        normed = self.norm_k(_tokens(z)).transpose(1, 2).reshape(z.shape)
        q = self.q(self.norm_q(_tokens(x))).reshape(b, -1, HEADS, WIDTH).transpose(1, 2)
        k = self.k(seen(normed)).reshape(b, -1, HEADS, WIDTH).transpose(1, 2)
        grid = Grid((h, w), (share.shape[2], share.shape[3]), self.window, self.window // self.pool)
        return q, k, seen(z), share.flatten(1) > 0, grid


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _pooled(x: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(x, size, ceil_mode=True, count_include_pad=False)
