"""Turning: a chip is judged in eight views, turned and mirrored, and what they say is put together.

The *views* are the eight flips and quarter turns of the square (dihedral group D4), in which training shows chips too
(`rtslib.data.augment`). What the model finds in a view is turned back, and the detections of all views become one set:

    best score first, each joins the instance whose first member its mask fits best, with IoU >= 0.5, among those that
    have no member of its view yet; where there is none it founds one
    mask = mean of the members' probabilities, box = mean of their boxes
    score = sum of the members' scores / 8

So a view that says nothing says 0. A mean over the members alone would put what one view takes for a slump at 0.9
before what all eight see at 0.85. Nothing is cut by its score, as average precision counts what is less sure too; what
has no pixel of 0.5 in its view is left out, and the best `max_dets` are kept.

Calibration (`temperature`, `score_shift`) comes after the sum: it is that of a run with `tta` in its config, whose
validation side was seen turned once the run was trained (on the way, also by `val_every`, nothing is). A run without it
that is turned afterwards has its calibration, threshold and totals from chips that were not; what only some views see
then has less score than they meant.

Shaded relief shows the sun from the north-west and a turned chip does not; that is accepted here as it is in training.

Sources: test-time augmentation of Mask R-CNN by turns and flips, Moshkov et al. 2020 (Scientific Reports 10:5068, doi
10.1038/s41598-020-61808-3); joining and score as weighted boxes fusion (Solovyev et al. 2021, arXiv 1910.13302).
Differs from that: masks are matched, not boxes; a view gives an instance one member at most; members weigh the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from rtslib.config import Config
from rtslib.data.samples import boxes_of
from rtslib.models.decision import Decision
from rtslib.models.model import Model
from rtslib.models.pixels import apart
from rtslib.models.platt import platt

#: (counter-clockwise quarter turns, whether mirrored left to right after that) of each view, the chip itself first.
VIEWS = tuple((turns, flip) for flip in (False, True) for turns in range(4))
#: Least IoU of the masks of one instance in two views, and the probability from which a pixel is in a mask.
SAME, INSIDE = 0.5, 0.5


class Turned(Model):
    """A model that sees every chip in eight views; takes and gives what the model does, in eight times its time.

    Chips of one size are turned together, each within its own size. Views are run one after the other and their masks
    kept cropped, so that memory holds little more than one view's.

    Args:
        model: any with a config. It is taken over: its scores are not calibrated any more, those joined are.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.config = model.config.updated(tta=True)
        model.config = model.config.updated(temperature=1.0, score_shift=0.0)
        self.model = model
        self.training = model.training

    @property
    def backbones(self) -> nn.ModuleDict:  # type: ignore[override]
        """The model's branches by name."""
        return self.model.backbones

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """The model's own losses in training mode; else detections, as `rtslib.models.detector.Detector.forward`."""
        if self.training:
            return self.model(batch)
        return apart(self._of_one_size, batch, lambda h, w: (h, w))

    def _of_one_size(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        size, count = tuple(batch["sizes"][0]), len(batch["sizes"])
        seen: list[list[Glimpse]] = [[] for _ in range(count)]
        for view, (turns, flip) in enumerate(VIEWS):
            parts = {k: {m: turn(t, turns, flip) for m, t in batch[k].items()} for k in ("images", "valid")}
            sizes = [size[::-1] if turns % 2 else size] * count
            for mine, found in zip(seen, self.model({**parts, "sizes": sizes}), strict=True):
                mine += glimpses(found, view, size)
        device = next(iter(batch["valid"].values())).device
        found = [joined(mine, size, self.config) for mine in seen]
        return [{k: t.to(device) for k, t in one.items()} for one in found]


def turned(model: Model) -> Model:
    """Return a model that sees its chips turned, the same one if it does already.

    Of a `Decision` each detector does, in place, so that what calibrates a detector alone does so here.
    """
    if isinstance(model, Turned):
        return model
    if not isinstance(model, Decision):
        return Turned(model)
    model.config = model.config.updated(tta=True)
    for name, detector in list(model.detectors.items()):
        model.detectors[name] = turned(cast(Model, detector))
    return model


def turn(x: Tensor, turns: int, flip: bool) -> Tensor:
    """Turn (..., H, W) counter-clockwise by quarter turns, then mirror it left to right if `flip`."""
    x = torch.rot90(x, turns, (-2, -1))
    return x.flip(-1) if flip else x


def turn_back(x: Tensor, turns: int, flip: bool) -> Tensor:
    """Undo `turn`."""
    return torch.rot90(x.flip(-1) if flip else x, -turns, (-2, -1))


def boxes_back(boxes: Tensor, turns: int, flip: bool, size: tuple[int, int]) -> Tensor:
    """Undo `turn` on boxes (n, 4) xyxy px; `size` (h, w) is that of the chip before it was turned."""
    h, w = size[::-1] if turns % 2 else size
    x0, y0, x1, y1 = boxes.unbind(1)
    if flip:
        x0, x1 = w - x1, w - x0
    for _ in range(turns):
        x0, y0, x1, y1 = h - y1, x0, h - y0, x1
        h, w = w, h
    return torch.stack([x0, y0, x1, y1], dim=1)


@dataclass(frozen=True)
class Glimpse:
    """A detection of one view, turned back.

    Attributes:
        view: index in `VIEWS`.
        score: not calibrated.
        box: float (4,) xyxy px.
        rect: int (4,) top, left, bottom, right px: where its probabilities are above 0.
        probs: float32 (bottom - top, right - left), the probabilities there.
    """

    view: int
    score: float
    box: np.ndarray
    rect: np.ndarray
    probs: np.ndarray

    @cached_property
    def inside(self) -> np.ndarray:
        """Its mask, bool, as `probs`."""
        return self.probs >= INSIDE

    @cached_property
    def area(self) -> int:
        """Pixels of its mask."""
        return int(np.count_nonzero(self.inside))


def glimpses(found: dict[str, Tensor], view: int, size: tuple[int, int]) -> list[Glimpse]:
    """Turn one view's detections back and crop them; those without a pixel go, unless their score is not a number.

    Args:
        found: of one chip, as `Detector.forward` in evaluation mode.
        view: index in `VIEWS`.
        size: (h, w) of the chip before it was turned.
    """
    places = torch.from_numpy(boxes_of((found["masks"] > 0).cpu().numpy()))
    rects, boxes = (boxes_back(b, *VIEWS[view], size).cpu().numpy() for b in (places.int(), found["boxes"].double()))
    out = []
    for k, (score, place) in enumerate(zip(found["scores"].tolist(), places.int().tolist(), strict=True)):
        x0, y0, x1, y1 = place
        probs = turn_back(found["masks"][k, y0:y1, x0:x1], *VIEWS[view]).float().cpu()
        glimpse = Glimpse(view, score, boxes[k], rects[k][[1, 0, 3, 2]], np.array(probs))  # a copy: the rest can go
        if glimpse.area or not np.isfinite(score):
            out.append(glimpse)
    return out


def joined(seen: Sequence[Glimpse], size: tuple[int, int], config: Config) -> dict[str, Tensor]:
    """Join what the views saw of one chip, as the head of this file says.

    Args:
        seen: of all views.
        size: (h, w) of the chip.
        config: `max_dets`, `temperature`, `score_shift`.

    Returns:
        As `Detector.forward` in evaluation mode, on the CPU.
    """
    instances = _instances(sorted(seen, key=lambda g: -g.score))
    every = torch.tensor([sum(g.score for g in members) / len(VIEWS) for members in instances], dtype=torch.float64)
    order = every.argsort(descending=True, stable=True)[: config.max_dets]
    kept = [instances[k] for k in order.tolist()]
    boxes, masks = np.zeros((len(kept), 4)), np.zeros((len(kept), *size), np.float32)
    for k, members in enumerate(kept):
        boxes[k] = np.mean([g.box for g in members], axis=0)
        rects = np.stack([g.rect for g in members])
        (top, left), (bottom, right) = rects[:, :2].min(0), rects[:, 2:].max(0)
        total = np.zeros((bottom - top, right - left))  # float64, in which eight of a kind have that kind's mean
        for g in members:
            r0, c0, r1, c1 = g.rect - np.array([top, left, top, left])
            total[r0:r1, c0:c1] += g.probs
        masks[k, top:bottom, left:right] = total / len(members)
    return {
        "boxes": torch.from_numpy(boxes).float(),
        "scores": platt(every[order].float(), config.temperature, config.score_shift),
        "labels": torch.ones(len(kept), dtype=torch.long),
        "masks": torch.from_numpy(masks),
    }


def _instances(ranked: Sequence[Glimpse]) -> list[list[Glimpse]]:
    """Put detections, best first, into instances, each with its members in that order."""
    instances: list[list[Glimpse]] = []
    firsts = np.zeros((len(ranked), 4), dtype=int)  # their first members' places
    for g in ranked:
        there = firsts[: len(instances)]
        meets = ((there[:, :2] < g.rect[2:]) & (g.rect[:2] < there[:, 2:])).all(1)
        free = [i for i in np.flatnonzero(meets).tolist() if all(g.view != other.view for other in instances[i])]
        fits = {i: _iou(instances[i][0], g) for i in free}
        best = max(fits, key=lambda i: fits[i], default=None)
        if best is not None and fits[best] >= SAME:
            instances[best].append(g)
        else:
            firsts[len(instances)] = g.rect
            instances.append([g])
    return instances


def _iou(a: Glimpse, b: Glimpse) -> float:
    """Return the IoU of the masks of two detections whose places overlap."""
    (top, left), (bottom, right) = np.maximum(a.rect, b.rect)[:2], np.minimum(a.rect, b.rect)[2:]
    parts = [g.inside[top - g.rect[0] : bottom - g.rect[0], left - g.rect[1] : right - g.rect[1]] for g in (a, b)]
    both = int(np.count_nonzero(parts[0] & parts[1]))
    return both / max(a.area + b.area - both, 1)
