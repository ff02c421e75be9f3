"""Ensembling: a run that puts finished runs of one split together (`rtslib.models.ensemble`); nothing is trained.

Members keep their weights and knobs, without their calibrations: scores are compared as the models gave them, and the
joint ones are calibrated on the validation side, which no member was trained on.
"""

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd

from rtslib.config import TOGETHER, Config
from rtslib.data.chips import ChipSet
from rtslib.data.splits import SIDES, load_split
from rtslib.errors import ConfigError
from rtslib.files import write_json
from rtslib.models.build import build_model
from rtslib.models.ensemble import Ensemble
from rtslib.models.model import Model
from rtslib.models.names import fit_weights
from rtslib.models.tta import turned
from rtslib.training.beginning import begun
from rtslib.training.calibrating import calibrated
from rtslib.training.runs import Recipe, Run
from rtslib.training.weights import best_device, load_weights, save_weights

#: Knobs that all members share, as chips are seen by all of them at once.
SHARED = ("tta", "engine")


def ensemble_recipe(start: Mapping[str, Run], chipset: ChipSet, split: pd.DataFrame) -> Recipe:
    """Return the recipe of an ensemble.

    Args:
        start: name -> finished run, trained on the training side of `split`; the first one's modalities come first.
        chipset, split: as the runs had them.

    Raises:
        DataError: a run is missing, or its split is not of these chips.
        ConfigError: fewer than two runs, or they differ in a knob of `SHARED` or in the bands of a modality; or one was
            trained on chips that are not for training.
    """
    configs = {name: run.config for name, run in start.items()}
    if len(configs) < 2:
        raise ConfigError("an ensemble has two or more models: name as many finished runs")
    first = next(iter(configs.values()))
    if "detectron2" in {c.engine for c in configs.values()}:
        raise ConfigError("an ensemble is of torchvision's models: set engine=torchvision in all its runs")
    for knob in SHARED:
        if len({getattr(c, knob) for c in configs.values()}) > 1:
            raise ConfigError(f"these runs differ in {knob}, which all of an ensemble share: {', '.join(configs)}")
    united: dict[str, Any] = {"derived": {b: way for c in configs.values() for b, way in c.derived.items()}}
    for part in ("modalities", "modality_mean", "modality_std"):
        united[part] = {m: v for c in reversed(configs.values()) for m, v in getattr(c, part).items()}
    for name, c in configs.items():
        if odd := [m for m, bands in c.modalities.items() if united["modalities"][m] != bands]:
            raise ConfigError(f"{name} reads other bands as {odd[0]} than the others: join runs of the same bands")
    united["modalities"] = {m: united["modalities"][m] for c in configs.values() for m in c.modalities}
    _same_ground(start, chipset, split)
    plain = [c.updated(temperature=1.0, score_shift=0.0, tta=False) for c in configs.values()]
    members = [c.model_dump(exclude=set(TOGETHER)) for c in plain]
    most = max(c.max_dets for c in configs.values())
    shared = {**united, "tta": first.tta, "max_dets": most, "seed": first.seed}
    return Recipe(Config.make({"fusion": "ensemble", "members": members, **shared}), chipset, split, start)


def assemble(recipe: Recipe, run: Run, resume: bool = True) -> Run:
    """Put the members of a recipe together in a run's folder, or recognise them as that.

    Returns:
        The run, as `rtslib.training.trainer.train` leaves it, without a log.

    Raises:
        DataError, WeightsError: a member is missing or unfinished. OutputError: the folder holds something else, or
            cannot be written.
    """
    if recipe.claim(run, resume):
        return run
    model = build_model(recipe.config)
    assert isinstance(model, Ensemble)
    for member, source in zip(model.members, recipe.start.values(), strict=True):
        fit_weights(cast(Model, member), load_weights(source.weights), source)
    record = begun(recipe, run, recipe.config)
    save_weights(run.weights, model)
    model.eval().to(best_device())
    ids = {side: set(recipe.split.loc[recipe.split["side"] == side, "chip"]) for side in SIDES}
    val = [c for c in recipe.chipset.chips if c.id in ids["val"]]
    numbers, said = calibrated(turned(model) if recipe.config.tta else model, recipe.chipset, val, run)
    recipe.config.updated(**numbers).save(run.folder / "config.json")
    peaks = [p for r in recipe.start.values() if (p := r.record.get("peak_memory_mib")) is not None]
    counted = {"parameters": sum(r.record["parameters"] for r in recipe.start.values()), "trained_parameters": 0}
    spent = {"seconds": 0.0, "steps": 0, "passes": 0, "peak_memory_mib": max(peaks, default=None), "gates": {}}
    sides = {side: len(chips) for side, chips in ids.items() if chips}
    end = {"finished": True, "chips": sides, "calibration": said}
    write_json(run.folder / "run.json", {**record, **counted, **spent, **end})
    return run


def _same_ground(start: Mapping[str, Run], chipset: ChipSet, split: pd.DataFrame) -> None:
    """Refuse a run that was trained on chips which the split keeps for validation or test."""
    kept = set(split.loc[split["side"] != "train", "chip"])
    for name, run in start.items():
        theirs = load_split(run.folder / "split.csv", chipset)
        seen = kept & set(theirs.loc[theirs["side"] == "train", "chip"])
        if seen:
            raise ConfigError(
                f"{name} was trained on {len(seen)} chips that validate or test here: join runs of one split"
            )
