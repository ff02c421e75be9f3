"""The ledger: what was right, what was wrong, what was missed, and how large it was."""

import numpy as np

from helpers.scored import case
from rtslib.data.masks import encode
from rtslib.evaluation.ledger import TYPES, judged, ledger


def square(x, side):
    mask = np.zeros((32, 64), bool)
    mask[2 : 2 + side, x : x + side] = True
    return encode(mask)


def test_right_wrong_and_missed_with_their_sizes():
    images = [{"id": i, "height": 32, "width": 64} for i in (1, 2, 3)]
    truth = [(1, 0, 10), (1, 20, 10), (2, 40, 5)]
    gt = {"images": images, "annotations": [
        {"id": k + 1, "image_id": i, "category_id": 1, "segmentation": square(x, side)}
        for k, (i, x, side) in enumerate(truth)]}  # fmt: skip
    found = [(1, 0, 9, 0.8), (1, 1, 10, 0.9), (3, 5, 4, 0.3)]
    results = [{"image_id": i, "category_id": 1, "segmentation": square(x, s), "score": p} for i, x, s, p in found]
    rows = ledger(gt, results, {1: "a", 2: "b", 3: "c"})
    assert tuple(rows) == tuple(TYPES)
    by_score = rows[rows["score"].notna()].sort_values("score")
    assert by_score[["chip", "group", "score", "right", "area_px"]].values.tolist() == [
        [3, "c", 0.3, False, 16.0], [1, "a", 0.8, False, 81.0], [1, "a", 0.9, True, 100.0]]  # fmt: skip
    assert by_score["truth_px"].fillna(-1).tolist() == [-1, -1, 100.0]
    missed = rows[rows["score"].isna()]
    assert missed[["chip", "group", "right", "truth_px"]].values.tolist() == [
        [1, "a", False, 100.0],
        [2, "b", False, 25.0],
    ]
    assert missed["area_px"].isna().all()


def test_nothing_found_and_nothing_there():
    gt = {"images": [{"id": 1, "height": 32, "width": 64}], "annotations": []}
    assert len(ledger(gt, [], {1: "a"})) == 0


def test_right_is_matched_at_half():
    scores, right = judged(*case([0.9, 0.6], [0.7], 2))
    assert sorted(zip(scores, right)) == [(0.6, True), (0.7, False), (0.9, True)]
