"""Copy-paste: slumps of one training chip on another, with all modalities and the ground they bring along.

A *patch* is one slump cut out of its chip (the *donor*) with a little of the ground around it, and an *alpha* in
[0, 1], the share of the patch in the result: 1 on the slump and `FULL` px around it, then falling to 0 over `SOFT` px
by the distance to the slump. All bands are blended with one alpha:

    result = (1 - alpha) target + alpha (patch + shift)

A patch keeps its own relief and contrast. The *shift*, one number a band, brings the ground around it to that of its
new place: the difference of the medians of target and patch over the *ring*, the pixels with 0 < alpha < 1 that are no
slump of the target. So a scar is as deep, and as much brighter than its surroundings, as it was; a strip of lake in the
ring does not tint it. What remains of a seam is how the grounds vary along the ring, so of `PLACES` random places that
one is taken where they agree best.

Nodata of the donor, and its other slumps, stay behind: there alpha is 0 and the label is cut, and a slump that would
lose more than `LITTLE` that way is not taken. Neither is one with less ground around it than alpha needs, as the
chip's edge would cut it straight. Nodata of the target stays nodata, in each band.

Source: Ghiasi et al. 2021 (arXiv 2012.07177), who paste random objects at random places, with no ground around them.
Added here: that ground, the shift and the choice of place. Patches are turned, and with them the sun of their shaded
relief, as `rtslib.data.augment` turns whole chips.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from rtslib.data.augment import resized, resized_masks, turned, zoom_factor
from rtslib.data.masks import MIN_PIXELS

#: Ground around a slump that comes along, px, and the width over which it fades.
FULL, SOFT = 2, 5
#: A pasted slump may lose, and an instance below may be covered by, at most this share.
LITTLE = 0.1
#: At most how many slumps are pasted; how many places are tried for each, and how many donors if none fits.
SLUMPS, PLACES, DONORS = 3, 16, 4


@dataclass(frozen=True)
class Patch:
    """One slump to paste: `pixels` float32 (B, h, w), finite; `mask` bool (h, w); `alpha` float32 (h, w)."""

    pixels: np.ndarray
    mask: np.ndarray
    alpha: np.ndarray

    @property
    def ring(self) -> np.ndarray:
        """Pixels where patch and target mix, bool (h, w)."""
        return (self.alpha > 0) & (self.alpha < 1)


def paste(
    pixels: np.ndarray, masks: np.ndarray, donors: Iterable[tuple[np.ndarray, np.ndarray]], limits: np.ndarray,
    scale_jitter: float, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Paste one to three slumps of another chip, each turned, flipped and resized on its own.

    Args:
        pixels: float32 (B, H, W) of the target, NaN = nodata; not written to.
        masks: bool (N, H, W) of the target; not written to.
        donors: pixels, float32 (B, H', W') of the same bands, and masks, bool (M, H', W'), of other chips; the first
            of them that has a slump which fits somewhere is the donor.
        limits: (B, 2), the least and the greatest value a band can have; shifted values are clipped to them.
        scale_jitter: of `rtslib.data.augment.zoom_factor`.
        rng: source of all choices.

    Returns:
        float32 (B, H, W) and bool (N', H, W): what is left of the target's instances, then the pasted ones; what was
        given, where no slump fits.
    """
    count, spread, before = int(rng.integers(1, SLUMPS + 1)), _spread(pixels), pixels
    for donor, donor_masks in donors:
        for k in rng.permutation(len(donor_masks)):
            patch = cut_out(donor, donor_masks, int(k), scale_jitter, rng)
            window = _place(pixels, masks, patch, spread, rng) if patch else None
            if window:
                pixels = pixels.copy() if pixels is before else pixels
                masks, count = _blend(pixels, masks, patch, window, limits), count - 1
            if not count:
                return pixels, masks
        if pixels is not before:
            break
    return pixels, masks


