"""Samples for training and prediction: a chip as tensors, one image and one validity mask per modality.

A *sample* keeps physical units; the model normalises with statistics of the training chips
(`band_statistics`) that are saved with it, and zeroes what is not valid. A pixel is *valid* in a
modality when all of the modality's bands are finite there, so a void in the elevation model leaves the
image usable.

Augmentation, in this order: a random crop and scale; slumps of another chip (`rtslib.data.paste`), after the crop so
that they are seen; the eight flips and quarter turns of the square and photometric jitter (`rtslib.data.augment`);
modalities that are missing (`rtslib.data.missing`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from rtslib.bands import BANDS, check_modalities
from rtslib.data.augment import IMAGERY, framed, jittered, turned, zoom_factor
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.masks import decode
from rtslib.data.missing import draw, hide
from rtslib.data.paste import DONORS, paste


class ChipDataset(torch.utils.data.Dataset):
    """Chips as samples.

    `dataset[i]` is a dict:
        `image_id` int; `size` (H, W) px of this sample (a quarter turn swaps them);
        `images` {modality: float32 (C, H, W)} in physical units, 0 where invalid;
        `valid` {modality: bool (H, W)};
        `target`, for labelled chips only: `boxes` float32 (N, 4) xyxy px along the outer pixel edges,
        `labels` int64 (N,) all 1, `masks` bool (N, H, W). N may be 0.

    With `augment`, a sample of these chips depends on (seed, epoch, index) alone, in whichever process it is made;
    the epoch lives in shared memory, so `set_epoch` reaches persistent DataLoader workers. All modalities
    turn together; chips that are not square lie the same way throughout an epoch, and turned in the next.
    Shaded relief shows the sun from the north-west and a turned one does not; that is accepted, since
    slumps face any way and a fixed sun would tie their look to their aspect.

    Args:
        chipset: opened data set.
        chips: those of its chips that make up this data set, in order.
        modalities: modality name -> band names.
        augment: turn, flip and jitter.
        cache: keep the pixels read in memory (each worker process keeps its own).
        seed: of the augmentation.
        crop: px a side that augmented chips are cut to, see `rtslib.data.augment.framed`; 0: whole chips.
        dropout: chance that a modality is hidden from an augmented chip, see `rtslib.data.missing.draw`.
        hidden: modality -> part (`rtslib.data.missing.PARTS`) that is hidden from every chip. The bands of one
            that is hidden on the whole chip need not be there.
        crop_slumps: share of crops that are to hold a pixel of a slump.
        scale_jitter: x: augmented chips are resized by a factor in [1 - x, 1 / (1 - x)], their crops to `crop` px.
        paste: chance that an augmented, labelled chip gets slumps of another one of `chips`.
        jitter, hue: of `rtslib.data.augment.jittered`.

    Raises:
        ConfigError: a modality needs a band that the data does not have.
    """

    def __init__(
        self, chipset: ChipSet, chips: Sequence[Chip], modalities: Mapping[str, Sequence[str]], augment: bool = False,
        cache: bool = True, seed: int = 0, crop: int = 0, dropout: float = 0.0,
        hidden: Mapping[str, str] | None = None, crop_slumps: float = 2 / 3, scale_jitter: float = 0.0,
        paste: float = 0.0, jitter: float = 1.0, hue: float = 0.0,
    ) -> None:  # fmt: skip
        self.chipset, self.chips = chipset, tuple(chips)
        self.hidden = dict(hidden or {})
        gone = {m for m, part in self.hidden.items() if part == "all" and not set(modalities[m]) <= set(chipset.bands)}
        self.modalities = check_modalities({m: b for m, b in modalities.items() if m not in gone}, chipset.bands)
        self._void = {m: len(modalities[m]) for m in modalities if m in gone}
        self._order = list(modalities)
        self.augment, self.seed, self.crop, self.dropout = augment, seed, crop, dropout
        self.crop_slumps, self.scale_jitter, self.jitter, self.hue = crop_slumps, scale_jitter, jitter, hue
        self.paste = paste
        self._donors = [c for c in self.chips if chipset.instances.get(c.id)]
        self._bands = tuple(dict.fromkeys(b for bands in self.modalities.values() for b in bands))
        self._of = {m: [self._bands.index(b) for b in bands] for m, bands in self.modalities.items()}
        self._imagery = [k for k, b in enumerate(self._bands) if b in IMAGERY]
        known = (BANDS.get(b) for b in self._bands)
        self._limits = np.array([(b.low, b.high) if b else (-np.inf, np.inf) for b in known], dtype=np.float32)
        self._cache: dict[int, np.ndarray] | None = {} if cache else None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose augmentation the samples show; no effect without `augment`."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> dict:
        """Return sample `index` as the class docstring says. Raises DataError if it cannot be read."""
        chip = self.chips[index]
        pixels, masks = self._pixels(chip), self._masks(chip)
        if self.augment:
            rng = np.random.default_rng([self.seed, int(self._epoch), index % len(self)])
            pixels, masks = self._augmented(chip, pixels, masks, rng)
        finite = np.isfinite(pixels)
        valid = {m: finite[k].all(axis=0) for m, k in self._of.items()}
        images = {m: torch.from_numpy(np.where(valid[m], pixels[k], 0)) for m, k in self._of.items()}
        valid = {m: torch.from_numpy(v) for m, v in valid.items()}
        for m, bands in self._void.items():
            images[m] = torch.zeros(bands, *pixels.shape[1:])
            valid[m] = torch.zeros(pixels.shape[1:], dtype=torch.bool)
        hide(images, valid, self.hidden)
        if self.augment and self.dropout:
            hide(images, valid, draw(self._order, self.dropout, rng))
        sample = {
            "image_id": chip.id, "size": pixels.shape[1:], "images": {m: images[m] for m in self._order},
            "valid": {m: valid[m] for m in self._order},
        }  # fmt: skip
        if chip.labelled:
            boxes = torch.from_numpy(boxes_of(masks))
            labels = torch.ones(len(masks), dtype=torch.int64)
            sample["target"] = {"boxes": boxes, "labels": labels, "masks": torch.from_numpy(masks)}
        return sample

    def _augmented(
        self, chip: Chip, pixels: np.ndarray, masks: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return new pixels float32 (B, h, w) and masks bool (n, h, w): cut, pasted, turned and lit as `rng` says."""
        zoom = zoom_factor(self.scale_jitter, rng) if self.scale_jitter else 1.0
        pixels, masks = framed(pixels, masks, self.crop, zoom, rng, self.crop_slumps)
        if self.paste and chip.labelled and rng.random() < self.paste:
            others = [c for c in self._donors if c.id != chip.id]
            drawn = rng.choice(len(others), min(DONORS, len(others)), replace=False) if others else ()
            donors = ((self._pixels(others[k]), self._masks(others[k])) for k in drawn)
            pixels, masks = paste(pixels, masks, donors, self._limits, self.scale_jitter, rng)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        if pixels.shape[1] != pixels.shape[2]:  # in one epoch all lie the same way: mixed batches would be half padding
            turns = turns // 2 * 2 + int(self._epoch) % 2
        pixels, masks = turned(pixels, turns, flip), turned(masks, turns, flip)
        pixels[self._imagery] = jittered(pixels[self._imagery], rng, self.jitter, self.hue)
        return pixels, masks

    def _pixels(self, chip: Chip) -> np.ndarray:
        """Return the needed bands, float32 (B, H, W), NaN = nodata; not to be written to."""
        if self._cache is not None and chip.id in self._cache:
            return self._cache[chip.id]
        every = self.chipset.read(chip)
        pixels = every[[self.chipset.bands.index(b) for b in self._bands]]
        if self._cache is not None:
            self._cache[chip.id] = pixels
        return pixels

    def _masks(self, chip: Chip) -> np.ndarray:
        """Return the instances, bool (N, H, W)."""
        found = self.chipset.instances[chip.id] if chip.labelled else ()
        if not found:
            return np.zeros((0, chip.height, chip.width), dtype=bool)
        return np.stack([decode(i.rle) for i in found])


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return the boxes of non-empty masks, bool (N, H, W), as float32 (N, 4) xyxy px: outer pixel edges."""
    (n, h, w), boxes = masks.shape, np.zeros((len(masks), 4), dtype=np.float32)
    if n:
        columns, rows = np.asarray(masks.any(axis=1)), np.asarray(masks.any(axis=2))
        boxes[:, 0], boxes[:, 2] = columns.argmax(axis=1), w - columns[:, ::-1].argmax(axis=1)
        boxes[:, 1], boxes[:, 3] = rows.argmax(axis=1), h - rows[:, ::-1].argmax(axis=1)
    return boxes


def collate(samples: Sequence[dict]) -> dict:
    """Batch samples of any sizes: pad at the bottom and right to the largest of them.

    The model pads further, to multiples of its stride, once it has brought the batch to its scale.

    Args:
        samples: of one `ChipDataset`, all labelled or none.

    Returns:
        `image_ids` list[int]; `sizes` list[(H, W)] before padding; `images` {m: float32 (B, C, Hp, Wp)},
        padded with 0; `valid` {m: bool (B, Hp, Wp)}, padded with False; `targets` list of target dicts
        (masks at chip size, not padded), or None if the chips have no labels.

    Raises:
        ValueError: no sample, or labelled and unlabelled ones together.
    """
    labelled = {"target" in s for s in samples}
    if len(labelled) != 1:
        raise ValueError("a batch holds at least one sample, and all of them or none have a target")
    sizes = [tuple(s["size"]) for s in samples]
    height, width = (max(side) for side in zip(*sizes))
    first, count = samples[0], len(samples)
    images = {m: x.new_zeros(count, len(x), height, width) for m, x in first["images"].items()}
    valid = {m: torch.zeros(count, height, width, dtype=torch.bool) for m in first["valid"]}
    for k, (sample, (h, w)) in enumerate(zip(samples, sizes)):
        for m in images:
            images[m][k, :, :h, :w] = sample["images"][m]
            valid[m][k, :h, :w] = sample["valid"][m]
    return {
        "image_ids": [s["image_id"] for s in samples], "sizes": sizes, "images": images, "valid": valid,
        "targets": [s["target"] for s in samples] if labelled == {True} else None,
    }  # fmt: skip
