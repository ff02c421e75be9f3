"""Truth and predictions whose scores are known by hand."""

from helpers.chip_folders import box_mask
from rtslib.data.masks import encode


def case(right_scores, wrong_scores, instances):
    """Instances one a chip; chip i has its right detection and, elsewhere, its wrong one where scores are given."""
    here, there = encode(box_mask(20, 30, 4, 5, 6, 7)), encode(box_mask(20, 30, 20, 5, 6, 7))
    ids = range(1, instances + 1)
    gt = {
        "images": [{"id": i, "height": 20, "width": 30, "file_name": f"{i}"} for i in ids],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "segmentation": here} for i in ids],
        "categories": [{"id": 1, "name": "rts"}],
    }
    results = [
        {"image_id": i + 1, "category_id": 1, "segmentation": rle, "score": s}
        for rle, scores in ((here, right_scores), (there, wrong_scores))
        for i, s in enumerate(scores)
    ]
    return gt, results


def truth_and_results(found):
    """One instance a chip; chip i is found perfectly if found[i], else not at all."""
    rle = encode(box_mask(20, 30, 4, 5, 6, 7))
    images = [{"id": i, "height": 20, "width": 30, "file_name": f"{i}"} for i in range(1, len(found) + 1)]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "segmentation": rle} for i in range(1, len(found) + 1)]
    results = [
        {"image_id": i, "category_id": 1, "segmentation": rle, "score": 0.9} for i, f in enumerate(found, 1) if f
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "rts"}]}, results
