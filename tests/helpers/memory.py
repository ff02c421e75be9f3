"""Chip sets in memory, of arrays that a test makes."""

from pathlib import Path

import numpy as np

from rtslib.data.chips import Chip, ChipSet, Instance
from rtslib.data.masks import encode

BANDS = ("red", "green", "blue", "ndvi", "relative_elevation")


def chip_set(pixels, masks=(), labelled=True):
    """A chip set in memory: a list of (B, H, W) arrays, and for each a list of bool masks."""
    chips = tuple(
        Chip(k + 1, f"c{k}", (Path(f"c{k}.npz"),), *p.shape[1:], f"g{k}", "train", labelled)
        for k, p in enumerate(pixels)
    )
    masks = list(masks) or [[]] * len(pixels)
    found = {c.id: tuple(Instance.from_rle(encode(m)) for m in its) for c, its in zip(chips, masks)}
    reads = []

    def read(chip):
        reads.append(chip.id)
        return np.array(pixels[chip.id - 1], dtype=np.float32)

    found = found if labelled else {}
    made = ChipSet(Path("memory"), "challenge", BANDS, chips, found, 0, (), False, read, ())
    return made, reads
