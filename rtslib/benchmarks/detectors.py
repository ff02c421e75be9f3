"""Whole models: prediction and training steps, of ours, detectron2's and torchvision's.

Weights are drawn as each library initialises them, from one seed. All boxes pass (no threshold on scores) and as many
detections are kept by each, so that what follows the proposals does the same work in each.
"""

from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
import torchvision

from rtslib.bands import MODALITIES
from rtslib.benchmarks.cases import Case, Unavailable, Work
from rtslib.benchmarks.made import normalised_config, their_mvit, whole_batch
from rtslib.benchmarks.precision import running
from rtslib.config import PROFILES, Config
from rtslib.errors import EngineError
from rtslib.models.build import build_model
from rtslib.models.mvit import MViT
from rtslib.training.loop import parameter_groups

FOUND = 50  # detections kept an image
ALL: dict[str, Any] = {"score_thresh": 0.0, "max_dets": FOUND}
#: Knobs of a training profile that are none of a config.
_STEPS = {"steps"}


def tiny(case: Case) -> Work:
    """Return prediction or a training step of the full model of one modality. Raises Unavailable."""
    knobs = {**case.given, **ALL}
    theirs = "engine" in knobs
    config = normalised_config(("rgb",), **knobs, mvit_like="detectron2" if theirs else "timm")
    return _work(case, config, _with_their_trunk if theirs else build_model, case.group.startswith("training"))


def quick(case: Case) -> Work:
    """Return prediction or a training step of a narrow model on all bands, as the profile `quick` has them."""
    return _work(case, quick_config(tuple(MODALITIES), **case.given), build_model, "training" in case.group + case.case)


def branches(case: Case) -> Work:
    """Return prediction or a training step of a model of one branch, or of three that attend to each other."""
    knobs = {**case.given, **ALL}
    names, frozen = tuple(MODALITIES)[: knobs.pop("branches")], knobs.pop("frozen", False)
    config = normalised_config(names, **knobs)
    return _work(case, config, build_model, case.group.endswith("training"), frozen)


def lite0(case: Case) -> Work:
    """Return prediction by the narrow model of one modality, or by one of torchvision's for the same image."""
    config = quick_config(("rgb",), backbone="lite0", **ALL)
    if case.case == "rtslib":
        return _work(case, config, build_model, training=False)
    torch.manual_seed(0)
    sized = {"min_size": case.px, "max_size": case.px, "box_score_thresh": 0.0, "box_detections_per_img": FOUND}
    make = getattr(torchvision.models.detection, case.case)
    with torch.device(case.device):
        model = make(weights=None, weights_backbone=None, num_classes=2, **sized)
    return _prediction(case, model, list(whole_batch(config, case.px, case.batch, case.device)["images"]["rgb"]))


def quick_config(names: tuple[str, ...], **knobs: Any) -> Config:
    """Return the config of a narrow model: the knobs of the profile `quick` for transfer, and some of its own."""
    narrow = {k: v for k, v in PROFILES["quick"]["transfer"].items() if k not in _STEPS}
    return normalised_config(names, **{**narrow, **knobs})


def _work(case: Case, config: Config, build: Callable[[Config], Any], training: bool, frozen: bool = False) -> Work:
    """Build a model on its device; return a step, or a prediction. Raises Unavailable: its engine is not there."""
    torch.manual_seed(0)
    try:
        with torch.device(case.device):
            model = build(config)
    except EngineError as e:
        raise Unavailable(str(e)) from e
    batch = whole_batch(config, case.px, case.batch, case.device)
    return Work(_step(case, model, batch, frozen)) if training else _prediction(case, model, batch)


def _prediction(case: Case, model: Any, given: Any) -> Work:
    """Return a prediction by a model as `rtslib.training.weights.load_onto_device` gives it, which notes how many
    detections it made."""
    model.eval()
    if find_spec("rtslib.models.fused"):  # `rtslib.benchmarks.before` measures older models, too
        from rtslib.models.fused import fuse

        fuse(model)
    if getattr(model, "semantic", None) is not None:
        torch.nn.init.constant_(model.semantic.logit.bias, 1.0)  # it sees slump everywhere, and so drops no detection
    counts: list[int] = []

    def predict() -> None:
        with running(case, training=False):
            counts[:] = [len(found["boxes"]) for found in model(given)]

    return Work(predict, note=lambda: f"{sum(counts)} detections")


def _step(case: Case, model: Any, batch: dict[str, Any], frozen: bool) -> Callable[[], None]:
    """Return forward, backward, clipping and optimiser, as `rtslib.training.loop` runs them."""
    config = model.config
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=1e-6, weight_decay=config.weight_decay, fused=True)
    model.train().backbones.requires_grad_(not frozen).train(not frozen)

    def step() -> None:
        optimizer.zero_grad()
        with running(case, training=True):
            loss = torch.stack(list(model(batch).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()

    return step


def _with_their_trunk(config: Config) -> Any:
    """Build detectron2's model, its own MViT under its own heads. Raises EngineError, Unavailable."""
    model: Any = build_model(config)
    trunk: Any = their_mvit(MViT(config.backbone, like="detectron2"), config.backbone)
    if trunk is None:
        raise Unavailable("this detectron2 has no MViT: its main branch has")
    model.backbone.bottom_up = trunk
    # Where the model looks for our trunk's branches; no module, as theirs would hold itself.
    trunk.trunk = SimpleNamespace(backbones=torch.nn.ModuleDict({config.primary: trunk}))
    return model
