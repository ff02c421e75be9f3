"""Seams: joining what neighbouring windows saw of one slump, and keeping two slumps two.

A *piece* is one detection of one window: a bool mask cropped to its bounding box, with its place in the
scene. Nothing here is ever as large as the scene. Two windows that overlap have both judged their
*shared strip*; the *agreement* of two pieces is the IoU of their masks inside that strip. Pieces of one
slump agree there however little of it either window holds; touching neighbours do not, since each has its
own counterpart on the other side.

Pieces join greedily, the best pair first (agreement times the lower score), and not transitively: two
groups join only if all their pieces, taken together, agree wherever their windows overlap (sum of the
intersections over sum of the unions). Two pieces of one window count as seen together everywhere, so their
overlap is next to nothing and they hardly ever join: a chain A-B-C, where B overlaps both A and C, stays
two slumps, while a slump as long as three windows is one. A joined slump is the union of its masks.

Where slumps still overlap, the higher score keeps the pixels. One that loses more than half of its pixels
is a duplicate and goes; one that keeps them takes in what lies inside it, so that no small detection leaves a hole in
a large one, but only what it is nearly as sure as (`SWALLOW`): a weak blob over two sure slumps must not replace them.

Why not box NMS or clustering: see the seam reports on detectree2 (#226) and mmdetection (#12384).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from rasterio.windows import Window
from scipy import ndimage

from rtslib.data import masks

#: Two pieces are one slump if they agree (IoU in the shared strip) by more than this. Above one half the
#: partner is unique among masks that do not overlap (Kirillov et al. 2019, panoptic segmentation).
AGREEMENT = 0.5
#: Share of a slump inside a larger one from which it counts as part of that.
NESTED = 0.8
#: Share of the score of what lies inside that a larger one needs to take it in.
SWALLOW = 0.7

Rect = tuple[int, int, int, int]  # first row, first column, last row + 1, last column + 1; scene pixels


@dataclass(frozen=True, eq=False)
class Placed:
    """A mask with its place in the scene.

    Attributes:
        row, col: scene pixel of the mask's upper left corner.
        mask: bool (h, w), cropped to what it shows.
        score: 0-1; of a slump, the highest of its pieces.
        void: bool (modalities, h, w), where a modality has no valid pixel; None: nowhere, or not known.
        nodata: whether the mask meets pixels that no modality has.
    """

    row: int
    col: int
    mask: np.ndarray
    score: float
    void: np.ndarray | None = field(default=None, kw_only=True)
    nodata: bool = field(default=False, kw_only=True)

    @property
    def rect(self) -> Rect:
        """Bounding rectangle in scene pixels."""
        return self.row, self.col, self.row + self.mask.shape[0], self.col + self.mask.shape[1]


@dataclass(frozen=True, eq=False)
class Piece(Placed):
    """One detection of one window; `window` is that window's rectangle in scene pixels."""

    window: Rect


@dataclass(frozen=True, eq=False)
class Slump(Placed):
    """One slump of the scene; `windows` is the number of windows that it was seen in."""

    windows: int


def piece(mask: np.ndarray, score: float, window: Window, valid: Sequence[np.ndarray] = ()) -> Piece | None:
    """Crop a window's mask to its instance and place it in the scene.

    Args:
        mask: bool (window height, window width).
        score: 0-1.
        window: where the mask lies in the scene, whole pixels.
        valid: one a modality, bool of the mask's shape, where it has data; none: not known.

    Returns:
        The piece, or None if the mask is empty.
    """
    top, left = int(window.row_off), int(window.col_off)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    r, c = int(rows[0]), int(cols[0])
    cropped = mask[r : rows[-1] + 1, c : cols[-1] + 1].copy()
    rect = (top, left, top + int(window.height), left + int(window.width))
    missing = np.stack([~ok[r : rows[-1] + 1, c : cols[-1] + 1] for ok in valid]) & cropped if len(valid) else None
    around = np.s_[max(r - 1, 0) : rows[-1] + 2, max(c - 1, 0) : cols[-1] + 2]
    empty = ~np.logical_or.reduce([ok[around] for ok in valid]) if len(valid) else np.zeros(1, bool)
    nodata = bool(empty.any() and (ndimage.binary_dilation(mask[around], iterations=1) & empty).any())
    void = missing if missing is not None and missing.any() else None
    return Piece(top + r, left + c, cropped, float(score), rect, void=void, nodata=nodata)


def merge(pieces: Sequence[Piece], agreement: float = AGREEMENT, swallow: float = SWALLOW) -> tuple[list[Slump], int]:
    """Join the pieces of all windows into the slumps of the scene.

    Args:
        pieces: detections of all windows.
        agreement: IoU in the shared strip above which pieces are one slump, 0-1.
        swallow: share of a slump's score from which a larger one takes it in; 0: always, above 1: never.

    Returns:
        Slumps by decreasing score, no two sharing a pixel, and the number of duplicates dropped.
        Components of fewer than `masks.MIN_PIXELS` px are left out, as in the label rule.
    """
    slumps = [_union(group) for group in _groups(pieces, agreement)]
    slumps.sort(key=lambda s: (-s.score, s.row, s.col))
    return _share_pixels(slumps, swallow)


