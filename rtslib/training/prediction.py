"""Prediction: a trained model's instances on chips, in COCO's results format.

One *result* is one predicted instance: the chip's id, a mask as compressed RLE of the chip's size, and a
score from 0 to 1. A list of them is what `rtslib.evaluation.coco` scores and, written as JSON, what the
challenge takes (format: `rtslib.evaluation.submission`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from rtslib.data.chips import CATEGORY, Chip, ChipSet
from rtslib.data.masks import encode
from rtslib.data.missing import check_absent
from rtslib.data.samples import ChipDataset, collate
from rtslib.errors import WeightsError
from rtslib.files import write_text
from rtslib.models.model import Model, device_of

#: A pixel belongs to the instance from this mask probability on.
MASK_THRESHOLD = 0.5


def predict(
    model: Model, chipset: ChipSet, chips: Sequence[Chip], batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None, hidden: Mapping[str, str] | None = None,
) -> list[dict]:  # fmt: skip
    """Predict the instances of chips.

    Chips of like size share a batch, so that little of it is padding. The model runs on the device its
    tensors are on, in evaluation mode; every part of it is put back into the mode it was in.

    Args:
        model: a Detector (`rtslib.models.build_model`, `rtslib.training.load_model`); `model.config` names
            the modalities to read and the most predictions a chip.
        chipset: the opened data set.
        chips: chips of it, labelled or not.
        batch_size: chips a batch.
        progress: called with (chips done, chips in all) after each batch.
        hidden: modality -> part of every chip on which the model has to do without it, see `rtslib.data.missing`.

    Returns:
        COCO results in the order of `chips`, best score first within a chip: dicts with `image_id` int,
        `category_id` 1, `segmentation` compressed RLE with `counts` str, `score` float 0-1. Predictions
        whose mask has no pixel are left out; a chip without predictions has no entry.

    Raises:
        ConfigError: the data set lacks a band that the model reads, of a modality that is not hidden.
        MissingModalityError: the model cannot run without a modality that is hidden everywhere.
        DataError: a chip cannot be read.
        WeightsError: the model gives scores that are not finite.
    """
    modalities = {m: tuple(bands) for m, bands in model.config.modalities.items()}
    if hidden:
        check_absent(model.config, [m for m, part in hidden.items() if part == "all"])
    dataset = ChipDataset(chipset, chips, modalities, augment=False, cache=False, hidden=hidden)
    order = sorted(range(len(chips)), key=lambda i: (chips[i].height, chips[i].width))
    device = device_of(model)
    found: dict[int, list[dict]] = {}
    with _evaluating(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            samples = [dataset[i] for i in order[start : start + batch_size]]
            batch = collate([{k: v for k, v in sample.items() if k != "target"} for sample in samples])
            outputs = model(to_device(batch, device))
            for image_id, output in zip(batch["image_ids"], outputs, strict=True):
                found[image_id] = as_results(image_id, output, model.config.max_dets)
            if progress is not None:
                progress(min(start + batch_size, len(order)), len(order))
    return [result for chip in chips for result in found[chip.id]]


def write_results(path: str | Path, results: Sequence[dict]) -> None:
    """Write results as a JSON list, one result a line; whole or not at all. Raises OutputError."""
    lines = ",\n".join(json.dumps(result, allow_nan=False) for result in results)
    write_text(path, f"[\n{lines}\n]\n" if results else "[]\n")


def as_results(image_id: int, output: dict[str, Tensor], max_dets: int) -> list[dict]:
    """Turn one chip's model output (scores (N,), masks (N, H, W) probabilities) into COCO results."""
    if not output["scores"].isfinite().all():
        raise WeightsError(f"the model's scores on chip {image_id} are not finite: its weights are unusable")
    keep = output["scores"].argsort(descending=True, stable=True)
    scores = output["scores"][keep].float().clamp(0, 1).tolist()
    pixels = (output["masks"][keep] >= MASK_THRESHOLD).cpu().numpy()
    full = [(score, mask) for score, mask in zip(scores, pixels, strict=True) if mask.any()]
    return [
        {"image_id": image_id, "category_id": CATEGORY["id"], "segmentation": encode(mask), "score": score}
        for score, mask in full[:max_dets]
    ]


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Put a model into evaluation mode, then each of its modules back (frozen parts may differ)."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def to_device(batch: dict, device: torch.device) -> dict:
    """Move the tensors that the model reads to a device."""
    return batch | {key: {m: t.to(device) for m, t in batch[key].items()} for key in ("images", "valid")}
