"""Weights: kept as named tensors, read without executing code, and passed on from run to run."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from rtslib.config import Config
from rtslib.errors import WeightsError
from rtslib.files import whole
from rtslib.models.build import build_model
from rtslib.models.decision import Decision
from rtslib.models.detector import Detector
from rtslib.models.fused import fuse
from rtslib.models.model import Model
from rtslib.models.names import common_weights, fit_weights
from rtslib.models.tta import turned
from rtslib.training.runs import Run

#: Key of `init` for a run that all weights come from.
WHOLE = "all"


def save_weights(path: str | Path, model: Model) -> None:
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


def load_model(run: Run, bare: bool = False) -> Model:
    """Rebuild a finished run's model in evaluation mode, on the CPU.

    Args:
        run: its config says whether the model sees chips turned (`tta`).
        bare: the model without that, to look into it.

    Raises:
        DataError: no such folder or no readable config in it.
        ConfigError: the config has unknown knobs.
        EngineError: the engine that it was trained with is not installed.
        WeightsError: the weights are missing, unreadable or do not fit.
    """
    model = build_model(run.config.updated(pretrained=False, zoo=""))
    fit_weights(model, load_weights(run.weights), run.weights)
    model.eval()
    return turned(model) if model.config.tta and not bare else model


def load_onto_device(run: Run) -> Model:
    """Rebuild a finished run's model as `load_model`, on the GPU if there is one, with its layers fused to predict
    (`rtslib.models.fused`)."""
    model = load_model(run)
    fuse(model)
    return model.to(best_device())


def best_device() -> str:
    """Return the GPU if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def initialise(model: Model, init: Mapping[str, Run]) -> None:
    """Start a model from finished runs. Normalisation stays the model's own.

    Three ways:
    - `{"all": run}`: every weight of a run of the same make (modalities, fusion, sizes), as when a model
      trained on the embedded landscape goes on on real chips;
    - `{primary: unimodal run}` for a model that stacks all bands (`data`): every weight of the run, and kernels of 0
      for the bands that it did not see, so that the model starts as exactly that one (`stacked_from`);
    - `{modality: unimodal run, ...}`: the second stage of two-stage training (Li et al. 2025). Each branch
      takes its run's backbone; pyramid, proposals and heads come from the primary modality's run, so that a
      residual fusion starts as exactly that model. A `Decision` takes the runs whole, with their calibrations.

    Args:
        model: with one branch per modality of `init`.
        init: as above; the primary modality must be there. No modality may be called `all`.

    Raises:
        WeightsError: the fusion has no branch of that name, the primary is missing, or a run is of other
            bands, another backbone or other heads.
    """
    config, own = model.config, common_weights(model)
    if set(init) == {WHOLE}:
        theirs = init[WHOLE].config
        if theirs.modalities != config.modalities or (len(theirs.modalities) > 1 and theirs.fusion != config.fusion):
            raise WeightsError(
                f"{init[WHOLE]} is {theirs.fusion} of {theirs.modalities}: to start from all of it, train the same"
            )
        start = {k: own[k] if k in _statistics(config) else v for k, v in load_weights(init[WHOLE].weights).items()}
        fit_weights(model, start, init[WHOLE])
        return
    if config.primary not in init:
        raise WeightsError(f"initial weights for {sorted(init)}, but none for the primary modality {config.primary!r}")
    if config.fusion == "data" and len(config.modalities) > 1 and set(init) == {config.primary}:
        fit_weights(model, own | stacked_from(config, init[config.primary], own), init[config.primary])
        return
    for modality, run in init.items():
        if modality not in model.backbones:
            raise WeightsError(f"no branch {modality!r} to start from {run}: this model has {list(model.backbones)}")
        theirs = run.config
        if theirs.modalities != {modality: config.modalities[modality]}:
            raise WeightsError(f"{run} was trained on {theirs.modalities}, needed is {modality!r} alone, same bands")
        if isinstance(model, Decision):
            fit_weights(cast(Detector, model.detectors[modality]), load_weights(run.weights), run)
            numbers = torch.tensor([theirs.temperature, theirs.score_shift])
            model.calibrations[list(config.modalities).index(modality)] = numbers
            continue
        parts = [f"backbones.{modality}."]
        if modality == config.primary:
            parts += ["fpn.", "rpn.", "heads.", "mask_head.", "semantic."]
        start = {k: v for k, v in load_weights(run.weights).items() if k.startswith(tuple(parts))}
        own = common_weights(model)
        kept = {k: v for k, v in own.items() if not k.startswith(tuple(parts))}
        fit_weights(model, kept | start, run)


def stacked_from(config: Config, run: Run, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a unimodal run's weights for a model whose one branch reads the bands of all modalities, stacked.

    A convolution that sees more bands here gets kernels of 0 for the others: bands it has learnt nothing of add nothing
    at first, as other branches add nothing at the start of a residual fusion. Differs from inflating by repetition
    (Carreira and Zisserman 2017, arXiv 1705.07750), as bands are not one more of the same.

    Args:
        config: of the model; its primary modality is what the run reads.
        run: finished, of the same backbone and heads.
        own: the model's weights under the default engine's names.

    Raises:
        WeightsError: the run reads other bands, or its weights are missing.
    """
    primary, theirs = config.primary, run.config
    if theirs.modalities != {primary: config.modalities[primary]}:
        raise WeightsError(f"{run} was trained on {theirs.modalities}, needed is {primary!r} alone, same bands")
    out = {}
    for name, tensor in load_weights(run.weights).items():
        if name in (f"mean_{primary}", f"std_{primary}"):
            continue
        key = name.replace(f"backbones.{primary}.", "backbones.data.", 1)
        if key in own and tensor.ndim == 4 and own[key].shape[1] > tensor.shape[1]:  # primary bands come first
            tensor = torch.cat(
                [tensor, tensor.new_zeros(len(tensor), own[key].shape[1] - tensor.shape[1], *tensor.shape[2:])], 1
            )
        out[key] = tensor
    return out


def _statistics(config: Config) -> set[str]:
    """Names of the buffers that hold normalisation statistics."""
    return {f"{kind}_{m}" for kind in ("mean", "std") for m in config.modalities}
