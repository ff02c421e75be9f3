"""Judging: reading windows, running the model and writing shards, all three at the same time.

A reader thread keeps a short queue of batches filled, the model works through it, and a writer thread packs the
finished block; so memory holds a few batches and the detections of two blocks, whatever the size of the region.
The three share one heap, and after each block what is free in it goes back to the system (`rtslib.training.memory`).
GDAL, PyTorch and zlib let go of Python's lock while they work. A batch holds windows of one block only.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rasterio.windows import Window

from rtslib.data.samples import collate
from rtslib.errors import WeightsError
from rtslib.mapping import seams
from rtslib.mapping.plan import Block, Plan
from rtslib.mapping.shards import write_shard
from rtslib.models.model import Model, device_of
from rtslib.training.memory import give_back, share_heap
from rtslib.training.prediction import MASK_THRESHOLD, to_device

#: Batches that are read ahead of the model.
AHEAD = 2


@dataclass
class Judged:
    """What is known of a block so far.

    Attributes:
        block: its windows.
        pieces: detections.
        skipped: windows without any valid pixel, which the model never saw.
        model_seconds: time that the model took.
        probability: uint8 (h, w) over the block's bounds, or None.
    """

    block: Block
    pieces: list[seams.Piece] = field(default_factory=list)
    skipped: int = 0
    model_seconds: float = 0.0
    probability: np.ndarray | None = None


def run_blocks(
    model: Model, todo: Plan, blocks: Iterable[Block], folder: str | Path, done: Callable[[dict], None]
) -> None:
    """Map blocks one after the other and write their shards.

    Args:
        model: a detector in evaluation mode; runs on the device of its parameters.
        todo: the plan.
        blocks: those of it to do.
        folder: of the shards.
        done: called with each block's marker once it is on disk.

    Raises:
        DataError: a raster cannot be read, or holds values out of range.
        WeightsError: the model gives scores that are not finite.
        OutputError: a shard cannot be written; those before it stay.
    """
    share_heap()
    waiting: Future | None = None
    with ThreadPoolExecutor(1, "shards") as writer:
        for judged in _judged(model, todo, blocks):
            if waiting is not None:
                done(waiting.result())
            waiting = writer.submit(_write, folder, judged)
            give_back()
        if waiting is not None:
            done(waiting.result())


def _write(folder: str | Path, judged: Judged) -> dict[str, Any]:
    said = {"block": judged.block.index, "windows": len(judged.block.windows), "skipped": judged.skipped,
            "model_seconds": round(judged.model_seconds, 3)}  # fmt: skip
    return write_shard(folder, judged.block.index, judged.pieces, said, judged.probability)


def _judged(model: Model, todo: Plan, blocks: Iterable[Block]) -> Iterator[Judged]:
    """Yield the blocks with their detections, in order."""
    now: Judged | None = None
    for block, batch, skipped in _ahead(_batches(todo, blocks)):
        if now is None or now.block is not block:
            if now is not None:
                yield now
            now = Judged(block)
            if todo.options.probability:
                bounds = block.bounds
                now.probability = np.zeros((int(bounds.height), int(bounds.width)), np.uint8)
        now.skipped += skipped
        if batch:
            _take(model, batch, now, todo.options.least)
    if now is not None:
        yield now


def _take(model: Model, batch: list[tuple[Window, dict]], judged: Judged, least: float) -> None:
    """Run the model on a batch and add what it finds; its masks, as large as the windows, end here."""
    start = time.monotonic()
    outputs = _run(model, batch)
    judged.model_seconds += time.monotonic() - start
    for (window, sample), output in zip(batch, outputs, strict=True):
        judged.pieces += _pieces(window, sample, output, least)
        if judged.probability is not None:
            _raise_probability(judged, window, output)


def _batches(todo: Plan, blocks: Iterable[Block]) -> Iterator[tuple[Block, list[tuple[Window, dict]], int]]:
    """Read windows; yield (block, windows with their samples, windows skipped), at least once a block."""
    for block in blocks:
        batch, skipped = [], 0
        for window in block.windows:
            sample = read_window(todo, window)
            if any(bool(v.any()) for v in sample["valid"].values()):
                batch.append((window, sample))
            else:
                skipped += 1
            if len(batch) == todo.options.batch_size:
                yield block, batch, skipped
                batch, skipped = [], 0
        yield block, batch, skipped


def _ahead(items: Iterator) -> Iterator:
    """Draw from an iterator in another thread, `AHEAD` items ahead; its errors are raised here."""
    ready: queue.Queue = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: tuple) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, None))
        except BaseException as e:  # whatever it is, it belongs to the caller
            put((None, e))

    thread = threading.Thread(target=fill, name="reader", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()


def read_window(todo: Plan, window: Window) -> dict[str, Any]:
    """Read one window as a sample, like those of `rtslib.data.samples.ChipDataset` without a target.

    Returns:
        `image_id` 0; `size` (h, w); `images` {m: float32 (C, h, w)} in physical units, 0 where invalid;
        `valid` {m: bool (h, w)}: all bands of the modality are finite. A modality that the region lacks is nowhere
        valid.

    Raises:
        DataError: as the region's `read`.
    """
    here = {m: bands for m, bands in todo.modalities.items() if m not in todo.absent}
    needed = tuple(dict.fromkeys(b for bands in here.values() for b in bands))
    pixels = todo.region.read(needed, window)
    images, valid = {}, {}
    for m, bands in todo.modalities.items():
        if m in todo.absent:
            images[m] = torch.zeros(len(bands), *pixels.shape[1:])
            valid[m] = torch.zeros(pixels.shape[1:], dtype=torch.bool)
            continue
        values = pixels[[needed.index(b) for b in bands]]
        ok = np.isfinite(values).all(axis=0)
        images[m], valid[m] = torch.from_numpy(np.where(ok, values, 0)), torch.from_numpy(ok)
    return {"image_id": 0, "size": pixels.shape[1:], "images": images, "valid": valid}


def _run(model: Model, batch: list[tuple[Window, dict]]) -> list[dict[str, torch.Tensor]]:
    """Run the model on one batch of windows. On the CPU come back `scores`, and `inside`, bool masks (n, h, w)."""
    with torch.inference_mode():
        outputs = model(to_device(collate([sample for _, sample in batch]), device_of(model)))
    for output in outputs:
        output["inside"] = (output["masks"] >= MASK_THRESHOLD).cpu()
        output["scores"] = output["scores"].float().cpu()
        if not output["scores"].isfinite().all():
            raise WeightsError("the model's scores are not finite: its weights are unusable")
    return outputs


def _pieces(window: Window, sample: dict, output: dict, least: float) -> Iterator[seams.Piece]:
    """Yield the detections of one window, cut to where any modality has data."""
    valid = [v.numpy() for v in sample["valid"].values()]
    seen = np.logical_or.reduce(valid)
    for k in np.flatnonzero(output["scores"].numpy() >= least):
        found = seams.piece(output["inside"][int(k)].numpy() & seen, float(min(output["scores"][k], 1)), window, valid)
        if found is not None:
            yield found


def _raise_probability(judged: Judged, window: Window, output: dict) -> None:
    """Take a window's mask probabilities, each times its score, into the block's highest."""
    if not len(output["scores"]):
        return
    best = (output["masks"].cpu().float() * output["scores"][:, None, None]).amax(0)
    bounds = judged.block.bounds
    r, c = int(window.row_off - bounds.row_off), int(window.col_off - bounds.col_off)
    part = judged.probability[r : r + int(window.height), c : c + int(window.width)]
    np.maximum(part, (best * 255).round().to(torch.uint8).numpy(), out=part)
