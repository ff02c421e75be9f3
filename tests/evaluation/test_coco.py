"""Scores against cases computed by hand."""

import json

import numpy as np
import pytest

from rtslib.data.masks import encode
from rtslib.errors import DataError
from rtslib.evaluation.coco import METRICS, as_text, evaluate, pr_curve

H, W = 100, 100
EMPTY = np.zeros((H, W), dtype=bool)


def rect(y: int, x: int, h: int, w: int) -> np.ndarray:
    mask = EMPTY.copy()
    mask[y : y + h, x : x + w] = True
    return mask


def truth(*chips: list[np.ndarray]) -> dict:
    """Ground truth with one list of masks a chip, ids 1, 2 ...; the file's `area` and `bbox` are nonsense."""
    images = [{"id": i, "height": H, "width": W} for i in range(1, len(chips) + 1)]
    pairs = [(i, mask) for i, masks in enumerate(chips, start=1) for mask in masks]
    annotations = [
        {"id": n, "image_id": i, "category_id": 1, "segmentation": encode(m), "area": 1, "bbox": [0, 0, 1, 1]}
        for n, (i, m) in enumerate(pairs)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "rts"}]}


def result(chip: int, mask: np.ndarray, score: float) -> dict:
    return {"image_id": chip, "category_id": 1, "segmentation": encode(mask), "score": score}


def test_perfect_predictions_score_one_in_every_size():
    masks = [rect(0, 0, 10, 10), rect(20, 0, 20, 50), rect(50, 0, 50, 100)]  # 100, 1000, 5000 px
    gt = truth(masks, [])
    scores = evaluate(gt, [result(1, mask, 0.9 - 0.1 * i) for i, mask in enumerate(masks)])
    for kind in ("segm", "bbox"):
        assert tuple(scores[kind]) == METRICS
        assert scores[kind] == {m: pytest.approx(1.0) for m in METRICS}
    assert (scores["chips"], scores["instances"]) == (2, 3)
    assert json.loads(json.dumps(scores)) == scores


def test_a_hit_below_a_false_positive_has_half_precision_at_every_recall():
    gt = truth([rect(0, 0, 20, 20)])
    results = [result(1, rect(60, 60, 20, 20), 0.9), result(1, rect(0, 0, 20, 20), 0.4)]
    scores = evaluate(gt, results)["segm"]
    assert scores["AP50"] == pytest.approx(0.5) and scores["AP"] == pytest.approx(0.5)
    assert scores["AR"] == pytest.approx(1.0)


def test_a_missed_instance_caps_recall_at_half():
    gt = truth([rect(0, 0, 20, 20)], [rect(0, 0, 20, 20)])
    scores = evaluate(gt, [result(1, rect(0, 0, 20, 20), 0.9)])["segm"]
    # precision 1 at the 51 recalls 0, 0.01 ... 0.50, then 0
    assert scores["AP50"] == pytest.approx(51 / 101)
    assert scores["AR"] == pytest.approx(0.5)