def _groups(pieces: Sequence[Piece], agreement: float) -> list[list[Piece]]:
    """Return the pieces in groups, one a slump."""
    group_of = list(range(len(pieces)))
    members = {i: [i] for i in group_of}
    for a, b in _pairs(pieces, agreement):
        ga, gb = group_of[a], group_of[b]
        if ga == gb:
            continue
        parts = [_overlap(pieces[i], pieces[j]) for i in members[ga] for j in members[gb]]
        both, either = (sum(n) for n in zip(*parts, strict=True))
        if both > agreement * either:
            for i in members[gb]:
                group_of[i] = ga
            members[ga] += members.pop(gb)
    return [[pieces[i] for i in m] for m in members.values()]


def _pairs(pieces: Sequence[Piece], agreement: float) -> list[tuple[int, int]]:
    """Return the pairs of pieces of different windows that agree, best first."""
    if not pieces:
        return []
    boxes = _boxes([p.rect for p in pieces])
    found = []
    for a, b in shapely.STRtree(boxes).query(boxes).T.tolist():
        if a < b and pieces[a].window != pieces[b].window:
            both, either = _overlap(pieces[a], pieces[b])
            if both > agreement * either:
                rank = both / either * min(pieces[a].score, pieces[b].score)
                found.append((-rank, a, b))
    return [(a, b) for _, a, b in sorted(found)]


def _overlap(a: Piece, b: Piece) -> tuple[int, int]:
    """Return intersection and union, px, of two pieces inside the area that both windows saw."""
    strip = _meet(a.window, b.window)
    if strip is None:
        return 0, 0
    in_a, in_b = _part(a, strip), _part(b, strip)
    common = _meet(a.rect, b.rect)  # both boxes lie in their windows, so this lies in the strip
    both = 0 if common is None else int((_part(a, common) & _part(b, common)).sum())
    return both, int(in_a.sum()) + int(in_b.sum()) - both


def _meet(a: Rect, b: Rect) -> Rect | None:
    """Return the common rectangle, or None."""
    r0, c0, r1, c1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (r0, c0, r1, c1) if r0 < r1 and c0 < c1 else None


def _part(p: Placed, rect: Rect) -> np.ndarray:
    """Return a view of the part of a mask that lies in `rect`; smaller than `rect` where the mask ends."""
    r0, c0 = max(rect[0] - p.row, 0), max(rect[1] - p.col, 0)
    return p.mask[r0 : max(rect[2] - p.row, 0), c0 : max(rect[3] - p.col, 0)]


def _union(group: list[Piece]) -> Slump:
    """Join the masks of one group."""
    r0, c0 = min(p.rect[0] for p in group), min(p.rect[1] for p in group)
    r1, c1 = max(p.rect[2] for p in group), max(p.rect[3] for p in group)
    mask = np.zeros((r1 - r0, c1 - c0), dtype=bool)
    voids = [p.void for p in group if p.void is not None]
    void = np.zeros((len(voids[0]), *mask.shape), dtype=bool) if voids else None
    for p in group:
        here = np.s_[p.row - r0 : p.rect[2] - r0, p.col - c0 : p.rect[3] - c0]
        mask[here] |= p.mask
        if p.void is not None:
            void[:, *here] |= p.void
    score, windows = max(p.score for p in group), len({p.window for p in group})
    return Slump(r0, c0, mask, score, windows, void=void, nodata=any(p.nodata for p in group))


def _share_pixels(slumps: list[Slump], swallow: float) -> tuple[list[Slump], int]:
    """Give every pixel to one slump; `slumps` come by decreasing score."""
    near = defaultdict(list)  # slump -> those of higher score whose boxes meet its own
    if slumps:
        boxes = _boxes([s.rect for s in slumps])
        for a, b in shapely.STRtree(boxes).query(boxes).T.tolist():
            if b < a:
                near[a].append(b)
    final: dict[int, Slump] = {}
    duplicates = 0
    for i, s in enumerate(slumps):
        better = {j: final[j] for j in sorted(near[i]) if j in final}
        if 2 * _without(s, better.values()).sum() < s.mask.sum():
            duplicates += 1
            continue
        weaker = [(j, t) for j, t in better.items() if s.score >= swallow * t.score]
        inside = [j for j, t in weaker if _common_pixels(s, t) >= NESTED * t.mask.sum()]
        for j in inside:
            del final[j], better[j]
            duplicates += 1
        parts, _ = masks.label_instances(_without(s, better.values()))
        if parts:
            final[i] = replace(s, mask=np.logical_or.reduce(parts))
    return list(final.values()), duplicates


def _without(s: Slump, others: Iterable[Slump]) -> np.ndarray:
    """Return the mask of `s`, bool (h, w), without the pixels of other slumps."""
    mask = s.mask.copy()
    for t in others:
        common = _meet(s.rect, t.rect)
        if common is not None:
            left = mask[common[0] - s.row : common[2] - s.row, common[1] - s.col : common[3] - s.col]
            left &= ~_part(t, common)
    return mask


def _common_pixels(s: Slump, t: Slump) -> int:
    """Count the pixels that two slumps share."""
    common = _meet(s.rect, t.rect)
    return 0 if common is None else int((_part(s, common) & _part(t, common)).sum())


def _boxes(rects: list[Rect]) -> np.ndarray:
    """Return the rectangles as shapely boxes (x = column, y = row)."""
    r0, c0, r1, c1 = np.array(rects).T
    return shapely.box(c0, r0, c1, r1)
