"""Shards: the detections of one block of windows, on disk, whole or not at all.

    block-00012.npz         places, scores and bit-packed masks of its pieces, in the order of its windows, and of the
                            pixels that a modality lacks, for those that lack any
    block-00012.prob.npz    highest mask probability, uint8 0-255, if asked for
    block-00012.done        JSON: what happened in the block, and the SHA-256 of the files above

The *done-marker* is written last. A block counts as finished if its marker is there and the hashes agree, so what a
crash, a full disk or a half-copied folder leaves behind is made again.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtslib.errors import DataError, RtsError
from rtslib.files import read_json, sha256, whole, write_json
from rtslib.mapping.seams import Piece

_ARRAYS = ("rect", "window", "score", "voids", "nodata", "bits", "void_bits")


def write_shard(
    folder: str | Path, index: int, pieces: Sequence[Piece], said: dict[str, Any], probability: np.ndarray | None = None
) -> dict[str, Any]:
    """Write one block's shard, its marker last.

    Args:
        folder: of all shards of a map.
        index: of the block.
        pieces: its detections.
        said: what happened, in JSON's types; kept in the marker.
        probability: uint8 (h, w) over the block's bounds, or None.

    Returns:
        The marker: `said`, `pieces` (number) and `sha256` (file name -> hash).

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    folder, stem = Path(folder), f"block-{index:05d}"
    bits = [np.packbits(p.mask.ravel()) for p in pieces]
    voids = [np.packbits(p.void.ravel()) for p in pieces if p.void is not None]
    tables: dict[str, dict[str, Any]] = {f"{stem}.npz": {
        "rect": np.array([p.rect for p in pieces], np.int32).reshape(-1, 4),
        "window": np.array([p.window for p in pieces], np.int32).reshape(-1, 4),
        "score": np.array([p.score for p in pieces], np.float64),
        "voids": np.array([0 if p.void is None else len(p.void) for p in pieces], np.int32),
        "nodata": np.array([p.nodata for p in pieces], bool),
        "bits": np.concatenate([np.zeros(0, np.uint8), *bits]),
        "void_bits": np.concatenate([np.zeros(0, np.uint8), *voids]),
    }}  # fmt: skip
    if probability is not None:
        tables[f"{stem}.prob.npz"] = {"probability": probability}
    for name, arrays in tables.items():
        with whole(folder / name) as part:
            np.savez_compressed(part, **arrays)
    marker = {**said, "pieces": len(pieces), "sha256": {name: sha256(folder / name) for name in tables}}
    write_json(folder / f"{stem}.done", marker)
    return marker


def finished(folder: str | Path, index: int) -> dict[str, Any] | None:
    """Return the marker of a block that is finished and whole, else None."""
    marker = Path(folder) / f"block-{index:05d}.done"
    if not marker.exists():
        return None
    try:
        found = read_json(marker)
        return found if all(sha256(Path(folder) / n) == h for n, h in found["sha256"].items()) else None
    except (RtsError, KeyError, TypeError, AttributeError):  # half a marker, or a file of it is gone
        return None


def read_shard(folder: str | Path, index: int) -> list[Piece]:
    """Return the pieces of a block, as they were written. Raises DataError if they cannot be read."""
    path = Path(folder) / f"block-{index:05d}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError) as e:
        raise DataError(path, f"no readable shard: {e}", "one that the map wrote", "delete it and resume") from e
    pieces, bits, void_bits = [], _unpacked(data["bits"]), _unpacked(data["void_bits"])
    for rect, window, score, voids, nodata in zip(*(data[k] for k in ("rect", "window", "score", "voids", "nodata"))):
        r0, c0, r1, c1 = rect.tolist()
        mask = bits((r1 - r0, c1 - c0))
        void = void_bits((int(voids), r1 - r0, c1 - c0)) if voids else None
        pieces.append(Piece(r0, c0, mask, float(score), tuple(window.tolist()), void=void, nodata=bool(nodata)))
    return pieces


def _unpacked(packed: np.ndarray) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Return what gives the next bool array of a shape, each call; every array begins with a byte of its own."""
    start = 0

    def following(shape: tuple[int, ...]) -> np.ndarray:
        nonlocal start
        size = math.prod(shape)
        stop = start + -(-size // 8)
        values = np.unpackbits(packed[start:stop], count=size).astype(bool).reshape(shape)
        start = stop
        return values

    return following


def read_probability(folder: str | Path, index: int) -> np.ndarray:
    """Return the highest mask probability over a block's bounds, uint8 (h, w). Raises DataError."""
    path = Path(folder) / f"block-{index:05d}.prob.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["probability"]
    except (OSError, ValueError, KeyError, EOFError) as e:
        raise DataError(path, f"no readable shard: {e}", "one that the map wrote", "delete it and resume") from e