def test_a_false_positive_between_two_hits():
    gt = truth([rect(0, 0, 20, 20)], [rect(0, 0, 20, 20)])
    results = [
        result(1, rect(0, 0, 20, 20), 0.9),
        result(2, rect(60, 60, 20, 20), 0.8),
        result(2, rect(0, 0, 20, 20), 0.7),
    ]
    # precision 1 up to recall 0.5 (51 samples), then 2/3 (50 samples)
    assert evaluate(gt, results)["segm"]["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_second_prediction_of_one_instance_is_a_false_positive():
    gt = truth([rect(0, 0, 20, 20)], [rect(0, 0, 20, 20)])
    hit = rect(0, 0, 20, 20)
    results = [result(1, hit, 0.9), result(1, hit, 0.8), result(2, hit, 0.7)]
    assert evaluate(gt, results)["segm"]["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize(("rows", "passed"), [(50, 1), (55, 2), (70, 5), (74, 5), (75, 6), (49, 0), (90, 9)])
def test_iou_at_a_threshold_counts_as_a_match(rows, passed):
    # a prediction inside the instance: IoU = rows / 100 exactly, for masks and for boxes
    scores = evaluate(truth([rect(0, 0, 100, 10)]), [result(1, rect(0, 0, rows, 10), 0.5)])
    for kind in ("segm", "bbox"):
        assert scores[kind]["AP"] == pytest.approx(passed / 10)
        assert scores[kind]["AR"] == pytest.approx(passed / 10)
        assert scores[kind]["AP50"] == pytest.approx(float(rows >= 50))
        assert scores[kind]["AP75"] == pytest.approx(float(rows >= 75))


def test_sizes_are_mask_pixels_not_boxes_nor_the_files_area():
    # a thin L: box 100 x 100 = 10,000 px, mask 199 px, so it is small for boxes too
    thin = rect(0, 0, 100, 1) | rect(99, 0, 1, 100)
    scores = evaluate(truth([thin]), [result(1, thin, 0.5)])
    for kind in ("segm", "bbox"):
        assert scores[kind]["AP_small"] == pytest.approx(1.0)
        assert scores[kind]["AP_medium"] is None and scores[kind]["AP_large"] is None


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((10, 29), {"AP_small"}),
        ((10, 30), {"AP_small", "AP_medium"}),  # COCOeval's ranges hold both ends: 300 px is in two
        ((7, 43), {"AP_medium"}),
        ((20, 100), {"AP_medium", "AP_large"}),
        ((23, 87), {"AP_large"}),
    ],
)
def test_size_ranges(shape, sizes):
    mask = rect(0, 0, *shape)
    scores = evaluate(truth([mask]), [result(1, mask, 0.5)])["segm"]
    defined = {m for m in ("AP_small", "AP_medium", "AP_large") if scores[m] is not None}
    assert defined == sizes


def test_unmatched_predictions_of_another_size_do_not_count():
    small = rect(0, 0, 10, 10)
    results = [result(1, rect(40, 0, 60, 100), 0.9), result(1, small, 0.5)]
    scores = evaluate(truth([small]), results)["segm"]
    assert scores["AP50"] == pytest.approx(0.5)
    assert scores["AP_small"] == pytest.approx(1.0)


@pytest.mark.parametrize(("place", "ap"), [(9, 1 / 10), (10, 0.0)])
def test_only_the_ten_best_of_a_chip_count(place, ap):
    wrong = [result(1, rect(50, 4 * i, 5, 3), 0.9 - i / 100) for i in range(place)]
    hit = [result(1, rect(0, 0, 20, 20), 0.1)]
    scores = evaluate(truth([rect(0, 0, 20, 20)]), wrong + hit)["segm"]
    assert scores["AP50"] == pytest.approx(ap)
    assert scores["AR"] == pytest.approx(float(place < 10))


def test_masks_and_boxes_differ():
    solid, frame = rect(0, 0, 40, 40), rect(0, 0, 40, 40) & ~rect(5, 5, 30, 30)
    scores = evaluate(truth([solid]), [result(1, frame, 0.5)])
    assert scores["segm"]["AP50"] == 0.0 and scores["bbox"]["AP"] == pytest.approx(1.0)


def test_no_predictions_score_zero():
    scores = evaluate(truth([rect(0, 0, 10, 10)], []), [])
    for kind in ("segm", "bbox"):
        assert scores[kind] == dict.fromkeys(METRICS, 0.0) | {"AP_medium": None, "AP_large": None}


@pytest.mark.parametrize("results", [[], [result(1, rect(0, 0, 9, 9), 0.5)]])
@pytest.mark.parametrize("chips", [[[], []], [[]]])
def test_no_instances_leave_every_score_undefined(chips, results):
    scores = evaluate(truth(*chips), results)
    assert scores["segm"] == scores["bbox"] == dict.fromkeys(METRICS)
    assert (scores["chips"], scores["instances"]) == (len(chips), 0)


def test_no_chips():
    assert evaluate(truth(), [])["segm"] == dict.fromkeys(METRICS)


def test_an_empty_predicted_mask_is_a_false_positive():
    results = [result(1, EMPTY, 0.9), result(1, rect(0, 0, 20, 20), 0.4)]
    scores = evaluate(truth([rect(0, 0, 20, 20)]), results)
    assert scores["segm"]["AP50"] == scores["bbox"]["AP50"] == pytest.approx(0.5)


