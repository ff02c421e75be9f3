"""Look-alikes: chips that show the same ground, found by their pixels alone.

Chips without georeference are often windows cut from one mosaic, so that a slump stands on several of them, and a split
that does not know it tests on what was trained on. Two chips are a *pair* if at some shift (dy, dx), where pixel (y, x)
of `a` shows what (y + dy, x + dx) of `b` shows, their textures agree. *Groups* are the connected components of the
pairs: a chip shares ground with at least one other of its group, not with all.

The *texture* T of a picture L is what is left without brightness and contrast, so that haze, gain and shading do not
count, and water without structure counts little (G: Gaussian mean of `SIGMA` px):

    T = (L - G L) / sqrt(G (L - G L)^2 + (m / 2)^2),    m: median over the set of sqrt(G (L - G L)^2)
    r = sum T_a T_b / sqrt(sum T_a^2 sum T_b^2),        sums over the N pixels of the overlap that are valid in both

A pair has r >= `LEAST_CORRELATION` and *evidence* r sqrt(N) >= `LEAST_EVIDENCE`, since in small overlaps r is high by
chance. Where to draw the line was seen on real chips: the evidence of unrelated ones ends at 21 (Maxar, 4 m, straight
shores among them) and 15 (Sentinel-2, 10 m); that of true overlaps begins at 28 and 32, and r at 0.77 and, on other
dates, 0.40. A pair too many joins two groups, a pair too few may leak.

The shifts to look at come from all pairs of chips, reduced to `COARSE` px a side: the highest peak of c / sqrt(N), with
c the cross-correlation by FFT of textures that were *whitened* (divided by the mean amplitude spectrum of the set). For
unrelated chips c / sqrt(N) is about a draw of mean 0 and standard deviation 1 at every shift.

Chips are taken as north up and of one scale. Overlaps without texture are not found, nor is the same place on another
date if it has changed much. Normalised cross-correlation by FFT: Padfield 2012 (IEEE Trans. Image Processing, doi
10.1109/TIP.2011.2181402), whitening as in phase correlation: Kuglin & Hines 1975 (Proc. IEEE Conf. Cybernetics and
Society).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import fft, ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rtslib.data.chips import Chip, ChipSet

COLUMNS = ("a", "b", "name_a", "name_b", "dy", "dx", "overlap_px", "correlation")
#: Weights of red, green and blue in luminance (ITU-R BT.601).
LUMINANCE = {"red": 0.299, "green": 0.587, "blue": 0.114}
#: Standard deviation of the Gaussian means, px.
SIGMA = 3.0
#: Least r of a pair.
LEAST_CORRELATION = 0.35
#: Least r sqrt(N) of a pair.
LEAST_EVIDENCE = 24.0
#: Most px a side of a chip in the search for shifts.
COARSE = 100
#: Least overlap that is searched, px of the chips as they are: a square of 32 px.
LEAST_OVERLAP = 1024
#: Least height of a peak, in standard deviations of unrelated chips.
LEAST_PEAK = 5.0
#: Least r sqrt(N) of reduced chips at their peak, to be looked at as they are.
LEAST_COARSE_EVIDENCE = 7.0
#: Chips of like shape that are compared with as many others at a time.
BLOCK = 64


class Texture(NamedTuple):
    """The texture T of a chip: float32 (H, W), 0 where invalid; and where it is valid: bool (H, W)."""

    values: np.ndarray
    valid: np.ndarray


def lookalikes(chipset: ChipSet, pairs: pd.DataFrame | None = None) -> dict[int, str]:
    """Put chips that show the same ground into one group; site groups that the data gives stay whole.

    Args:
        chipset: an opened data set; chips without labels count too.
        pairs: from `lookalike_pairs`, where they are known; None: they are looked for.

    Returns:
        Chip id -> group, such as `nitze-017`: the group (mostly a source) that the chip of lowest id has in the set,
        and a number that counts groups of that name by their lowest ids. A chip without look-alikes is one of its own.

    Raises:
        DataError: a chip cannot be read.
    """
    pairs = lookalike_pairs(chipset) if pairs is None else pairs
    chips = sorted(chipset.chips, key=lambda c: c.id)
    place = {c.id: i for i, c in enumerate(chips)}
    links = [(place[a], place[b]) for a, b in zip(pairs["a"].tolist(), pairs["b"].tolist())]
    if chipset.has_groups:
        first: dict[str, int] = {}
        links += [(first.setdefault(c.group, i), i) for i, c in enumerate(chips)]
    ends = np.array(links, dtype=int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(links)), (ends[0], ends[1])), shape=(len(chips), len(chips)))
    parts = connected_components(graph, directed=False)[1].tolist()
    names: dict[int, str] = {}
    count: dict[str, int] = {}
    for chip, part in zip(chips, parts):
        if part not in names:
            count[chip.group] = count.get(chip.group, -1) + 1
            names[part] = f"{chip.group}-{count[chip.group]:03d}"
    return {chip.id: names[part] for chip, part in zip(chips, parts)}


def with_groups(chipset: ChipSet, groups: Mapping[int, str]) -> ChipSet:
    """Return the data set with other groups; a chip that `groups` (chip id -> name) leaves out keeps its own."""
    return replace(chipset, chips=tuple(replace(c, group=groups.get(c.id, c.group)) for c in chipset.chips))


def lookalike_pairs(chipset: ChipSet) -> pd.DataFrame:
    """Find all pairs of chips that show the same ground.

    Time grows with the square of the number of chips: 756 chips of up to 297 px (285,390 pairs) take one thread a
    minute, and 0.8 GB. Runs on the CPU, and comes out the same each time.

    Args:
        chipset: an opened data set. Luminance of red, green and blue is compared where it has all three, else its first
            band; NaN is left out.

    Returns:
        One row a pair, by ids: `a`, `b` (chip ids, a < b), `name_a`, `name_b`, `dy`, `dx` (px: what pixel (y, x) of a
        shows is at (y + dy, x + dx) of b), `overlap_px` (valid in both), `correlation` (r of the module's text).

    Raises:
        DataError: a chip cannot be read.
    """
    chips = sorted(chipset.chips, key=lambda c: c.id)
    factor = -(-max(max(c.height, c.width) for c in chips) // COARSE)
    pictures = [_picture(chipset, c) for c in chips]
    small = [_reduced(p, factor) for p in pictures]
    contrast, coarse_contrast = _contrast(pictures), _contrast(small)
    coarse = [_texture(p, coarse_contrast) for p in small]
    fine = lru_cache(maxsize=4 * BLOCK)(lambda i: _texture(pictures[i], contrast))
    rows = []
    for i, j, dy, dx in _peaks(_whitened([t.values for t in coarse]), LEAST_OVERLAP / factor**2):
        if _evidence(*_correlation(coarse[i], coarse[j], dy, dx)) < LEAST_COARSE_EVIDENCE:
            continue
        r, n, dy, dx = _best(fine(i), fine(j), dy * factor, dx * factor, factor + 1)
        if r >= LEAST_CORRELATION and _evidence(r, n) >= LEAST_EVIDENCE:
            rows.append((chips[i].id, chips[j].id, chips[i].name, chips[j].name, dy, dx, n, r))
    return pd.DataFrame(sorted(rows), columns=list(COLUMNS))


def _picture(chipset: ChipSet, chip: Chip) -> np.ndarray:
    """Return float32 (H, W): luminance, or the first band."""
    bands = chipset.read(chip)
    if not set(LUMINANCE) <= set(chipset.bands):
        return bands[0].copy()
    weights = np.array(list(LUMINANCE.values()), dtype=np.float32)
    return np.tensordot(weights, bands[[chipset.bands.index(name) for name in LUMINANCE]], axes=1)


def _reduced(picture: np.ndarray, factor: int) -> np.ndarray:
    """Average cells of factor x factor px; one with NaN is NaN, and what is left over at the end is cut."""
    height, width = (max(n // factor, 1) for n in picture.shape)
    cells = picture[: height * factor, : width * factor]
    return cells.reshape(height, cells.shape[0] // height, width, cells.shape[1] // width).mean(axis=(1, 3))


def _high_pass(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return L - G L (0 where invalid), its local standard deviation, and bool valid, each (H, W); means skip NaN."""
    valid = np.isfinite(picture)
    weight = np.maximum(ndimage.gaussian_filter(valid.astype(np.float32), SIGMA), 1e-6)
    filled = np.where(valid, picture, 0)
    rest = np.where(valid, filled - ndimage.gaussian_filter(filled, SIGMA) / weight, 0)
    return rest, np.sqrt(np.maximum(ndimage.gaussian_filter(rest**2, SIGMA), 0) / weight), valid


def _contrast(pictures: Sequence[np.ndarray]) -> float:
    """Return m of the module's text; tiny where all is constant or nothing is valid."""
    local = np.concatenate([sd[valid] for _, sd, valid in map(_high_pass, pictures)])
    return max(float(np.median(local)), 1e-6) if local.size else 1e-6


def _texture(picture: np.ndarray, contrast: float) -> Texture:
    rest, sd, valid = _high_pass(picture)
    return Texture((rest / np.sqrt(sd**2 + (contrast / 2) ** 2)).astype(np.float32), valid)


def _fft_size(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return the (height, width) at which no shift between two of them wraps round."""
    height, width = (sum(max(t.shape[k] for t in part) for part in (first, second)) - 1 for k in (0, 1))
    return fft.next_fast_len(height, real=True), fft.next_fast_len(width, real=True)


def _whitened(textures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Divide textures by the mean amplitude spectrum of all, and scale each to mean square 1; constant ones are 0."""
    size = _fft_size(textures, textures)
    power = sum((np.abs(fft.rfft2(t, s=size)) ** 2 for t in textures), np.float32(0))
    amplitude = np.sqrt(power / len(textures))
    amplitude = np.maximum(amplitude + 0.02 * amplitude.mean(), 1e-6)  # frequencies that are hardly there stay low
    out = []
    for t in textures:
        white = fft.irfft2(fft.rfft2(t, s=size) / amplitude, s=size)[: t.shape[0], : t.shape[1]]
        energy = float((white**2).mean())
        out.append((white * (energy**-0.5 if energy > 1e-6 else 0.0)).astype(np.float32))
    return out


def _peaks(textures: Sequence[np.ndarray], least: float) -> Iterator[tuple[int, int, int, int]]:
    """Yield (i, j, dy, dx) for each pair i < j whose highest peak, where `least` px overlap, is `LEAST_PEAK` or more.

    Chips are taken in blocks of like shape, so that FFTs are no larger than the block needs.
    """
    order = sorted(range(len(textures)), key=lambda i: textures[i].shape)
    blocks = [order[k : k + BLOCK] for k in range(0, len(order), BLOCK)]
    weights = lru_cache(maxsize=4 * BLOCK)(_weights)
    for number, first in enumerate(blocks):
        for second in blocks[number:]:
            size = _fft_size([textures[i] for i in first], [textures[j] for j in second])
            ours, theirs = ({i: fft.rfft2(textures[i], s=size) for i in block} for block in (first, second))
            for i, j in ((i, j) for i in first for j in second if i < j or first is not second):
                a, b = textures[i].shape, textures[j].shape
                peaks = fft.irfft2(theirs[j] * ours[i].conj(), s=size) * weights(a, b, size, least)
                best = int(peaks.argmax())
                if peaks.flat[best] >= LEAST_PEAK:
                    dy, dx = (s - whole * (s >= n) for s, whole, n in zip(divmod(best, size[1]), size, b))
                    yield (i, j, dy, dx) if i < j else (j, i, -dy, -dx)


def _weights(a: tuple[int, int], b: tuple[int, int], size: tuple[int, int], least: float) -> np.ndarray:
    """Return 1 / sqrt(overlap in px) at each shift between chips of shapes a and b, float32 `size`; 0 below `least`."""
    along = []
    for ours, theirs, whole in zip(a, b, size):
        shift = np.arange(whole)
        shift -= whole * (shift >= theirs)
        along.append(np.maximum(np.minimum(ours, theirs - shift) - np.maximum(0, -shift), 0))
    overlap = along[0][:, None] * along[1]
    return np.where(overlap >= least, 1 / np.sqrt(np.maximum(overlap, 1)), 0).astype(np.float32)


def _correlation(a: Texture, b: Texture, dy: int, dx: int) -> tuple[float, int]:
    """Return r and the overlap in px of two textures at a shift; r is 0 without overlap or without texture in it."""
    (height, width), (high, wide) = a.values.shape, b.values.shape
    rows = slice(max(0, -dy), min(height, high - dy))
    cols = slice(max(0, -dx), min(width, wide - dx))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return 0.0, 0
    there = slice(rows.start + dy, rows.stop + dy), slice(cols.start + dx, cols.stop + dx)
    valid = a.valid[rows, cols] & b.valid[there]
    left, right = a.values[rows, cols] * valid, b.values[there] * valid
    energy = float((left**2).sum()) * float((right**2).sum())
    return (float((left * right).sum()) / energy**0.5 if energy > 1e-6 else 0.0), int(valid.sum())


def _evidence(r: float, n: int) -> float:
    return r * n**0.5


def _best(a: Texture, b: Texture, dy: int, dx: int, reach: int) -> tuple[float, int, int, int]:
    """Return r, overlap in px, dy and dx of the shift with most evidence within `reach` px of (dy, dx)."""
    around = range(-reach, reach + 1)
    found = [(*_correlation(a, b, dy + y, dx + x), dy + y, dx + x) for y in around for x in around]
    return max(found, key=lambda f: _evidence(*f[:2]))
