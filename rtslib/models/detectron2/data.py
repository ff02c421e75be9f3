"""Chips for detectron2's own loops: DatasetCatalog, mapper, loaders, evaluator.

detectron2 describes a data set as a list of dicts, one an image, under a name in its `DatasetCatalog`; a
*mapper* turns a dict into what the model reads. Here `image` is float32 (all bands, H, W) in physical
units, NaN where nodata, resized by the config's `scale` (see `rtslib.models.detectron2.model.FusedBackbone`).

`rtslib.models.detectron2.lazyconfig` makes a LazyConfig of these functions. Source of the format: detectron2's
documentation, "Use Custom Datasets". Importing this module without detectron2 raises EngineError.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from rtslib.config import Config
from rtslib.data.chips import CATEGORY, Chip, ChipSet
from rtslib.data.samples import ChipDataset, collate
from rtslib.models.detectron2.model import as_instances
from rtslib.models.pixels import network_input, network_targets

# isort: split
# After rtslib.models.detectron2.model, which says how to get detectron2.
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)  # fmt: skip
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import BoxMode


def records(chipset: ChipSet, chips: Sequence[Chip]) -> list[dict[str, Any]]:
    """Describe chips as detectron2 does.

    Returns:
        One dict a chip: `file_name`, `image_id`, `height`, `width`, and `annotations` with `bbox` (x, y, w, h
        px), `bbox_mode`, compressed RLE `segmentation`, `category_id` 0 and `iscrowd` 0.
    """
    return [
        {
            "file_name": str(c.files[0]), "image_id": c.id, "height": c.height, "width": c.width,
            "annotations": [
                {
                    "bbox": list(i.bbox), "bbox_mode": BoxMode.XYWH_ABS, "segmentation": dict(i.rle),
                    "category_id": 0, "iscrowd": 0,
                }
                for i in chipset.instances.get(c.id, ())
            ],
        }
        for c in chips
    ]  # fmt: skip


def register(name: str, chipset: ChipSet, chips: Sequence[Chip]) -> None:
    """Enter chips into DatasetCatalog and MetadataCatalog under a name, in place of an earlier entry."""
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records(chipset, chips))
    ids = {CATEGORY["id"]: 0}
    about = {"thing_classes": [CATEGORY["name"]], "thing_dataset_id_to_contiguous_id": ids}
    MetadataCatalog.get(name).set(**about, evaluator_type="coco")


class ChipMapper:
    """From a record to the model's input; in training augmented anew each time a chip comes round.

    Args:
        chipset, chips: those registered.
        config: `modalities`, `scale`, `augment`, `seed`.
        train: add `instances`, and augment if the config says so.
    """

    def __init__(self, chipset: ChipSet, chips: Sequence[Chip], config: Config, train: bool) -> None:
        modalities = {m: tuple(b) for m, b in config.modalities.items()}
        self.data = ChipDataset(chipset, chips, modalities, train and config.augment, seed=config.seed)
        self.place = {chip.id: i for i, chip in enumerate(chips)}
        self.scale, self.train = config.scale, train
        self.rounds: Counter[int] = Counter()

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return `image_id`, `height`, `width` of the chip, `image`, and `instances` at the image's scale."""
        i = self.place[record["image_id"]]
        self.data.set_epoch(self.rounds[i])
        self.rounds[i] += 1
        sample = self.data[i]
        images, valid, [(h, w)] = network_input(collate([sample]), self.scale)
        parts = [x[0].masked_fill(~valid[m], torch.nan) for m, x in images.items()]
        height, width = sample["size"]
        image = torch.cat(parts)[:, :h, :w]
        out = {"image_id": record["image_id"], "height": height, "width": width, "image": image}
        if self.train:
            out["instances"] = as_instances(network_targets([sample["target"]], self.scale)[0], (h, w))
        return out


def train_loader(name: str, mapper: ChipMapper, config: Config) -> Any:
    """Return detectron2's endless loader of shuffled batches; chips without slumps stay in."""
    chips = get_detection_dataset_dicts(name, filter_empty=False)
    return build_detection_train_loader(
        dataset=chips, mapper=mapper, total_batch_size=config.batch_size, num_workers=config.workers
    )


def eval_loader(name: str, mapper: ChipMapper, config: Config) -> Any:
    """Return detectron2's loader of every chip once, one a batch."""
    chips = get_detection_dataset_dicts(name, filter_empty=False)
    return build_detection_test_loader(dataset=chips, mapper=mapper, num_workers=config.workers)


def evaluator(name: str, out_dir: str, config: Config) -> COCOEvaluator:
    """Return detectron2's COCO evaluator of boxes and masks; it writes its files to `out_dir`."""
    tasks, most = ("bbox", "segm"), config.max_dets
    return COCOEvaluator(name, tasks=tasks, distributed=False, output_dir=out_dir, max_dets_per_image=most)