def test_empty_runs_in_an_rle_do_not_stop_the_overlap():
    # 50 + 0 + 50 background px, then 100 foreground: the second columns of both are the same mask
    mask = rect(0, 1, 100, 1)
    split = {"size": [H, W], "counts": counts([50, 0, 50, 100, 9800])}
    gt = truth([mask])
    gt["annotations"][0]["segmentation"] = split
    scores = evaluate(gt, [{**result(1, mask, 0.5), "segmentation": split}])
    assert scores["segm"]["AP"] == pytest.approx(1.0)


def counts(runs: list[int]) -> str:
    """Encode run lengths as pycocotools' rleToString does."""
    out = ""
    for i, run in enumerate(runs):
        x, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            out += chr(c + (0x20 if more else 0) + 48)
    return out


def test_inputs_are_left_alone_and_nothing_is_printed(capsys):
    gt, results = truth([rect(0, 0, 10, 10)]), [result(1, rect(0, 0, 10, 10), 0.5)]
    before = json.dumps([gt, results])
    assert evaluate(gt, results) == evaluate(gt, results)
    assert json.dumps([gt, results]) == before
    assert capsys.readouterr() == ("", "")


def test_pr_curve_of_a_false_positive_between_two_hits():
    gt = truth([rect(0, 0, 20, 20)], [rect(0, 0, 20, 20)])
    results = [
        result(1, rect(0, 0, 20, 20), 0.9),
        result(2, rect(60, 60, 20, 20), 0.8),
        result(2, rect(0, 0, 14, 20), 0.7),  # IoU 0.7
    ]
    recall, precision = pr_curve(gt, results)
    assert recall.shape == precision.shape == (101,)
    assert np.allclose(recall, np.linspace(0, 1, 101))
    assert np.allclose(precision, np.where(recall <= 0.5, 1, 2 / 3))
    assert np.allclose(pr_curve(gt, results, iou=0.75)[1], np.where(recall <= 0.5, 1, 0))
    assert np.isnan(pr_curve(truth([]), [])[1]).all()
    with pytest.raises(ValueError, match="0.55"):
        pr_curve(gt, results, iou=0.52)


def test_text_shows_per_cent_and_undefined_scores():
    gt = truth([rect(0, 0, 20, 20)], [rect(0, 0, 20, 20)])
    head, masks, boxes, counted = as_text(evaluate(gt, [result(1, rect(0, 0, 20, 20), 0.9)])).splitlines()
    assert head.split() == list(METRICS)
    values = ["50.5%", "50.5%", "50.5%", "-", "50.5%", "-", "50.0%"]  # 51 / 101; 400 px are medium
    assert masks.replace(" %", "%").split() == ["masks", *values]
    assert boxes.split()[1:] == masks.split()[1:]
    assert counted.startswith("2 chips, 2 instances")


GOOD = result(1, rect(0, 0, 10, 10), 0.5)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**GOOD, "image_id": 99}, "image_id 99"),
        ({**GOOD, "category_id": 2}, "category_id 2"),
        ({**GOOD, "segmentation": encode(np.zeros((50, 100), dtype=bool))}, r"RLE size \[50, 100\]"),
        ({**GOOD, "segmentation": {"size": [H, W], "counts": "T3"}}, "RLE runs over 100 px"),
        ({**GOOD, "score": float("nan")}, "score nan"),
        ({"image_id": 1}, "no category_id"),
        (7, "found 7"),
    ],
)
def test_bad_predictions_are_named_by_index(entry, message):
    with pytest.raises(DataError, match=rf"predictions, entry 2: .*{message}.*, expected"):
        evaluate(truth([rect(0, 0, 10, 10)]), [GOOD, GOOD, entry])


def test_bad_ground_truth_is_named_by_index():
    gt = truth([rect(0, 0, 10, 10), rect(30, 0, 10, 10)])
    gt["annotations"][1]["segmentation"]["size"] = [W, H + 1]
    with pytest.raises(DataError, match="ground truth, annotation 1: found RLE size"):
        evaluate(gt, [])
    gt["annotations"][1]["image_id"] = 5
    with pytest.raises(DataError, match="annotation 1: found image_id 5"):
        evaluate(gt, [])