def cut_out(
    donor: np.ndarray, donor_masks: np.ndarray, k: int, scale_jitter: float, rng: np.random.Generator
) -> Patch | None:
    """Cut out slump `k` of a donor, turn, flip and resize it; None for one that is not taken (module docstring).

    Args:
        donor: float32 (B, H, W), NaN = nodata.
        donor_masks: bool (M, H, W).
        scale_jitter, rng: as for `paste`.
    """
    zoom = zoom_factor(scale_jitter, rng) if scale_jitter else 1.0
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    reach = int(np.ceil((FULL + SOFT) / zoom))
    window = []
    for length, axis in zip(donor.shape[1:], (1, 0)):
        seen = np.flatnonzero(donor_masks[k].any(axis))
        if not len(seen) or seen[0] < reach or seen[-1] + reach >= length:
            return None
        window.append(slice(seen[0] - reach, seen[-1] + 1 + reach))
    cut, every = donor[:, *window], donor_masks[:, *window]
    both = np.stack([every[k], every.sum(0) > every[k]])
    shape = (max(1, round(cut.shape[1] * zoom)), max(1, round(cut.shape[2] * zoom)))
    cut, (mask, others) = turned(resized(cut, shape), turns, flip), turned(resized_masks(both, shape), turns, flip)
    taken = np.isfinite(cut).all(0) & ~(others & ~mask)
    if _lessened(mask & taken, int(mask.sum())):
        return None
    return Patch(np.where(taken, cut, np.float32(0)), mask & taken, alpha_of(mask, taken))


def alpha_of(mask: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return the share of a patch in the result.

    Args:
        mask: bool (H, W), the slump; at least one pixel.
        taken: bool (H, W), pixels that may come along.

    Returns:
        float32 (H, W): 1 on the slump, 0 where nothing comes along, between them by distance.
    """
    alpha = _smooth((FULL + SOFT + 1 - ndimage.distance_transform_edt(~mask)) / (SOFT + 1))
    if not taken.all():
        alpha = alpha * _smooth(ndimage.distance_transform_edt(taken) / (SOFT + 1))
    alpha[mask] = 1
    return np.where(taken, alpha, 0).astype(np.float32)


def _smooth(x: np.ndarray) -> np.ndarray:
    """Rise from 0 at 0 to 1 at 1, level at both ends."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _place(
    pixels: np.ndarray, masks: np.ndarray, patch: Patch, spread: np.ndarray, rng: np.random.Generator
) -> tuple[slice, slice] | None:
    """Choose the rows and columns where a patch goes: of `PLACES` random ones, that where the grounds agree best.

    None where all of them are too small, covered by slumps or without data.
    """
    h, w = patch.mask.shape
    down, across = pixels.shape[1] - h, pixels.shape[2] - w
    over, areas, area = patch.alpha > 0.5, masks.sum((1, 2)), patch.mask.sum()
    finite, corners, has = np.isfinite(pixels), [], []
    for row, col in rng.integers(0, (down + 1, across + 1), (PLACES, 2)) if min(down, across) >= 0 else ():
        window = np.s_[row : row + h, col : col + w]
        covered, known = (masks[:, *window] & over).sum((1, 2)), finite[:, *window]
        little = (covered <= LITTLE * areas).all() and covered.sum() <= LITTLE * area
        if little and not _lessened(patch.mask & known.any(0), area):
            corners.append((row, col))
            has.append(known.any((1, 2)))
    if not corners:
        return None
    misfit = _misfit(pixels, np.asarray(masks.any(0)), patch, np.array(corners), np.array(has), spread)
    if not np.isfinite(misfit).any():
        return None
    row, col = corners[int(misfit.argmin())]
    return slice(row, row + h), slice(col, col + w)


def _lessened(mask: np.ndarray, area: int) -> bool:
    """Tell whether a slump of `area` px has lost too much of itself."""
    return bool(mask.sum() < max(MIN_PIXELS, (1 - LITTLE) * area))


