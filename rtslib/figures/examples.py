"""Example detections: chips with the slumps drawn on them and what each model found there.

One row a chip; the first column shows the labels, each further one what a model made of them. A detection is a *hit*
where it matches an instance (IoU of masks 0.5 or more, best score first, each instance once: COCO's rule), else a
*false alarm*; an instance that nothing matches is *missed* and drawn as well. The three differ in colour and dash, and
what each column holds is counted above it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pycocotools import mask as coco_mask

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.masks import decode
from rtslib.figures.style import FALSE_ALARM, HIT, KNOWN, MISSED, PAGE, look, rim, sheet, styled

#: Detections a chip that are drawn, best first: as many as the challenge scores.
MOST = 10
#: Width (pt) of a letter and height of a line of scores.
LETTER, LINE = 3.4, 6.5


def pick(chipset: ChipSet, chips: Sequence[Chip], count: int = 4) -> list[Chip]:
    """Return `count` chips with slumps at even steps through `chips`, so that nobody chose them by result."""
    bearing = [c for c in chips if chipset.instances[c.id]]
    if len(bearing) <= count:
        return bearing
    return [bearing[round(i)] for i in np.linspace(0, len(bearing) - 1, count)]


@styled
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
    side = min((PAGE - 0.25) / columns, 2.4)
    figure = sheet(sum(side * c.height / c.width for c in chips) + 0.65, max(side * columns + 0.25, 3.3))
    axes = figure.subplots(len(chips), columns, squeeze=False)
    counts: dict[str, Counter] = {name: Counter() for name in results}
    for row, chip in zip(axes, chips, strict=True):
        image, truth = true_colour(chipset, chip), [i.rle for i in chipset.instances[chip.id]]
        for cell in row:
            cell.imshow(image, interpolation="nearest")
            cell.set(xticks=[], yticks=[], xlim=(-0.5, chip.width - 0.5), ylim=(chip.height - 0.5, -0.5))
        row[0].set_ylabel(chip.name, fontsize=6)
        for rle in truth:
            outline(row[0], rle, KNOWN)
        for cell, (name, found) in zip(row[1:], results.items(), strict=True):
            here = sorted((r for r in found if r["image_id"] == chip.id), key=lambda r: -r["score"])
            shown = [r for r in here[:MOST] if r["score"] >= score]
            counts[name] += _draw(cell, shown, truth, side * 72 / chip.width)
    labelled = sum(len(chipset.instances[c.id]) for c in chips)
    axes[0][0].set_title(f"labels\n{labelled} slumps", fontsize=7)
    for cell, (name, count) in zip(axes[0][1:], counts.items(), strict=True):
        said = f"{count['hit']} hit, {count['missed']} missed, {count['false']} false"
        cell.set_title(f"{look(name).label}\n{said}", fontsize=7)
    _legend(figure, score)
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


def matched(found: Sequence[dict], truth: Sequence[dict], iou: float = 0.5) -> list[int]:
    """Return the instance that each result matches, -1 for none: best score first, each instance once.

    Args:
        found: COCO results of one chip, best score first.
        truth: compressed RLEs of its instances.
        iou: least intersection over union of masks.
    """
    if not found or not truth:
        return [-1] * len(found)
    overlap = coco_mask.iou([r["segmentation"] for r in found], list(truth), [0] * len(truth))
    free, of = np.ones(len(truth), bool), []
    for row in overlap:
        best = int(np.where(free, row, -1).argmax())
        hit = bool(free[best] and row[best] >= iou)
        free[best] &= not hit
        of.append(best if hit else -1)
    return of


def outline(axes: Axes, rle: dict, colour: str, dash: Any = "-", width: float = 1.3) -> None:
    """Draw a mask's outlines over a dark rim, holes too, in pixel coordinates of the chip."""
    from skimage.measure import find_contours

    style: dict[str, Any] = {"solid_capstyle": "round", "dash_capstyle": "butt"}
    for line in find_contours(np.pad(decode(rle).astype(float), 1), 0.5):
        x, y = line[:, 1] - 1, line[:, 0] - 1
        axes.plot(x, y, color="#101010", linewidth=width + 1, alpha=0.75, **style)
        axes.plot(x, y, color=colour, linewidth=width, linestyle=dash, **style)


def _draw(axes: Axes, found: Sequence[dict], truth: Sequence[dict], scale: float) -> Counter:
    """Draw hits, false alarms and what is missed on one chip, and return how many there are; `scale` is pt a pixel."""
    of = matched(found, truth)
    missed = [rle for i, rle in enumerate(truth) if i not in of]
    for rle in missed:
        outline(axes, rle, *MISSED)
    boxes = []
    for result, instance in zip(found, of, strict=True):
        outline(axes, result["segmentation"], *(FALSE_ALARM if instance < 0 else HIT))
        boxes.append(coco_mask.toBbox(result["segmentation"]))
    width, height = axes.get_xlim()[1] + 0.5, axes.get_ylim()[0] + 0.5
    for result, (x, y) in zip(found, places(boxes, (width, height), scale), strict=True):
        axes.text(x, y, f"{result['score']:.2f}", color="white", fontsize=5.5, ha="center", va="center",
                  path_effects=rim(1.6))  # fmt: skip
    return Counter(hit=len(truth) - len(missed), missed=len(missed), false=len(found) - len(truth) + len(missed))


def places(
    boxes: Sequence[Sequence[float]], size: tuple[float, float], scale: float, letters: int = 4
) -> list[tuple[float, float]]:
    """Choose where scores stand: beside their boxes, inside the chip, none on another.

    Args:
        boxes: x, y, width, height (px) of what is scored.
        size: width and height of the chip, px.
        scale: points a pixel.
        letters: of a score.

    Returns:
        Middle (x, y), px, of each. Tried in turn: above, below, in the middle, right, left of the box, then ever lower
        places beside it; the one with the least overlap where all are taken.
    """
    w, h = letters * LETTER / scale, LINE / scale
    taken: list[tuple[float, float]] = []
    for x, y, wide, tall in boxes:
        cx, cy = x + wide / 2, y + tall / 2
        tried = [(cx, y - h / 2), (cx, y + tall + h / 2), (cx, cy), (x + wide + w / 2, cy), (x - w / 2, cy)]
        tried += [(side, cy + step * h) for step in (1, -1, 2, -2, 3, -3) for side in (cx, x + wide + w / 2, x - w / 2)]
        inside = [(min(max(a, w / 2), size[0] - w / 2), min(max(b, h / 2), size[1] - h / 2)) for a, b in tried]
        cost = [sum(max(0, w - abs(a - c)) * max(0, h - abs(b - d)) for c, d in taken) for a, b in inside]
        taken.append(inside[int(np.argmin(cost))])
    return taken


def _legend(figure: Figure, score: float) -> None:
    entries: list[tuple[str, tuple[str, Any]]] = [
        ("labelled", (KNOWN, "-")),
        ("hit", HIT),
        ("missed", MISSED),
        ("false alarm", FALSE_ALARM),
    ]
    handles = [
        Line2D([], [], color=c, linestyle=d, linewidth=1.6, label=said, path_effects=rim(2.8, alpha=1))
        for said, (c, d) in entries
    ]
    title = f"detections with a score of {score:g} or more; a hit overlaps a label by IoU 0.5"
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=3.2, title=title)
