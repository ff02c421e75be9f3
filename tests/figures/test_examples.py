"""Example detections: what is matched, and what is drawn."""

from types import SimpleNamespace

import numpy as np

from helpers.trained import data  # noqa: F401 (fixture)
from rtslib.data.masks import encode
from rtslib.data.opening import open_chips
from rtslib.figures import examples
from rtslib.figures.style import HIT, MISSED


def rectangle(y0: int, y1: int, x0: int, x1: int) -> dict:
    mask = np.zeros((20, 20), bool)
    mask[y0:y1, x0:x1] = True
    return encode(mask)


def test_matches_take_each_instance_once():
    truth = [rectangle(0, 10, 0, 10), rectangle(10, 20, 10, 20)]
    found = [rectangle(0, 10, 0, 10), rectangle(0, 10, 0, 9), rectangle(10, 20, 10, 14), rectangle(10, 20, 10, 15)]
    results = [{"segmentation": rle, "score": 0.9} for rle in found]
    assert examples.matched(results, truth) == [0, -1, -1, 1]  # twice; IoU 0.4; IoU 0.5
    assert examples.matched([], truth) == [] and examples.matched(results, []) == [-1] * 4


def test_detections_figure_draws_labels_and_results(data):
    chips = open_chips(data)
    shown = examples.pick(chips, chips.chips, count=2)
    assert len(shown) == 2 and all(chips.instances[c.id] for c in shown)
    truth = chips.instances[shown[0].id][0].rle
    result = {"image_id": shown[0].id, "category_id": 1, "segmentation": truth, "score": 0.75}
    results = {"rgb": [result, {**result, "score": 0.1}], "fused": []}
    figure = examples.detections_figure(chips, shown, results, score=0.3)
    labels, first, second = figure.axes[:3]
    total = sum(len(chips.instances[c.id]) for c in shown)
    assert labels.get_title() == f"labels\n{total} slumps"
    assert first.get_title() == f"true colour\n1 hit, {total - 1} missed, 0 false"  # 0.1 is not drawn
    assert second.get_title() == f"fused\n0 hit, {total} missed, 0 false"
    assert [t.get_text() for t in first.texts] == ["0.75"] and not second.texts
    here = len(chips.instances[shown[0].id])
    assert {HIT[0], MISSED[0]} <= set(colours(first)) and len(colours(first)) == len(colours(second)) >= 2 * here
    assert set(colours(second)) == {"#101010", MISSED[0]}  # missed ones are drawn, over their rims
    assert all(line.get_linestyle() == "-" for line in labels.lines) and len(labels.lines) >= 2 * here
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["labelled", "hit", "missed", "false alarm"]


def colours(axes):
    return [line.get_color() for line in axes.lines]


def extents(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    return [(a, [t.get_window_extent() for t in a.texts]) for a in figure.axes]


def test_scores_stand_in_the_picture_and_not_on_each_other(data):
    """Ten detections on almost one place, in the middle and in a corner; and a long title fits its column."""
    chips = open_chips(data)
    chip = chips.chips[0]

    def found(y, x):
        mask = np.zeros((chip.height, chip.width), bool)
        mask[y : y + 9, x : x + 9] = True
        return {"image_id": chip.id, "category_id": 1, "segmentation": encode(mask), "score": 0.9 - x / 1000}

    results = {"residual_cross_attention": [found(20 + k, 20 + k) for k in range(10)],
               "residual_scratch": [found(0, k) for k in range(10)]}  # fmt: skip
    figure = examples.detections_figure(chips, [chip], results)
    for axes, boxes in extents(figure)[1:]:
        assert len(boxes) == 10
        for i, one in enumerate(boxes):
            assert axes.bbox.x0 <= one.x0 + 1 and one.x1 - 1 <= axes.bbox.x1
            assert axes.bbox.y0 <= one.y0 + 1 and one.y1 - 1 <= axes.bbox.y1
            assert not any(one.overlaps(other) for other in boxes[:i])
    titles = [a.title.get_window_extent() for a in figure.axes]
    assert not any(a.overlaps(b) for a, b in zip(titles, titles[1:], strict=False))
    assert titles[-1].x1 < figure.bbox.x1


def test_true_colour_keeps_the_void_black_and_the_order_of_bands():
    pixels = np.stack([np.full((4, 5), v, np.float32) for v in (0.0, 5.0, 10.0)])  # blue, green, red
    pixels[:, 0, 0] = np.nan
    chip = SimpleNamespace(height=4, width=5)
    image = examples.true_colour(SimpleNamespace(bands=("blue", "green", "red"), read=lambda c: pixels), chip)
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 0] and image[2, 2].tolist() == [255, 127, 0]
    empty = SimpleNamespace(bands=("blue", "green", "red"), read=lambda c: np.full((3, 4, 5), np.nan, np.float32))
    assert not examples.true_colour(empty, chip).any()
