"""detectron2's checkpoints: COCO weights of Cascade Mask R-CNN with MViTv2 as a start.

The zoo's files (`cascade_mask_rcnn_mvitv2_{t,s,b}_*.pkl`) are pickles of {"model": {name: array}, ...};
detectron2's own checkpointer writes the same by `torch.save` (`.pth`). A pickle can run any code, so this
reader lets it build arrays, tensors and plain containers only.

Of the file, every branch takes the backbone (the first convolution by timm's rule for other than three
bands), and pyramid, proposals and heads are taken once. Layers for COCO's 80 classes are dropped: ours have
one class and stay as initialised. Weights of detectron2's MViT need `mvit_like="detectron2"`.

Source: https://github.com/facebookresearch/detectron2/tree/main/projects/MViTv2
"""

import io
import logging
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from timm.models import adapt_input_conv
from torch import Tensor

from rtslib.errors import WeightsError
from rtslib.models.model import Model
from rtslib.models.mvit import SIZES
from rtslib.models.names import common_weights, engine_names, fit_weights, mvit_names, new_name, turned

log = logging.getLogger(__name__)

#: What a pickle may name: constructors of arrays, tensors and containers, under old and new module names.
_ALLOWED = {
    "collections": {"OrderedDict", "defaultdict"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "torch._utils": {"_rebuild_tensor_v2", "_rebuild_parameter"},
    "_codecs": {"encode"},  # how Python 2 protocols spell bytes
}  # fmt: skip
_CLASS_LAYERS = ("roi_heads.box_predictor", "roi_heads.mask_head.predictor")
_DERIVED = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator")  # old files hold them; no weights


class Loaded(NamedTuple):
    """What became of a checkpoint's names; every name of the file is in one of the first three lists."""

    taken: list[str]
    dropped: list[str]  # layers for another number of classes
    unmatched: list[str]  # nothing of that name and shape here
    untouched: list[str]  # our names that the file has nothing for


def load_zoo(model: Model, path: str | Path) -> Loaded:
    """Start a model of either engine from a detectron2 checkpoint, in place; logs what was not taken.

    Args:
        model: from `rtslib.models.build.build_model`, of the file's backbone size.
        path: `.pkl` or `.pth`.

    Raises:
        WeightsError: the file cannot be read or is no such checkpoint, `mvit_like` is not "detectron2", or
            its backbone is of another size.
    """
    config = model.config
    if config.mvit_like != "detectron2":
        raise WeightsError(f"{path}: weights of detectron2's MViT need mvit_like=detectron2")
    if config.backbone not in SIZES:
        raise WeightsError(
            f"{path}: holds a MViTv2, the model's branches are {config.backbone}: set backbone=tiny or larger"
        )
    theirs, own = read_checkpoint(path), common_weights(model)
    new, done = dict(own), Loaded([], [], [], [])
    for key, tensor in theirs.items():
        targets = _targets(key, config, list(model.backbones))
        values = {t: _fitted(t, tensor, own[t]) for t in targets if t in own}
        if values and all(v.shape == own[t].shape for t, v in values.items()):
            new |= values
            done.taken.append(key)
        elif values and key.startswith(_CLASS_LAYERS):
            done.dropped.append(key)
        elif not key.startswith(_DERIVED):
            done.unmatched.append(key)
    filled = {t for key in done.taken for t in _targets(key, config, list(model.backbones))}
    done.untouched.extend(sorted(set(own) - filled))
    gaps = [k for k in done.untouched if k.startswith("backbones.")]
    if gaps:
        raise WeightsError(f"{path}: does not fit backbone {config.backbone}, first at {gaps[:5]} ({len(gaps)} in all)")
    fit_weights(model, new, path)
    _tell(path, done)
    return done


def _tell(path: object, done: Loaded) -> None:
    log.info("%s: %d names taken", path, len(done.taken))
    if done.dropped:
        log.warning("%s: heads for other classes dropped: %s", path, ", ".join(done.dropped))
    if done.unmatched:
        log.warning("%s: nothing here for: %s", path, ", ".join(done.unmatched))


def _targets(key: str, config: Any, branches: list[str]) -> list[str]:
    """Names here of one name there: one per branch for the backbone's."""
    bottom = "backbone.bottom_up."
    if key.startswith(bottom):
        name = new_name(key.removeprefix(bottom), turned(mvit_names(config.backbone)))
        return [f"backbones.{b}.{name}" for b in branches] if name else []
    name = new_name(key, turned(engine_names(config)))
    return [name] if name else []


def _fitted(name: str, tensor: Tensor, own: Tensor) -> Tensor:
    """Adapt the first convolution to the branch's bands, as timm does."""
    if name.endswith("patch_embed.proj.weight") and tensor.shape[1] != own.shape[1]:
        return adapt_input_conv(own.shape[1], tensor)
    return tensor


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the model of a detectron2 checkpoint without executing pickled code: name -> tensor.

    Raises:
        WeightsError: no such file; it is cut, holds anything but arrays, or has no `model`.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file: give a detectron2 checkpoint (.pkl or .pth)")
    try:
        if path.suffix == ".pkl":
            with path.open("rb") as f:
                data = _ArraysOnly(f, encoding="latin1").load()
        else:
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # unpickling cut or foreign bytes raises nearly any kind
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        raise WeightsError(f"{path}: cannot be read as a detectron2 checkpoint ({reason})") from e
    state = data.get("model") if isinstance(data, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, (np.ndarray, Tensor)) for v in state.values()):
        raise WeightsError(f"{path}: holds no model of named arrays: give a detectron2 checkpoint (.pkl or .pth)")
    try:
        return {str(k): torch.as_tensor(v).detach() for k, v in state.items()}
    except TypeError as e:  # arrays of objects or text
        raise WeightsError(f"{path}: {e}") from e


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that refuses every name but those of arrays, tensors and containers."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _safe_storage
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module, name)


def _safe_storage(content: bytes) -> Any:
    """torch pickles a tensor's storage as a file of its own; its own reader would run that file's code."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
