"""Pixel features: what stands at a pixel and around it, as numbers of one length, for models that judge pixel by pixel.

Of each band x there are the value itself and, for each scale s, the mean m and the standard deviation d of what lies
around, weighted by a Gaussian of s px:

    m = G(x v) / G(v),    d = sqrt(G((x - m)^2 v) / G(v)) = sqrt(G(x^2 v) / G(v) - m^2)

G(y) is y smoothed along rows, then columns; v is 1 on valid pixels and 0 elsewhere, so that nodata never bleeds
(*normalised convolution*, Knutsson and Westin 1993, doi 10.1109/CVPR.1993.341081). Where the modality has no data
all its features are NaN. Bands come in standardised, which the difference of squares in float32 needs.

The smoothed pixel's neighbours are weighted by their distance alone, so turned ground has the same features, turned.
A chip's edge is a void like any other: nothing is padded.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_names(bands: Sequence[str], scales: Sequence[float]) -> list[str]:
    """Return the names of the features of `pixel_features`, in its order, such as `red`, `red mean 3`, `red sd 3`."""
    kinds = [" mean {:g}", " sd {:g}"]
    return [*bands, *(band + kind.format(s) for s in scales for kind in kinds for band in bands)]


def pixel_features(values: Tensor, valid: Tensor, scales: Sequence[float]) -> Tensor:
    """Describe every pixel of one modality.

    Args:
        values: float (C, h, w), standardised; what stands at invalid pixels is not read.
        valid: bool (h, w).
        scales: standard deviations of the Gaussians, px.

    Returns:
        float (C (1 + 2 scales), h, w), NaN where invalid.
    """
    seen = valid.to(values.dtype)
    x = torch.where(valid, values, 0.0)
    stack, parts = torch.cat([x, x * x, seen[None]]), [values]
    for scale in scales:
        smooth = gaussian(stack, scale)
        mean, square = (smooth[:-1] / smooth[-1:].clamp(min=torch.finfo(x.dtype).tiny)).split(len(x))
        parts += [mean, (square - mean * mean).clamp(min=0).sqrt()]
    return torch.where(valid, torch.cat(parts), torch.nan)


def gaussian(maps: Tensor, scale: float) -> Tensor:
    """Smooth maps (..., h, w) by a Gaussian of `scale` px that does not sum to 1 where it meets the edge: as matrices
    over rows and over columns, of the Gaussian itself, so nothing is cut off."""
    rows, columns = (_matrix(n, scale, maps) for n in maps.shape[-2:])
    return rows @ maps @ columns


def _matrix(size: int, scale: float, like: Tensor) -> Tensor:
    place = torch.arange(size, dtype=like.dtype, device=like.device)
    return torch.exp(-0.5 * ((place[:, None] - place) / scale) ** 2)
