"""Joining: a run that puts unimodal runs together without training (`rtslib.models.decision`)."""

import shutil
from collections.abc import Mapping

import pandas as pd

from rtslib.data.chips import ChipSet
from rtslib.errors import WeightsError
from rtslib.files import write_json
from rtslib.models.decision import Decision
from rtslib.training.code import code_hash
from rtslib.training.runs import Recipe, Run
from rtslib.training.weights import initialise, save_weights


def joined_recipe(start: Mapping[str, Run], chipset: ChipSet, split: pd.DataFrame) -> Recipe:
    """Return the recipe of runs joined.

    Args:
        start: modality -> finished run on that modality alone, the primary one first.
        chipset, split: those of the runs.

    Raises:
        DataError: a run is missing. WeightsError: a run is of other modalities, or only some are of `tta`.
    """
    configs = {m: run.config for m, run in start.items()}
    for m, config in configs.items():
        if list(config.modalities) != [m]:
            raise WeightsError(f"{start[m]} was trained on {list(config.modalities)}, needed is {m!r} alone")
    if len({config.tta for config in configs.values()}) > 1:
        raise WeightsError(f"some of {[run.name for run in start.values()]} see chips turned: join runs of one `tta`")
    parts = ("modalities", "modality_mean", "modality_std")
    united = {k: {m: getattr(c, k)[m] for m, c in configs.items()} for k in parts}
    united["derived"] = {b: way for c in configs.values() for b, way in c.derived.items()}
    first = next(iter(configs.values()))
    return Recipe(first.updated(fusion="decision", temperature=1.0, score_shift=0.0, **united), chipset, split, start)


def join(recipe: Recipe, run: Run) -> Run:
    """Join finished runs, or recognise them as joined; scores are theirs, as each calibrated them.

    Args:
        recipe: from `joined_recipe`.
        run: the folder to make.

    Returns:
        The run, as `train` would leave it.

    Raises:
        DataError, WeightsError: a run is missing, unfinished or of other bands.
        OutputError: the folder holds something else, or cannot be written.
    """
    if recipe.claim(run, resume=True):
        return run
    model, first = Decision(recipe.config), next(iter(recipe.start.values()))
    initialise(model, recipe.start)
    recipe.config.save(run.folder / "config.json")
    shutil.copyfile(first.folder / "split.csv", run.folder / "split.csv")
    save_weights(run.weights, model)
    kept = {k: v for k, v in first.record.items() if k not in ("calibration", "peak_memory_mib")}
    peaks = [p for r in recipe.start.values() if (p := r.record.get("peak_memory_mib")) is not None]
    counted = {"parameters": sum(p.numel() for p in model.parameters()), "trained_parameters": 0}
    spent = {"seconds": 0.0, "steps": 0, "passes": 0, "peak_memory_mib": max(peaks, default=None)}
    end = {"finished": True, "code": code_hash()}
    write_json(run.folder / "run.json", {**kept, **recipe.record(run), **counted, **spent, **end})
    return run
