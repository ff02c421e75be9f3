"""Decision-level fusion (late fusion): one detector a modality, each alone; their detections are put together.

    D = NMS(union over m of D_m)

All detections of a chip are taken, best calibrated score first, and one that overlaps a better one by more than
`nms` (IoU of masks) is dropped. Nothing is learnt together, so modalities cannot explain each other, but any
number of them may be missing: a detector whose modality has no valid pixel on a chip adds nothing there, and no
detection reaches into its own void.

Source: the decision level of the usual three (data, feature, decision), e.g. Hall and Llinas 1997 (Proc. IEEE
85(1), doi 10.1109/5.554205); a baseline, not in Li et al. 2025. Differs from plain late fusion: scores are scaled
by each detector's temperature first, as those of different models do not mean the same.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtslib.config import Config
from rtslib.errors import ConfigError, WeightsError
from rtslib.evaluation.calibration import tempered


class Decision(nn.Module):
    """A Detector a modality; takes and gives what a `rtslib.models.detector.Detector` does.

    Args:
        config: of several modalities, with `modality_mean` and `modality_std` for each.

    Raises:
        ConfigError: statistics are missing, or the engine is not torchvision.
    """

    def __init__(self, config: Config) -> None:
        from rtslib.models.detector import build_model

        super().__init__()
        if config.engine != "torchvision":
            raise ConfigError("fusion=decision puts trained runs together: set engine=torchvision")
        self.config = config
        self.detectors = nn.ModuleDict({m: build_model(alone(config, m)) for m in config.modalities})
        self.register_buffer("temperatures", torch.ones(len(config.modalities)))

    @property
    def backbones(self) -> nn.ModuleDict:
        """The branches by name, as a Detector has them."""
        return nn.ModuleDict({m: d.backbones[m] for m, d in self.detectors.items()})

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, each summed over the detectors; else detections, as `Detector.forward`."""
        parts = {
            m: {**batch, "images": {m: batch["images"][m]}, "valid": {m: batch["valid"][m]}} for m in self.detectors
        }
        answers = {m: detector(parts[m]) for m, detector in self.detectors.items()}
        if self.training:
            names = next(iter(answers.values()))
            return {name: sum(losses[name] for losses in answers.values()) for name in names}
        out = []
        for i, (h, w) in enumerate(batch["sizes"]):
            found = []
            for m, temperature in zip(self.detectors, self.temperatures.tolist(), strict=True):
                one, seen = answers[m][i], batch["valid"][m][i, :h, :w]
                if seen.any():
                    found.append({**one, "scores": tempered(one["scores"], temperature), "masks": one["masks"] * seen})
            out.append(self._united(found or [{k: v[:0] for k, v in answers[m][i].items()}]))
        return out

    def _united(self, found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Put the detections of one chip together: non-maximum suppression by masks, best score first."""
        every = {k: torch.cat([f[k] for f in found]) for k in found[0]}
        order = every["scores"].argsort(descending=True, stable=True)
        every = {k: v[order] for k, v in every.items()}
        keep = mask_nms(every["masks"] >= 0.5, self.config.nms)[: self.config.max_dets]
        return {k: tempered(v[keep], self.config.temperature) if k == "scores" else v[keep] for k, v in every.items()}


def mask_nms(masks: Tensor, iou: float) -> Tensor:
    """Return indices int64 (k,) of the masks, bool (n, h, w) best first, that no better kept one overlaps by more."""
    flat = masks.flatten(1).float()
    both, area = flat @ flat.T, flat.sum(1)
    overlap = both / (area[:, None] + area - both).clamp(min=1)
    kept: list[int] = []
    for i in range(len(flat)):
        if not kept or overlap[i, kept].max() <= iou:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long, device=masks.device)


def alone(config: Config, modality: str) -> Config:
    """Return the config of one modality's detector."""
    one = {modality: config.modalities[modality]}
    stats = {
        k: {m: v for m, v in getattr(config, k).items() if m == modality} for k in ("modality_mean", "modality_std")
    }
    return config.updated(modalities=one, fusion="data", temperature=1.0, **stats)


def join_key(runs: Mapping[str, str | Path]) -> str:
    """Return what tells a joined run from others: SHA-256 over its runs' weights and configs. Raises DataError."""
    from rtslib.files import sha256

    text = json.dumps([[m, sha256(Path(r) / "model.pt"), sha256(Path(r) / "config.json")] for m, r in runs.items()])
    return hashlib.sha256(f"decision {text}".encode()).hexdigest()


def join(runs: Mapping[str, str | Path], folder: str | Path) -> Path:
    """Make a run that puts unimodal runs together, without training; recognised if it is there already.

    Its scores are those of the runs, scaled by the temperatures that these were given.

    Args:
        runs: modality -> finished run on that modality alone, the primary one first; all on one split.
        folder: of the new run.

    Returns:
        The folder, as `train` would leave it: `config.json`, `model.pt`, `split.csv`, `run.json`.

    Raises:
        DataError, WeightsError: a run is missing, unfinished or of other bands.
        OutputError: the folder holds something else, or cannot be written.
    """
    from rtslib.files import read_json, write_json, write_text
    from rtslib.training.runs import claim, initialise, read_run, relative_paths, save_weights

    folder, records = Path(folder), {m: read_json(Path(r) / "run.json") for m, r in runs.items()}
    key = join_key(runs)
    if claim(folder, key, resume=True):
        return folder
    configs = {m: Config.load(Path(r) / "config.json") for m, r in runs.items()}
    for m, config in configs.items():
        if list(config.modalities) != [m]:
            raise WeightsError(f"{runs[m]} was trained on {list(config.modalities)}, needed is {m!r} alone")
    first = next(iter(configs.values()))
    united = {
        k: {m: getattr(c, k)[m] for m, c in configs.items()} for k in ("modalities", "modality_mean", "modality_std")
    }
    config = first.updated(fusion="decision", temperature=1.0, **united)
    model = Decision(config)
    initialise(model, runs)
    config.save(folder / "config.json")
    write_text(folder / "split.csv", (Path(next(iter(runs.values()))) / "split.csv").read_text(encoding="utf-8"))
    save_weights(folder / "model.pt", model)
    counted = {"parameters": sum(p.numel() for p in model.parameters()), "trained_parameters": 0}
    kept = {k: v for k, v in read_run(next(iter(runs.values()))).items() if k not in ("calibration", "peak_memory_mib")}
    start = {"init": relative_paths(runs, folder), "key": key, "seconds": 0.0, "steps": 0, "passes": 0}
    peaks = [r["peak_memory_mib"] for r in records.values() if r.get("peak_memory_mib") is not None]
    memory = {"peak_memory_mib": max(peaks, default=None)}  # None where the system does not tell
    write_json(folder / "run.json", {**kept, **start, **counted, **memory})
    return folder
