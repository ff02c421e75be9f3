"""Predictions of a stand-in model whose answers are known, on real chip folders."""

import json
import types

import numpy as np
import pytest
import torch
from torch import nn

from helpers.chip_folders import write_challenge
from rtslib.data.masks import decode, encode
from rtslib.data.opening import open_chips
from rtslib.errors import ConfigError, OutputError, WeightsError
from rtslib.evaluation.coco import evaluate
from rtslib.evaluation.submission import validate
from rtslib.training.prediction import predict, write_results


class Painter(nn.Module):
    """Answers each chip with `boxes_of[id]`: (x, y, w, h, score), painted with `probability`."""

    def __init__(self, boxes_of, probability=0.9, max_dets=10, modalities=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm2d(1)
        modalities = modalities or {"rgb": ["red", "green", "blue"], "terrain": ["relative_elevation"]}
        self.config = types.SimpleNamespace(modalities=modalities, max_dets=max_dets)
        self.boxes_of, self.probability, self.seen = boxes_of, probability, []

    def forward(self, batch):
        assert not self.training and not self.norm.training and torch.is_inference_mode_enabled()
        self.seen.append(batch)
        out = []
        for image_id, (h, w) in zip(batch["image_ids"], batch["sizes"], strict=True):
            boxes = self.boxes_of(image_id) if callable(self.boxes_of) else self.boxes_of
            masks = torch.zeros(len(boxes), h, w)
            for k, (x, y, bw, bh, _) in enumerate(boxes):
                masks[k, y : y + bh, x : x + bw] = self.probability
            scores = torch.tensor([b[4] for b in boxes], dtype=torch.float32)
            out.append({"scores": scores, "masks": masks})
        return out


@pytest.fixture
def chipset(tmp_path):
    return open_chips(write_challenge(tmp_path / "data", train=3, test=2, size=(20, 30)))


def test_the_truth_painted_scores_one(chipset):
    def painted(image_id):
        return [(*map(int, i.bbox), 0.5) for i in chipset.instances[image_id]]

    results = predict(Painter(painted), chipset, chipset.labelled())
    assert [r["image_id"] for r in results] == [2, 3, 3]
    assert evaluate(chipset.coco(), results)["segm"]["AP"] == pytest.approx(1.0)


def test_results_are_coco_results_of_chip_size(chipset):
    results = predict(Painter([(3, 2, 4, 5, 0.25)]), chipset, chipset.chips)
    assert len(results) == 5
    expected = np.zeros((20, 30), dtype=bool)
    expected[2:7, 3:7] = True
    assert results[0] == {"image_id": 1, "category_id": 1, "segmentation": encode(expected), "score": 0.25}
    assert json.loads(json.dumps(results)) == results


def test_batches_hold_what_the_model_reads_in_groups_of_batch_size(chipset):
    model, steps = Painter([]), []
    assert predict(model, chipset, chipset.chips, batch_size=2, progress=lambda *s: steps.append(s)) == []
    assert [len(b["image_ids"]) for b in model.seen] == [2, 2, 1]
    assert steps == [(2, 5), (4, 5), (5, 5)]
    batch = model.seen[0]
    shapes = {m: tuple(x.shape) for m, x in batch["images"].items()}
    assert shapes == {"rgb": (2, 3, 20, 30), "terrain": (2, 1, 20, 30)}
    assert batch["images"]["rgb"][0, :, 0, 0].tolist() == [100, 110, 120]
    assert batch["valid"]["rgb"][0].sum() == 600 and batch["targets"] is None


def test_results_come_in_the_order_of_the_chips_whatever_their_size(tmp_path):
    from PIL import Image

    from helpers.chip_folders import coco

    (tmp_path / "images").mkdir()
    images = []
    for i, side in enumerate((40, 16, 33)):
        Image.new("RGB", (side, side + 1)).save(tmp_path / "images" / f"c{i}.png")
        images.append({"id": i, "file_name": f"c{i}.png", "height": side + 1, "width": side})
    (tmp_path / "instances.json").write_text(json.dumps(coco(images, [])))
    chipset = open_chips(tmp_path)
    model = Painter([(1, 1, 3, 3, 0.5)], modalities={"rgb": ["red", "green", "blue"]})
    results = predict(model, chipset, chipset.chips[::-1], batch_size=1)
    assert [r["image_id"] for r in results] == [2, 1, 0]
    assert [r["segmentation"]["size"] for r in results] == [[34, 33], [17, 16], [41, 40]]
    assert [b["image_ids"] for b in model.seen] == [[1], [2], [0]]  # small ones first: little padding


def test_best_first_cut_at_max_dets_and_empty_masks_dropped(chipset):
    boxes = [(1, 1, 2, 2, 0.1), (1, 1, 0, 0, 0.9), (1, 1, 3, 3, 0.3), (1, 1, 4, 4, 0.2)]
    chip = chipset.chips[:1]
    results = predict(Painter(boxes, max_dets=2), chipset, chip)
    assert [decode(r["segmentation"]).sum() for r in results] == [9, 16]
    assert [r["score"] for r in results] == pytest.approx([0.3, 0.2])


@pytest.mark.parametrize(("probability", "count"), [(0.5, 1), (0.499, 0)])
def test_a_pixel_belongs_from_half_on(chipset, probability, count):
    assert len(predict(Painter([(1, 1, 4, 4, 0.9)], probability), chipset, chipset.chips[:1])) == count


def test_scores_stay_within_what_a_submission_allows(chipset):
    (result,) = predict(Painter([(1, 1, 4, 4, 1.0000001)]), chipset, chipset.chips[:1])
    assert result["score"] == 1.0
    with pytest.raises(WeightsError, match="chip 1 are not finite"):
        predict(Painter([(1, 1, 4, 4, float("nan"))]), chipset, chipset.chips[:1])


def test_every_part_of_the_model_is_put_back_into_its_mode(chipset):
    model = Painter([])
    model.train()
    model.norm.eval()  # a frozen part
    predict(model, chipset, chipset.chips[:1])
    assert model.training and not model.norm.training
    model.max_dets = model.config = None
    with pytest.raises(AttributeError):
        predict(model, chipset, chipset.chips[:1])
    assert model.training and not model.norm.training


def test_no_chips_and_missing_bands(chipset):
    assert predict(Painter([(1, 1, 4, 4, 0.9)]), chipset, []) == []
    with pytest.raises(ConfigError, match="slope"):
        predict(Painter([], modalities={"terrain": ["slope"]}), chipset, chipset.chips)


def test_written_results_are_a_valid_submission(chipset, tmp_path):
    test_chips = [c for c in chipset.chips if c.part == "test"]
    results = predict(Painter([(1, 1, 4, 4, 0.9), (8, 8, 4, 4, 0.2)]), chipset, test_chips)
    write_results(tmp_path / "new" / "results.json", results)
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == results
    assert validate(tmp_path / "new" / "results.json", chipset) == []
    write_results(tmp_path / "empty.json", [])
    assert json.loads((tmp_path / "empty.json").read_text()) == []
    with pytest.raises(OutputError):
        write_results(tmp_path / "empty.json" / "under_a_file.json", [])
