"""Evaluation: average precision of instance masks and boxes, as the challenge scores it.

*AP* is COCO's: the area under the precision-recall curve, sampled at 101 recalls (0, 0.01 ... 1), at most
10 predictions a chip, averaged over the IoU thresholds 0.50, 0.55 ... 0.95; *AP50* and *AP75* are those at
one threshold. *AP_small*, *AP_medium* and *AP_large* count only instances of up to 300, 300 to 2,000 and
over 2,000 px; predictions matched to other instances, and unmatched ones of another size, are left out of
them. *AR* is the recall with at most 10 predictions a chip, averaged over the same thresholds.

An instance's *area* is its mask's pixel count and its box is the mask's box, for truth and predictions
alike: the `area` in some annotation files is the box's, and is not read.

Sources: Lin et al. 2014 (COCO) and pycocotools `COCOeval`, which does the matching; area ranges and
maxDets 1/5/10: 2026 GeoAI Arctic Challenge, evaluation page. `COCOeval.summarize` is not used: it looks
for maxDets 100 and answers -1 without it.
"""

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtslib.data.chips import CATEGORY
from rtslib.errors import DataError
from rtslib.evaluation.submission import breaches, rle_fault

#: Upper bounds on predictions a chip; scores are read at the last one.
MAX_DETS = [1, 5, 10]
#: Names and ranges of instance area, px, both ends included (as COCOeval has it).
AREAS = {"all": [0, 1e10], "small": [0, 300], "medium": [300, 2000], "large": [2000, 1e10]}
#: Scores of one kind of outline, in the order of `evaluate`.
METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR")


def evaluate(gt: dict, results: list[dict]) -> dict[str, Any]:
    """Score predictions against instances.

    Args:
        gt: COCO ground truth with compressed RLE (`ChipSet.coco`). Every chip in it counts, with
            predictions or without.
        results: COCO results on these chips (`predict`), any number a chip; only the 10 best of a chip count.

    Returns:
        `{"segm": scores, "bbox": scores, "chips": int, "instances": int}`, scores being `METRICS` -> fraction
        0-1, or None where it is undefined because no instance has that size.

    Raises:
        DataError: a result on an unknown chip, of an unknown category, with a mask that does not fit its
            chip or a score outside 0-1: names the index of the entry; or an annotation likewise.
    """
    truth, found = _coco_pair(gt, results)
    scores = {kind: _scores(_run(truth, found, kind)) for kind in ("segm", "bbox")}
    return {**scores, "chips": len(truth.imgs), "instances": len(truth.anns)}


