"""Example detections: what is matched, and what is drawn."""

from types import SimpleNamespace

import numpy as np

from helpers.trained import data  # noqa: F401 (fixture)
from rtslib.data.masks import encode
from rtslib.data.opening import open_chips
from rtslib.figures import examples


def rectangle(y0: int, y1: int, x0: int, x1: int) -> dict:
    mask = np.zeros((20, 20), bool)
    mask[y0:y1, x0:x1] = True
    return encode(mask)


def test_matches_take_each_instance_once():
    truth = [rectangle(0, 10, 0, 10), rectangle(10, 20, 10, 20)]
    found = [rectangle(0, 10, 0, 10), rectangle(0, 10, 0, 9), rectangle(10, 20, 10, 14), rectangle(10, 20, 10, 15)]
    results = [{"segmentation": rle, "score": 0.9} for rle in found]
    assert examples.matches(results, truth) == [True, False, False, True]  # twice; IoU 0.4; IoU 0.5
    assert examples.matches([], truth) == [] and examples.matches(results, []) == [False] * 4


def test_detections_figure_draws_labels_and_results(data):
    chips = open_chips(data)
    shown = examples.pick(chips, chips.chips, count=2)
    assert len(shown) == 2 and all(chips.instances[c.id] for c in shown)
    truth = chips.instances[shown[0].id][0].rle
    result = {"image_id": shown[0].id, "category_id": 1, "segmentation": truth, "score": 0.75}
    results = {"rgb": [result, {**result, "score": 0.1}], "fused": []}
    figure = examples.detections_figure(chips, shown, results, score=0.3)
    first, second = figure.axes[1], figure.axes[2]
    assert [t.get_text() for t in first.texts] == ["0.75"] and not second.lines
    assert {line.get_linestyle() for line in first.lines} == {"-"}  # it matches
    assert figure.axes[0].get_title() == "labels" and len(figure.axes[0].lines) >= len(chips.instances[shown[0].id])


def test_true_colour_keeps_the_void_black_and_the_order_of_bands():
    pixels = np.stack([np.full((4, 5), v, np.float32) for v in (0.0, 5.0, 10.0)])  # blue, green, red
    pixels[:, 0, 0] = np.nan
    chip = SimpleNamespace(height=4, width=5)
    image = examples.true_colour(SimpleNamespace(bands=("blue", "green", "red"), read=lambda c: pixels), chip)
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 0] and image[2, 2].tolist() == [255, 127, 0]
    empty = SimpleNamespace(bands=("blue", "green", "red"), read=lambda c: np.full((3, 4, 5), np.nan, np.float32))
    assert not examples.true_colour(empty, chip).any()
