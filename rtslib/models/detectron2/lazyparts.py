"""What `rtslib.models.detectron2.lazyconfig` calls: model, loaders and evaluator from a data folder and some knobs.

detectron2 instantiates each part of a LazyConfig by itself, so what they share (opened data, split,
statistics) is prepared once per (folder, knobs) and remembered.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from rtslib.config import Config
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.opening import open_chips
from rtslib.data.splits import split_by_group
from rtslib.data.statistics import with_statistics
from rtslib.errors import ConfigError
from rtslib.models.build import build_model
from rtslib.models.detectron2.data import ChipMapper, eval_loader, evaluator, register, train_loader


def lazy_model(data: str, knobs: Mapping[str, Any]) -> nn.Module:
    """Build the model, normalised by the training side.

    Args:
        data: folder of chips; knobs: of `rtslib.config.Config`, with `engine` "detectron2".

    Raises:
        ConfigError, DataError, WeightsError: knobs, data or start weights do not fit.
    """
    config, _, _ = _prepared(data, _text(knobs))
    torch.manual_seed(config.seed)
    return build_model(config)


def lazy_loader(data: str, knobs: Mapping[str, Any], side: str) -> Any:
    """Return the loader of a side: "train" endless and augmented, "val" and "test" each chip once.

    Raises:
        ConfigError: the split has no such side.
    """
    config, chipset, chips = _prepared(data, _text(knobs))
    if side not in chips:
        raise ConfigError(f"the split has no side {side!r}, only {', '.join(chips)}")
    mapper = ChipMapper(chipset, chips[side], config, train=side == "train")
    return (train_loader if side == "train" else eval_loader)(f"rts_{side}", mapper, config)


def lazy_evaluator(data: str, knobs: Mapping[str, Any], side: str, out: str) -> Any:
    """Return detectron2's COCO evaluator of a side."""
    config, _, _ = _prepared(data, _text(knobs))
    return evaluator(f"rts_{side}", out, config)


def _text(knobs: Mapping[str, Any]) -> str:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(knobs, resolve=True) if OmegaConf.is_config(knobs) else dict(knobs)
    return json.dumps(plain, sort_keys=True)


@cache
def _prepared(data: str, knobs: str) -> tuple[Config, ChipSet, dict[str, list[Chip]]]:
    """Open, split and measure as `rtslib.training.trainer.train` does; register the sides as rts_train, rts_val, ..."""
    chipset, values = open_chips(data), json.loads(knobs)
    config = Config.make({"modalities": {m: list(b) for m, b in chipset.modalities().items()}, **values})
    split = split_by_group(chipset, config.val_fraction, config.test_fraction, config.seed)
    sides = {side: set(rows["chip"]) for side, rows in split.groupby("side")}
    chips = {side: [c for c in chipset.chips if c.id in ids] for side, ids in sides.items()}
    for side, those in chips.items():
        register(f"rts_{side}", chipset, those)
    return with_statistics(config, chipset, chips["train"]), chipset, chips
