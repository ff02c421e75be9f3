"""Building the model of a config, whatever its engine and fusion, with random or given weights."""

from typing import cast

from rtslib.config import Config
from rtslib.models.decision import Decision
from rtslib.models.detector import Detector
from rtslib.models.ensemble import Ensemble
from rtslib.models.model import Model
from rtslib.models.mvit import MViT, load_imagenet
from rtslib.models.timm_branch import TimmBranch, load_pretrained
from rtslib.models.trees import Trees


def build_model(config: Config) -> Model:
    """Build the detector of a config, starting from ImageNet weights if `pretrained`, from COCO's if `zoo`.

    Returns:
        A `rtslib.models.detector.Detector`; for engine detectron2 a `rtslib.models.detectron2.model.FusedRCNN`, for
        fusion decision a `rtslib.models.decision.Decision`, for fusion trees a `rtslib.models.trees.Trees`, for
        fusion ensemble a `rtslib.models.ensemble.Ensemble`, which take and give the same.

    Raises:
        ConfigError: normalisation statistics are missing.
        EngineError: the engine is not installed.
        WeightsError: `pretrained` or `zoo`, and the weights cannot be had or do not fit.
    """
    model = _unweighted(config)
    if config.pretrained:
        for branch in model.backbones.values():
            if isinstance(branch, TimmBranch):
                load_pretrained(branch, config.backbone)
            else:
                load_imagenet(cast(MViT, branch), config.backbone)
    if config.zoo:
        from rtslib.models.zoo import load_zoo

        for part in model.detectors.values() if isinstance(model, Decision) else [model]:
            load_zoo(cast(Model, part), config.zoo)
    return model


def _unweighted(config: Config) -> Model:
    if config.fusion == "trees":
        return Trees(config)
    if config.fusion == "ensemble":
        members = [Config.make(knobs).updated(pretrained=False, zoo="") for knobs in config.members]
        return Ensemble(config, [_unweighted(member) for member in members])
    if config.fusion == "decision" and len(config.modalities) > 1:
        return Decision(config)
    if config.engine == "detectron2":
        from rtslib.models.detectron2.model import FusedRCNN

        return FusedRCNN(config)
    return Detector(config)