def pr_curve(gt: dict, results: list[dict], iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return the precision-recall curve of masks behind `AP50` (or another threshold), for figures.

    Args:
        gt, results: as for `evaluate`.
        iou: one of 0.50, 0.55 ... 0.95.

    Returns:
        Recall (101,) from 0 to 1 and interpolated precision (101,), float64; its mean is the AP. Precision
        is NaN everywhere when there is no instance.

    Raises:
        DataError: as for `evaluate`.
        ValueError: `iou` is none of COCO's thresholds.
    """
    run = _run(*_coco_pair(gt, results), "segm")
    t = _threshold(run, iou)
    precision = run.eval["precision"][t, :, 0, 0, -1]
    return np.array(run.params.recThrs), np.where(precision < 0, np.nan, precision)


def as_text(scores: dict[str, Any]) -> str:
    """Lay out what `evaluate` returns as a table in per cent."""
    rows = [" " * 6 + "".join(f"{name:>11}" for name in METRICS)]
    for kind, said in (("segm", "masks"), ("bbox", "boxes")):
        values = (scores[kind][name] for name in METRICS)
        rows.append(f"{said:6}" + "".join(f"{'-' if v is None else f'{100 * v:.1f} %':>11}" for v in values))
    counted = f"{scores['chips']} chips, {scores['instances']} instances; - = no instance of that size"
    return "\n".join([*rows, counted])


def _coco_pair(gt: dict, results: list[dict]) -> tuple[COCO, COCO]:
    """Check both sides and index them for COCOeval."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in gt["images"]}
    for i, annotation in enumerate(gt["annotations"]):
        where = f"ground truth, annotation {i}"
        if annotation["image_id"] not in sizes:
            raise DataError(where, f"image_id {annotation['image_id']!r}", f"one of the {len(sizes)} chips")
        if fault := rle_fault(annotation["segmentation"], *sizes[annotation["image_id"]]):
            raise DataError(where, fault, "a compressed RLE of the chip's size")
    for i, entry in enumerate(results):
        for found, expected in breaches(entry, sizes):
            raise DataError(f"predictions, entry {i}", found, expected)
    return _index(gt["images"], gt["annotations"]), _index(gt["images"], results)


def _index(images: list[dict], entries: list[dict]) -> COCO:
    """Index checked entries; ids count from 1, because COCOeval takes a match with id 0 for none."""
    annotations = []
    for i, entry in enumerate(entries, start=1):
        # Encoded anew: two RLEs that both hold an empty run at one place end COCO's IoU loop early.
        rle = coco_mask.encode(coco_mask.decode(entry["segmentation"]))
        annotations.append(
            {
                "id": i,
                "image_id": entry["image_id"],
                "category_id": CATEGORY["id"],
                "segmentation": rle,
                "area": int(coco_mask.area(rle)),
                "bbox": coco_mask.toBbox(rle).tolist(),
                "iscrowd": 0,
                "score": float(entry.get("score", 1)),
            }
        )
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": [CATEGORY]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def matched(gt: dict, results: list[dict], kind: str, iou: float, area: str) -> COCOeval:
    """Match predictions and instances of each chip at one IoU threshold and one size range, for resampling.

    Args:
        gt, results: as for `evaluate`.
        kind: segm or bbox.
        iou: threshold.
        area: a key of `AREAS`.

    Returns:
        COCOeval after `evaluate`, before `accumulate`, for the 10 best predictions a chip; `evalImgs` has one
        entry a chip, in the order of `params.imgIds`.

    Raises:
        DataError: as for `evaluate`.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(*_coco_pair(gt, results), kind)
        run.params.maxDets, run.params.iouThrs = MAX_DETS[-1:], np.array([iou])
        run.params.areaRng, run.params.areaRngLbl = [AREAS[area]], [area]
        run.evaluate()
    return run


def _run(truth: COCO, found: COCO, kind: str) -> COCOeval:
    """Match and accumulate at the challenge's settings; `kind` is segm or bbox."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(truth, found, kind)
        run.params.maxDets = list(MAX_DETS)
        run.params.areaRng = list(AREAS.values())
        run.params.areaRngLbl = list(AREAS)
        run.evaluate()
        run.accumulate()
    return run


def _threshold(run: COCOeval, iou: float) -> int:
    """Return the index of an IoU threshold."""
    near = np.flatnonzero(np.isclose(run.params.iouThrs, iou))
    if len(near) != 1:
        raise ValueError(f"iou {iou} is none of COCO's thresholds 0.50, 0.55 ... 0.95")
    return int(near[0])


def _scores(run: COCOeval) -> dict[str, float | None]:
    """Read precision [T, R, K, A, M] and recall [T, K, A, M], in which -1 is undefined."""

    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if (values >= 0).all() else None

    precision, recall = run.eval["precision"][:, :, 0, :, -1], run.eval["recall"][:, 0, :, -1]
    ap = [mean(precision[:, :, 0]), *(mean(precision[_threshold(run, t), :, 0]) for t in (0.5, 0.75))]
    sized = [mean(precision[:, :, a]) for a in range(1, len(AREAS))]
    return dict(zip(METRICS, [*ap, *sized, mean(recall[:, 0])], strict=True))
