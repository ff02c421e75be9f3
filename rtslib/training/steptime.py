"""How long does a training step take? Measured on its own, one model after the other.

The runs of a study train side by side and slow each other down, so their logs do not tell. Here a model is built anew
and trained for a few steps on one batch of the data while nothing else runs; the median counts. Wall time of a run is
then its steps times that, and of all runs it started from likewise. A run whose backbones are frozen at first is timed
both ways.
"""

import statistics
import time
from typing import Any

import torch

from rtslib.config import MEASURED, Config
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.samples import ChipDataset, collate
from rtslib.models.build import build_model
from rtslib.training.loop import parameter_groups
from rtslib.training.runs import Run

#: Knobs that change no step's time.
_APART = {"seed", "epochs", "freeze_epochs", "modality_dropout", "tta", *MEASURED}
REPEATS = 5  # steps timed, after one to warm up


def run_seconds(run: Run, chipset: ChipSet, known: dict[str, float]) -> dict[str, float | None]:
    """Time the steps of a finished run and sum up its training, with all that it started from.

    Args:
        run: the run.
        chipset: the data it was trained on; a run it started from that was trained on other data is not counted.
        known: median seconds a step by config, which is filled on the way: seeds and folds cost the same.

    Returns:
        `seconds_per_step` of its last epoch and `seconds` of all training; where it has no step, None and what it says
        itself, as trees on pixels do.

    Raises:
        DataError: a run is missing.
    """
    record, config = run.record, run.config
    mine = [start for start in run.parents if start.record["data_fingerprint"] == record["data_fingerprint"]]
    before = sum(run_seconds(start, chipset, known)["seconds"] for start in mine)
    if not record["steps"]:
        return {"seconds_per_step": None, "seconds": before + record["seconds"]}
    chips = list(chipset.labelled())[: config.batch_size]
    frozen = min(config.freeze_epochs, config.epochs) / config.epochs
    times = {}
    for still in {frozen > 0, frozen == 1}:
        key = f"{still} {config.model_dump_json(exclude=_APART)}"
        if key not in known:
            known[key] = seconds_a_step(config, chipset, chips, still)
        times[still] = known[key]
    mean = times.get(True, 0.0) * frozen + times.get(False, 0.0) * (1 - frozen)
    return {"seconds_per_step": times[frozen == 1], "seconds": record["steps"] * mean + before}


def seconds_a_step(config: Config, chipset: ChipSet, chips: list[Chip], frozen: bool = False) -> float:
    """Return the median wall time (s) of a training step: forward, backward, clipping and optimiser.

    Args:
        config: with normalisation statistics.
        chipset, chips: data, and the chips of the batch.
        frozen: with backbones that do not train.
    """
    torch.manual_seed(0)
    data = ChipDataset(chipset, chips, config.modalities, augment=True, crop=config.crop)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = _to(collate([data[i] for i in range(len(chips))]), device)
    model = build_model(config.updated(pretrained=False, zoo="")).to(device)
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=1e-6)
    model.train().backbones.requires_grad_(not frozen).train(not frozen)
    taken = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        torch.stack(list(model(batch).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def _to(value: Any, device: Any) -> Any:
    """Move all tensors of nested dicts and lists to a device."""
    if isinstance(value, dict):
        return {k: _to(v, device) for k, v in value.items()}
    if isinstance(value, list):
        return [_to(v, device) for v in value]
    return value.to(device) if hasattr(value, "to") else value
