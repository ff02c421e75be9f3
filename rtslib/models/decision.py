"""Decision-level fusion (late fusion): one detector a modality, each alone; their detections are put together.

    D = NMS(union over m of D_m)

All detections of a chip are taken, best calibrated score first, and one that overlaps a better one by more than
`nms` (IoU of masks) is dropped. Nothing is learnt together, so modalities cannot explain each other, but any
number of them may be missing: a detector whose modality has no valid pixel on a chip adds nothing there, and no
detection reaches into its own void.

Source: the decision level of the usual three (data, feature, decision), e.g. Hall and Llinas 1997 (Proc. IEEE
85(1), doi 10.1109/5.554205); a baseline, not in Li et al. 2025. Differs from plain late fusion: scores are
calibrated by each detector's own numbers first, as those of different models do not mean the same.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from rtslib.config import Config
from rtslib.errors import ConfigError
from rtslib.models.detector import Detector
from rtslib.models.model import Model
from rtslib.models.overlap import mask_nms
from rtslib.models.platt import platt


class Decision(Model):
    """A Detector a modality; takes and gives what a `rtslib.models.detector.Detector` does.

    Args:
        config: of several modalities, with `modality_mean` and `modality_std` for each.

    Raises:
        ConfigError: statistics are missing, or the engine is not torchvision.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.engine != "torchvision":
            raise ConfigError("fusion=decision puts trained runs together: set engine=torchvision")
        self.config = config
        self.detectors = nn.ModuleDict({m: Detector(alone(config, m)) for m in config.modalities})
        self.calibrations: Tensor  # temperature and shift of each
        self.register_buffer("calibrations", torch.tensor([[1.0, 0.0]] * len(config.modalities)))

    @property
    def backbones(self) -> nn.ModuleDict:  # type: ignore[override]
        """The branches by name, as a Detector has them."""
        return nn.ModuleDict({m: cast(Detector, d).backbones[m] for m, d in self.detectors.items()})

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, each summed over the detectors; else detections, as `Detector.forward`."""
        parts = {m: {**batch, **{k: {m: batch[k][m]} for k in ("images", "valid")}} for m in self.detectors}
        answers = {m: detector(parts[m]) for m, detector in self.detectors.items()}
        if self.training:
            names = next(iter(answers.values()))
            return {name: sum(losses[name] for losses in answers.values()) for name in names}
        out = []
        for i, (h, w) in enumerate(batch["sizes"]):
            found = []
            for m, numbers in zip(self.detectors, self.calibrations.tolist(), strict=True):
                one, seen = answers[m][i], batch["valid"][m][i, :h, :w]
                if seen.any():
                    found.append({**one, "scores": platt(one["scores"], *numbers), "masks": one["masks"] * seen})
            out.append(self._united(found or [{k: v[:0] for k, v in answers[m][i].items()}]))
        return out

    def _united(self, found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Put the detections of one chip together: non-maximum suppression by masks, best score first."""
        every = {k: torch.cat([f[k] for f in found]) for k in found[0]}
        order = every["scores"].argsort(descending=True, stable=True)
        every = {k: v[order] for k, v in every.items()}
        keep = mask_nms(every["masks"] >= 0.5, self.config.nms)[: self.config.max_dets]
        found, c = {k: v[keep] for k, v in every.items()}, self.config
        return found | {"scores": platt(found["scores"], c.temperature, c.score_shift)}


def alone(config: Config, modality: str) -> Config:
    """Return the config of one modality's detector."""
    one = {modality: config.modalities[modality]}
    stats = {
        k: {m: v for m, v in getattr(config, k).items() if m == modality} for k in ("modality_mean", "modality_std")
    }
    return config.updated(modalities=one, fusion="data", temperature=1.0, score_shift=0.0, **stats)
