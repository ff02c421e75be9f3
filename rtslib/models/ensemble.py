"""Ensembles: trained models of any kind that look at the same chips; a detection counts by who else sees it.

With D_a the detections of model a on a chip, s their scores before calibration and K models, a detection d of any of
them gets the mean of what each model says of it, its own score where it is its own:

    score(d) = 1/K sum over b of max over e in D_b of s(e) min(1, 2 IoU(d, e))

and of detections whose masks overlap the surest stays; of two that support each other fully, that of the model named
first. A model that sees nothing there says 0: what two kinds of model agree on rises above what one of them makes up.
Networks and trees on pixels err apart: on ten-metre chips they rank more right ones first together than each does alone
(docs/results/gpu.md).

The joined scores are calibrated anew, on the validation side, as every run's. Source: weighted boxes fusion, Solovyev
et al. 2021 (Image and Vision Computing 107, arXiv 1910.13302). Differs: outlines are not averaged, one is taken, as
means of masks of two kinds of model fit neither; support grows with the overlap instead of starting at one.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rtslib.config import Config
from rtslib.errors import ConfigError
from rtslib.models.model import Model
from rtslib.models.overlap import mask_ious
from rtslib.models.pieces import Found, together
from rtslib.models.platt import platt


class Ensemble(Model):
    """Models put together; takes and gives what a `rtslib.models.detector.Detector` does in evaluation mode.

    Args:
        config: `members` holds the knobs of each model; its modalities are all that any of them reads.
        members: the models, in the order of `config.members`.

    Raises:
        ConfigError: there are fewer than two models.
    """

    def __init__(self, config: Config, members: Sequence[Model]) -> None:
        super().__init__()
        if len(members) < 2:
            raise ConfigError("an ensemble has two or more models: name as many finished runs")
        self.config = config
        self.members = nn.ModuleList(members)

    @property
    def backbones(self) -> nn.ModuleDict:  # type: ignore[override]
        """The branches of all members by name and number, as a Detector has its own."""
        every = {f"{name}_{k}": b for k, m in enumerate(self.members) for name, b in cast(Model, m).backbones.items()}
        return nn.ModuleDict(every)

    def forward(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        """Return detections, as `Detector.forward` in evaluation mode. Raises ConfigError in training mode."""
        if self.training:
            raise ConfigError("an ensemble learns nothing: train its members, and join them again")
        answers = []
        for member in self.members:
            names = list(cast(Model, member).config.modalities)
            answers.append(member({**batch, **{k: {m: batch[k][m] for m in names} for k in ("images", "valid")}}))
        out = []
        for found in zip(*answers, strict=True):
            one, c = united(found, self.config.max_dets), self.config
            out.append(one | {"scores": platt(one["scores"], c.temperature, c.score_shift)})
        return out


def united(found: Sequence[Found], most: int) -> Found:
    """Put the detections of several models on one chip together, by the formula of the module.

    Args:
        found: of each model: `boxes` (n, 4) xyxy px, `scores` (n,) in [0, 1], `masks` (n, h, w) probabilities; n may
            be 0.
        most: detections to keep.

    Returns:
        `boxes`, `scores` descending, `labels` int64 all 1, `masks`, of at most `most` detections.
    """
    masks = torch.cat([f["masks"] for f in found]) >= 0.5
    overlap = mask_ious(masks)
    scores = torch.cat([f["scores"] for f in found])
    said = torch.zeros_like(scores)
    owner = torch.cat([torch.full((len(f["scores"]),), k, device=scores.device) for k, f in enumerate(found)])
    for k in range(len(found)):
        theirs = owner == k
        if theirs.any():
            support = (scores[theirs] * (2 * overlap[:, theirs]).clamp(max=1)).amax(1)
            said += torch.where(theirs, scores, support) / len(found)
    parts = said.split([len(f["scores"]) for f in found])
    return together([{**f, "scores": s} for f, s in zip(found, parts, strict=True)], most)
