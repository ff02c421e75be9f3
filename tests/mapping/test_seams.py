"""Known shapes cut by windows: one slump stays one polygon, two stay two, and nothing melts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window
from scipy import ndimage

from helpers.rasters import cover
from rtslib.mapping.seams import merge, piece


def scene_of(shape, *rects):
    """Label raster (int): 1, 2, ... inside the rectangles (r0, c0, r1, c1)."""
    labels = np.zeros(shape, dtype=int)
    for k, (r0, c0, r1, c1) in enumerate(rects, 1):
        labels[r0:r1, c0:c1] = k
    return labels


def pieces_of(labels, window, overlap, score=lambda k, w: 0.9):
    """What a faultless model would say: each labelled slump, cut by each window."""
    found = []
    for w in cover(*labels.shape, window, overlap):
        seen = labels[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]
        found += [piece(seen == k, score(int(k), w), w) for k in np.unique(seen[seen > 0])]
    return found


def painted(slumps, shape):
    out = np.zeros(shape, dtype=int)
    for k, s in enumerate(slumps, 1):
        r0, c0, r1, c1 = s.rect
        assert not out[r0:r1, c0:c1][s.mask].any(), "two slumps share a pixel"
        out[r0:r1, c0:c1][s.mask] = k
    return out


@pytest.mark.parametrize(
    ("rect", "windows"),
    [
        ((10, 20, 30, 60), 2),  # across one seam
        ((25, 25, 50, 60), 4),  # across a corner
        ((10, 5, 20, 155), 5),  # as long as three windows and more
        ((2, 2, 12, 12), 1),
    ],
)
def test_one_slump_is_one_whatever_the_windows(rect, windows):
    labels = scene_of((100, 160), rect)
    (slump,), duplicates = merge(pieces_of(labels, 48, 16))
    assert duplicates == 0 and slump.windows == windows
    assert (painted([slump], labels.shape) == labels).all()
    assert slump.mask.shape == (rect[2] - rect[0], rect[3] - rect[1])


def test_two_touching_neighbours_across_a_seam_stay_two():
    labels = scene_of((48, 90), (10, 20, 20, 70), (20, 20, 30, 70))
    slumps, duplicates = merge(pieces_of(labels, 48, 16, score=lambda k, w: 1 - 0.1 * k))
    assert duplicates == 0 and [s.windows for s in slumps] == [3, 3]
    assert (painted(slumps, labels.shape) == labels).all()


def test_neighbours_side_by_side_with_the_border_in_the_strip_stay_two():
    labels = scene_of((48, 90), (10, 20, 30, 40), (10, 40, 30, 60))
    slumps, _ = merge(pieces_of(labels, 48, 16, score=lambda k, w: 1 - 0.1 * k))
    assert (painted(slumps, labels.shape) == labels).all()


def test_a_chain_does_not_melt_into_one():
    """A and C of one window, B of the next overlapping both: B joins one of them at most."""
    left, right = Window(0, 0, 40, 60), Window(20, 0, 40, 60)
    a, b, c = (np.zeros((60, 40), dtype=bool) for _ in range(3))
    a[0:20, 20:40] = True
    c[20:40, 20:40] = True
    b[0:30, 0:20] = True  # in the scene: columns 20-40, rows 0-30, two thirds A and one third C
    slumps, _ = merge([piece(a, 0.9, left), piece(b, 0.8, right), piece(c, 0.7, left)])
    assert len(slumps) == 2
    assert [s.score for s in slumps] == [0.9, 0.7] and [s.windows for s in slumps] == [2, 1]
    assert slumps[0].mask.sum() == 600 and slumps[1].mask.sum() == 200
    painted(slumps, (60, 60))


def test_a_chain_over_three_windows_that_see_the_same_ground_does_not_melt():
    """Detections shifted by a quarter of their length: neighbours agree at 0.6, the ends at 0.3 only."""
    wins = [Window(0, 0, 100 + i, 40) for i in range(3)]
    masks = [np.zeros((40, int(w.width)), dtype=bool) for w in wins]
    for i, m in enumerate(masks):
        m[10:20, 10 + 8 * i : 42 + 8 * i] = True
    slumps, _ = merge([piece(m, 0.9 - 0.1 * i, w) for i, (m, w) in enumerate(zip(masks, wins, strict=True))])
    assert len(slumps) >= 1 and slumps[0].windows == 2
    assert slumps[0].mask.sum() == 400  # A and B only
    painted(slumps, (40, 100))


def test_pieces_that_disagree_in_the_strip_stay_apart_and_a_copy_is_a_duplicate():
    first, second = Window(0, 0, 50, 50), Window(10, 0, 50, 50)
    m = np.zeros((50, 50), dtype=bool)
    m[10:20, 20:30] = True
    inner = np.zeros_like(m)
    inner[12:16, 11:16] = True  # scene columns 21-26: inside the first one, agreement 0.2
    slumps, duplicates = merge([piece(m, 0.9, first), piece(inner, 0.5, second)])
    assert duplicates == 1 and len(slumps) == 1 and slumps[0].mask.sum() == 100


def test_a_bad_view_of_one_window_does_not_break_a_slump_seen_by_two_others():
    """A third of the strip missed at a border still agrees."""
    a, b = np.zeros((40, 60), dtype=bool), np.zeros((40, 60), dtype=bool)
    a[10:20, 30:60] = True
    b[10:20, 7:50] = True  # scene columns 47-90; the strip is 40-60
    (s,), _ = merge([piece(a, 0.6, Window(0, 0, 60, 40)), piece(b, 0.9, Window(40, 0, 60, 40))])
    assert s.score == 0.9 and s.rect == (10, 30, 20, 90) and s.mask.all()


def test_one_window_that_melts_two_neighbours_does_not_win():
    """B covers A and C, which a better view tells apart: it agrees by one half with either, and goes."""
    a, b, c = (np.zeros((40, 40), dtype=bool) for _ in range(3))
    a[10:20, 10:20], c[20:30, 10:20], b[10:30, 5:15] = True, True, True
    first, second = Window(0, 0, 40, 40), Window(5, 0, 40, 40)
    slumps, duplicates = merge([piece(a, 0.9, first), piece(b, 0.7, second), piece(c, 0.8, first)])
    assert duplicates == 1 and [s.mask.sum() for s in slumps] == [100, 100]


def test_a_sure_detection_inside_a_large_one_leaves_no_hole():
    large, small = np.zeros((40, 40), dtype=bool), np.zeros((40, 40), dtype=bool)
    large[5:35, 5:35], small[10:16, 10:16] = True, True
    w = Window(0, 0, 40, 40)
    (s,), duplicates = merge([piece(small, 0.8, w), piece(large, 0.6, w)])
    assert duplicates == 1 and s.score == 0.6 and s.mask.all() and s.mask.shape == (30, 30)
    two, duplicates = merge([piece(small, 0.95, w), piece(large, 0.3, w)])  # much less sure: it keeps what is left
    assert duplicates == 0 and [t.mask.sum() for t in two] == [36, 900 - 36]


def blocks(*rects, shape=(60, 120)):
    out = []
    for r0, c0, r1, c1 in rects:
        mask = np.zeros(shape, dtype=bool)
        mask[r0:r1, c0:c1] = True
        out.append(mask)
    return out


def test_a_weak_blob_over_two_sure_slumps_does_not_replace_them():
    """They fill most of it, so it is a duplicate; before, it took both in."""
    one, two, blob = blocks((10, 10, 30, 30), (10, 32, 30, 52), (8, 8, 32, 54))
    w = Window(0, 0, 120, 60)
    slumps, duplicates = merge([piece(one, 0.95, w), piece(two, 0.93, w), piece(blob, 0.31, w)])
    assert duplicates == 1 and [(s.score, s.mask.sum()) for s in slumps] == [(0.95, 400), (0.93, 400)]


def test_nor_over_three_in_a_row_of_which_it_is_surer_than_one():
    """Sparse in the blob, which keeps most of its pixels: it stays, with holes, and takes in the unsure one."""
    a, b, c, blob = blocks((10, 10, 20, 20), (10, 50, 20, 60), (10, 90, 20, 100), (2, 2, 40, 110))
    w = Window(0, 0, 120, 60)
    slumps, duplicates = merge([piece(a, 0.9, w), piece(b, 0.42, w), piece(c, 0.88, w), piece(blob, 0.4, w)])
    assert duplicates == 1 and [s.score for s in slumps] == [0.9, 0.88, 0.4]
    assert slumps[2].mask.sum() == 38 * 108 - 200


def test_of_equal_scores_the_large_one_takes_in_the_small():
    small, large = blocks((20, 20, 26, 26), (10, 10, 40, 40))
    w = Window(0, 0, 120, 60)
    for order in ([small, large], [large, small]):
        slumps, duplicates = merge([piece(m, 0.7, w) for m in order])
        assert duplicates == 1 and [s.mask.sum() for s in slumps] == [900]


def test_a_weak_blob_across_a_seam_does_not_replace_what_either_window_is_sure_of():
    """Each window sees one slump whole and surely, and the blob over both, cut at its own edge."""
    left, right = Window(0, 0, 80, 60), Window(40, 0, 80, 60)
    one, two = blocks((10, 20, 30, 38), (10, 82, 30, 100))
    blob = blocks((8, 18, 32, 104))[0]
    pieces = [piece(one[:, :80], 0.95, left), piece(two[:, 40:], 0.93, right),
              piece(blob[:, :80], 0.31, left), piece(blob[:, 40:], 0.35, right)]  # fmt: skip
    slumps, _ = merge(pieces)
    sure = [(s.score, s.mask.sum()) for s in slumps[:2]]
    assert sure == [(0.95, 360), (0.93, 360)]
    assert [s.score for s in slumps[2:]] == [0.35]  # the blob, joined across the seam, keeps what is left of it


def test_small_components_go_by_the_label_rule_and_nothing_gives_nothing():
    m = np.zeros((30, 30), dtype=bool)
    m[0:3, 0:3] = True
    assert merge([piece(m, 0.9, Window(0, 0, 30, 30))]) == ([], 0)
    assert merge([]) == ([], 0)
    assert piece(np.zeros((5, 5), dtype=bool), 0.9, Window(0, 0, 5, 5)) is None


def test_a_hole_survives_the_seam():
    m = scene_of((48, 90), (10, 10, 40, 80))
    m[20:30, 30:60] = 0
    (slump,), _ = merge(pieces_of(m, 48, 16))
    assert (painted([slump], m.shape) == m).all() and not slump.mask[10:20, 20:50].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(24, 64), st.integers(8, 20))
def test_any_windows_give_back_the_same_blobs(seed, window, overlap):
    """Blobs wider apart than nothing at all, cut and joined again, are the blobs."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 110)), 5)
    labels, _ = ndimage.label(noise > np.quantile(noise, 0.8), structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    labels[np.isin(labels, np.flatnonzero(sizes < 10))] = 0
    slumps, duplicates = merge(pieces_of(labels, window, overlap))
    got = painted(slumps, labels.shape)
    assert duplicates == 0 and len(slumps) == len(np.unique(labels)) - 1
    assert len(set(zip(got.ravel(), labels.ravel(), strict=True))) == len(np.unique(labels))
