"""Run folders: what a training leaves behind.

    config.json  every knob, with the normalisation statistics
    model.pt     the (averaged) weights, {parameter name: tensor}
    log.csv      one row an epoch
    split.csv    chip, name, group, side
    run.json     key, git state, seed, versions, hardware, data fingerprint, passes, wall time, finished

The *key* is a hash of config, data, split and initial weights; two runs with the same key are the same.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtslib.config import Config
from rtslib.detector import Detector, build_model
from rtslib.engines import common_weights, fit_weights
from rtslib.errors import DataError, WeightsError
from rtslib.files import read_json, sha256, whole


def run_key(config: Config, fingerprint: str, split: str, init: Mapping[str, Path] | None) -> str:
    """Return 64 hexadecimal digits that identify a training.

    Args:
        config: its knobs. `workers`, which changes no result, is left out.
        fingerprint: of the data (`ChipSet.fingerprint`).
        split: text of the split table.
        init: modality -> run folder whose weights it starts from.

    Raises:
        DataError: a run in `init` has no weights.
    """
    knobs = config.model_dump(exclude={"workers", "modality_mean", "modality_std"})
    start = {m: sha256(Path(run) / "model.pt") for m, run in (init or {}).items()}
    text = json.dumps([knobs, fingerprint, split, start], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_run(run: str | Path) -> dict[str, Any]:
    """Return a run's `run.json`, {} if there is none. Raises DataError if it is not readable JSON."""
    path = Path(run) / "run.json"
    record = read_json(path) if path.exists() else {}
    if not isinstance(record, dict):
        raise DataError(path, f"a JSON {type(record).__name__}", "an object, as `train` writes it")
    return record


def save_weights(path: str | Path, model: Detector) -> None:
    """Write a model's weights under the default engine's names, whole or not at all. Raises OutputError."""
    with whole(path) as part:
        torch.save({k: v.cpu() for k, v in common_weights(model).items()}, part)


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict without executing pickled code.

    Raises:
        WeightsError: no such file, or not a file of tensors only.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file: give a finished run's folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises many kinds for files that are cut, foreign or unsafe
        raise WeightsError(f"{path}: cannot be read as weights ({type(e).__name__}): copy it again") from e
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: holds something else than named tensors: give a run's model.pt")
    return state


def load_run(run: str | Path) -> tuple[Detector, Config]:
    """Rebuild a finished run's model in evaluation mode, on the CPU.

    Raises:
        DataError: no such folder or no readable config in it.
        ConfigError: the config has unknown knobs.
        EngineError: the engine that it was trained with is not installed.
        WeightsError: the weights are missing, unreadable or do not fit.
    """
    run = Path(run)
    if not run.is_dir():
        raise DataError(run, "no such folder", "a run's folder, as `train` writes it")
    config = Config.load(run / "config.json")
    model = build_model(config.updated(pretrained=False, zoo=""))
    fit_weights(model, load_weights(run / "model.pt"), run / "model.pt")
    return model.eval(), config


def initialise(model: Detector, init: Mapping[str, str | Path]) -> None:
    """Start a model from unimodal runs: the second stage of two-stage training (Li et al. 2025).

    Each branch takes its run's backbone; pyramid, proposals and heads come from the primary modality's
    run, so that a residual fusion starts as exactly that model. Normalisation stays the model's own.

    Args:
        model: with one branch per modality of `init`.
        init: modality -> folder of a run on that modality alone; the primary one must be there.

    Raises:
        WeightsError: the fusion has no branch of that name, the primary is missing, or a run is of other
            bands, another backbone or other heads.
    """
    config = model.config
    if config.primary not in init:
        raise WeightsError(f"initial weights for {sorted(init)}, but none for the primary modality {config.primary!r}")
    for modality, run in init.items():
        if modality not in model.backbones:
            raise WeightsError(f"no branch {modality!r} to start from {run}: this model has {list(model.backbones)}")
        theirs = Config.load(Path(run) / "config.json")
        if theirs.modalities != {modality: config.modalities[modality]}:
            raise WeightsError(f"{run} was trained on {theirs.modalities}, needed is {modality!r} alone, same bands")
        parts = [f"backbones.{modality}."]
        if modality == config.primary:
            parts += ["fpn.", "rpn.", "heads.", "mask_head."]
        start = {k: v for k, v in load_weights(Path(run) / "model.pt").items() if k.startswith(tuple(parts))}
        own = common_weights(model)
        kept = {k: v for k, v in own.items() if not k.startswith(tuple(parts))}
        fit_weights(model, kept | start, run)