def _misfit(
    pixels: np.ndarray, slumps: np.ndarray, patch: Patch, corners: np.ndarray, has: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Return how much the ground of places differs from that of a patch before it is shifted.

    Summed are, by band and in units of `spread`: the mean square of the differences on the ring, which is what the
    shift will be and what of the seam it leaves; and twice the square of the difference of standard deviations, as by
    the first alone the smoothest place, a lake, would do for any ground. Their mean over bands counts.

    Args:
        pixels: float32 (B, H, W) of the target, NaN = nodata.
        slumps: bool (H, W), any instance of the target; the ring leaves them out.
        patch: what is to be pasted.
        corners: int (P, 2), row and column of the upper left corner of each place.
        has: bool (P, B), whether a place has a band at all; at least one of them.
        spread: float (B,), positive.

    Returns:
        float (P,), 0 or more; infinite where a band that the place has is valid on too few pixels of the ring.
    """
    ring = patch.ring
    rows, cols = (corners[:, axis, None] + at for axis, at in enumerate(np.nonzero(ring)))
    target, mine = pixels[:, rows, cols], patch.pixels[:, ring][:, None]
    valid = np.isfinite(target) & ~slumps[rows, cols]
    differs = _moments((target - mine) ** 2, valid)[0]
    rougher = _moments(target, valid)[1] - _moments(np.broadcast_to(mine, target.shape), valid)[1]
    misfit = ((differs + 2 * rougher**2) / spread[:, None] ** 2).T.mean(1, where=has)
    misfit[((valid.sum(2).T < MIN_PIXELS) & has).any(1)] = np.inf
    return misfit


def _moments(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation along the last axis, where valid; 0 where nothing is."""
    count = np.maximum(valid.sum(-1), 1)
    mean = (np.where(valid, values, 0).sum(-1) / count).astype(values.dtype)
    squares = np.where(valid, values - mean[..., None], 0) ** 2
    return mean, np.sqrt(squares.sum(-1) / count)


def _shift(there: np.ndarray, under: np.ndarray, patch: Patch) -> np.ndarray:
    """Return what brings a patch to the ground around it, float32 (B,): the difference of medians over the ring."""
    ring = patch.ring & ~under.any(0)
    target, mine = there[:, ring], patch.pixels[:, ring]
    valid = np.isfinite(target)
    return _medians(target, valid) - _medians(mine, valid)


def _medians(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the median of the valid of some values, float32 (B, n), by band; 0 where none is."""
    count = valid.sum(1, keepdims=True)
    ordered = np.sort(np.where(valid, values, np.inf), axis=1)
    middle = np.take_along_axis(ordered, np.maximum(np.hstack([count - 1, count]) // 2, 0), axis=1)
    return np.where(count[:, 0] > 0, middle.mean(1), 0).astype(np.float32)


def _blend(
    pixels: np.ndarray, masks: np.ndarray, patch: Patch, window: tuple[slice, slice], limits: np.ndarray
) -> np.ndarray:
    """Paste a patch into `pixels`, in place, and return the instances, bool (N, H, W), with the new one at the end."""
    there, alpha = pixels[:, *window], patch.alpha
    shift = _shift(there, masks[:, *window], patch)
    new = np.zeros(pixels.shape[1:], dtype=bool)
    new[window] = patch.mask & np.isfinite(there).any(0)
    low, high = limits.T.astype(np.float32)[:, :, None, None]
    there[:] = (1 - alpha) * there + alpha * np.clip(patch.pixels + shift[:, None, None], low, high)
    left = masks.copy()
    left[:, *window] &= alpha <= 0.5
    kept = (left.sum((1, 2)) >= MIN_PIXELS) | (left == masks).all((1, 2))
    return np.concatenate([left[kept], new[None]])


def _spread(pixels: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each band over every fourth row and column; 1 where that tells nothing."""
    some = pixels[:, ::4, ::4].reshape(len(pixels), -1)
    spread = _moments(some, np.isfinite(some))[1]
    return np.where(spread > 0, spread, 1)
