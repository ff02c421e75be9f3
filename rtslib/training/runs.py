"""Run folders: what a training leaves behind.

    config.json  every knob, with the normalisation statistics and the temperature of the scores
    model.pt     the (averaged) weights, {parameter name: tensor}
    log.csv      one row an epoch
    split.csv    chip, name, group, side
    predictions_val.json  COCO results on the validation side, if there is one
    run.json     key, git state, seed, versions, hardware, data fingerprint, passes, wall time, finished

The *key* is a hash of config, data, split and initial weights; two runs with the same key are the same.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtslib.config import Config
from rtslib.errors import DataError, OutputError, WeightsError
from rtslib.files import read_json, sha256, whole
from rtslib.models.detector import Detector, build_model
from rtslib.models.names import common_weights, fit_weights

#: Key of `init` for a run that all weights come from.
WHOLE = "all"


def run_key(config: Config, fingerprint: str, split: str, init: Mapping[str, Path] | None) -> str:
    """Return 64 hexadecimal digits that identify a training.

    Args:
        config: its knobs. `workers`, which changes no result, is left out.
        fingerprint: of the data (`ChipSet.fingerprint`).
        split: text of the split table.
        init: as for `initialise`.

    Raises:
        DataError: a run in `init` has no weights.
    """
    knobs = config.model_dump(exclude={"workers", "modality_mean", "modality_std", "temperature"})
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


def load_onto_device(run: str | Path) -> tuple[Detector, Config]:
    """Rebuild a finished run's model as `load_run`, on the GPU if there is one."""
    model, config = load_run(run)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), config


def predictions_file(run: str | Path, side: str, hidden: Mapping[str, str] | None = None) -> Path:
    """Return where a run keeps its predictions on a side of its split; `hidden`: modality -> part, what it did without."""
    without = "".join(f"-{m}-{part}" for m, part in (hidden or {}).items())
    return Path(run) / f"predictions_{side}{without}.json"


def initialise(model: Detector, init: Mapping[str, str | Path]) -> None:
    """Start a model from finished runs. Normalisation stays the model's own.

    Two ways:
    - `{"all": run}`: every weight of a run of the same make (modalities, fusion, sizes), as when a model
      trained on the embedded landscape goes on on real chips;
    - `{modality: unimodal run, ...}`: the second stage of two-stage training (Li et al. 2025). Each branch
      takes its run's backbone; pyramid, proposals and heads come from the primary modality's run, so that a
      residual fusion starts as exactly that model. A `Decision` takes the runs whole, with their temperatures.

    Args:
        model: with one branch per modality of `init`.
        init: as above; the primary modality must be there. No modality may be called `all`.

    Raises:
        WeightsError: the fusion has no branch of that name, the primary is missing, or a run is of other
            bands, another backbone or other heads.
    """
    config, own = model.config, common_weights(model)
    if set(init) == {WHOLE}:
        theirs = Config.load(Path(init[WHOLE]) / "config.json")
        if theirs.modalities != config.modalities or (len(theirs.modalities) > 1 and theirs.fusion != config.fusion):
            raise WeightsError(
                f"{init[WHOLE]} is {theirs.fusion} of {theirs.modalities}: to start from all of it, train the same"
            )
        start = {k: own[k] if k in _statistics(config) else v for k, v in _weights(init[WHOLE]).items()}
        fit_weights(model, start, init[WHOLE])
        return
    if config.primary not in init:
        raise WeightsError(f"initial weights for {sorted(init)}, but none for the primary modality {config.primary!r}")
    for modality, run in init.items():
        if modality not in model.backbones:
            raise WeightsError(f"no branch {modality!r} to start from {run}: this model has {list(model.backbones)}")
        theirs = Config.load(Path(run) / "config.json")
        if theirs.modalities != {modality: config.modalities[modality]}:
            raise WeightsError(f"{run} was trained on {theirs.modalities}, needed is {modality!r} alone, same bands")
        if config.fusion == "decision" and len(config.modalities) > 1:
            fit_weights(model.detectors[modality], _weights(run), run)
            model.temperatures[list(config.modalities).index(modality)] = theirs.temperature
            continue
        parts = [f"backbones.{modality}."]
        if modality == config.primary:
            parts += ["fpn.", "rpn.", "heads.", "mask_head."]
        start = {k: v for k, v in _weights(run).items() if k.startswith(tuple(parts))}
        own = common_weights(model)
        kept = {k: v for k, v in own.items() if not k.startswith(tuple(parts))}
        fit_weights(model, kept | start, run)


def claim(out: Path, key: str, resume: bool) -> bool:
    """Tell whether a folder holds the finished run of a key.

    Args:
        out: run folder, which need not exist.
        key: see `run_key`.
        resume: allow a folder that holds this run, unfinished or not.

    Returns:
        True if it is finished and has its weights; False if it may be written to.

    Raises:
        OutputError: the folder holds another run or something else, or any run without `resume`.
    """
    there = read_run(out)
    if not there:
        if out.exists() and any(out.iterdir()):
            raise OutputError(f"{out} is not empty and holds no run: choose another folder")
        return False
    if not resume:
        raise OutputError(f"{out} already holds a run: choose another folder, or resume it")
    if there.get("key") != key:
        raise OutputError(f"{out} holds a run with another config, data or split: choose another folder or delete it")
    return bool(there.get("finished")) and (out / "model.pt").exists()


def relative_paths(runs: Mapping[str, str | Path], folder: Path) -> dict[str, str]:
    """Return paths of runs as seen from a run's folder, so that both may move together."""
    return {m: Path(os.path.relpath(Path(run).resolve(), folder.resolve())).as_posix() for m, run in runs.items()}


def _weights(run: str | Path) -> dict[str, Tensor]:
    return load_weights(Path(run) / "model.pt")


def _statistics(config: Config) -> set[str]:
    """Names of the buffers that hold normalisation statistics."""
    return {f"{kind}_{m}" for kind in ("mean", "std") for m in config.modalities}
