"""Example detections: chips with the slumps drawn on them and what each model found there.

One row a chip; the first column shows the labels, each further one a model's detections with their scores.
A detection is drawn thick where it matches an instance (IoU of masks 0.5 or more, best score first, each
instance once: COCO's rule), thin and dashed where it does not, so that the figure can be read as counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pycocotools import mask as coco_mask

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.masks import decode
from rtslib.figures.charts import COLOURS, OKABE_ITO

#: Outline of labels; bright yellow is seen on tundra, water and bare ground alike.
TRUTH_COLOUR = "#F0E442"
#: Detections a chip that are drawn, best first: as many as the challenge scores.
MOST = 10


def pick(chipset: ChipSet, chips: Sequence[Chip], count: int = 4) -> list[Chip]:
    """Return `count` chips with slumps at even steps through `chips`, so that nobody chose them by result."""
    bearing = [c for c in chips if chipset.instances[c.id]]
    if len(bearing) <= count:
        return bearing
    return [bearing[round(i)] for i in np.linspace(0, len(bearing) - 1, count)]


def detections_figure(
    chipset: ChipSet, chips: Sequence[Chip], results: Mapping[str, Sequence[dict]], score: float = 0.3
) -> Figure:
    """Draw labels and detections on chips.

    Args:
        chipset, chips: data, and its chips to draw, one a row; at least one.
        results: model name -> COCO results (`rtslib.training.prediction`), on these chips and maybe others.
        score: detections below are not drawn, 0-1; nor are those after the `MOST` best of a chip.

    Raises:
        DataError: a chip cannot be read.
    """
    columns = 1 + len(results)
    ratio = sum(c.height / c.width for c in chips)
    size = (2.9 * columns, 2.9 * ratio + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(chips), columns, squeeze=False)
    for row, chip in zip(axes, chips, strict=True):
        image, truth = true_colour(chipset, chip), [i.rle for i in chipset.instances[chip.id]]
        for cell in row:
            cell.imshow(image, interpolation="nearest")
            cell.set_xticks([])
            cell.set_yticks([])
        row[0].set_ylabel(chip.name, fontsize=7)
        for rle in truth:
            outline(row[0], rle, color=TRUTH_COLOUR, linewidth=1.6)
        for cell, (name, found) in zip(row[1:], results.items(), strict=True):
            here = sorted((r for r in found if r["image_id"] == chip.id), key=lambda r: -r["score"])
            _draw(cell, [r for r in here[:MOST] if r["score"] >= score], truth, COLOURS.get(name, OKABE_ITO[1]))
    axes[0][0].set_title("labels", fontsize=10)
    for cell, name in zip(axes[0][1:], results, strict=True):
        cell.set_title(f"{name}, score of {score:g} or more", fontsize=10)
    return figure


def true_colour(chipset: ChipSet, chip: Chip) -> np.ndarray:
    """Return a chip as it would be seen: uint8 (H, W, 3), stretched from its 1st to its 99th percentile.

    Without red, green and blue bands it is the first band in grey. Nodata is black.
    """
    pixels = chipset.read(chip)
    names = [b for b in ("red", "green", "blue") if b in chipset.bands]
    names = names if len(names) == 3 else [chipset.bands[0]] * 3
    shown = pixels[[chipset.bands.index(b) for b in names]]
    seen = shown[:, np.isfinite(shown).all(0)]
    if not seen.size:
        return np.zeros((chip.height, chip.width, 3), np.uint8)
    low, high = np.percentile(seen, (1, 99))
    scaled = np.clip((shown - low) / max(high - low, 1e-6), 0, 1)
    return (np.nan_to_num(scaled) * 255).astype(np.uint8).transpose(1, 2, 0)


def matches(found: Sequence[dict], truth: Sequence[dict], iou: float = 0.5) -> list[bool]:
    """Tell which results match an instance: best score first, each instance once.

    Args:
        found: COCO results of one chip, best score first.
        truth: compressed RLEs of its instances.
        iou: least intersection over union of masks.
    """
    if not found or not truth:
        return [False] * len(found)
    overlap = coco_mask.iou([r["segmentation"] for r in found], list(truth), [0] * len(truth))
    free, matched = np.ones(len(truth), bool), []
    for row in overlap:
        best = int(np.where(free, row, -1).argmax())
        hit = bool(free[best] and row[best] >= iou)
        free[best] &= not hit
        matched.append(hit)
    return matched


def outline(axes: Axes, rle: dict, **style: Any) -> None:
    """Draw a mask's outlines, holes too, in pixel coordinates of the chip."""
    from skimage.measure import find_contours

    for line in find_contours(np.pad(decode(rle).astype(float), 1), 0.5):
        axes.plot(line[:, 1] - 1, line[:, 0] - 1, **style)


def _draw(axes: Axes, found: Sequence[dict], truth: Sequence[dict], colour: str) -> None:
    """Draw detections, matched ones thick, with their scores at the top of each."""
    for result, hit in zip(found, matches(found, truth), strict=True):
        style: dict[str, Any] = {"linewidth": 2.2, "linestyle": "-"} if hit else {"linewidth": 1.2, "linestyle": "--"}
        outline(axes, result["segmentation"], color="white", linewidth=style["linewidth"] + 1.4, alpha=0.7)
        outline(axes, result["segmentation"], color=colour, **style)
        x, y, width, _ = coco_mask.toBbox(result["segmentation"])
        box = {"facecolor": "black", "alpha": 0.55, "pad": 0.8, "linewidth": 0}
        axes.text(x + width / 2, max(y, 6), f"{result['score']:.2f}", color="white", fontsize=6, ha="center", bbox=box)
