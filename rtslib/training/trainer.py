"""Training a run: data and config in, run folder out.

The unimodal and the multimodal stage are the same function: the first one trains on one modality, the
second one starts from the runs of the first (`init`). Runs that are joined (`rtslib.training.join`) and trees on pixels
(`rtslib.training.trees`) are made apart, by the same recipe.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from rtslib.config import Config
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.splits import split_by_group
from rtslib.files import write_json
from rtslib.models.build import build_model
from rtslib.models.gates import gates
from rtslib.models.model import Model
from rtslib.models.tta import turned
from rtslib.training.beginning import begun, prepared
from rtslib.training.calibrating import calibrated
from rtslib.training.code import code_hash
from rtslib.training.ensembling import assemble
from rtslib.training.join import join
from rtslib.training.logs import read_log
from rtslib.training.memory import peak_mib, reset_peak
from rtslib.training.runs import Recipe, Run
from rtslib.training.team import Team, gather
from rtslib.training.trees import plant
from rtslib.training.weights import best_device, initialise, save_weights


def train(
    chipset: ChipSet, out_dir: str | Path, config: Config, *, split: pd.DataFrame | None = None,
    init: Mapping[str, str | Path] | None = None, resume: bool = False, progress: bool = True,
) -> Path:  # fmt: skip
    """Train and write a run folder (`rtslib.training.runs`).

    Args:
        chipset: opened data with labels.
        out_dir: run folder; new, unless `resume`.
        config: knobs; the normalisation statistics are measured on the training side and filled in.
        split: columns chip, name, group, side; None: `split_by_group` with the config's fractions and seed.
        init: runs to start from: modality -> unimodal run, or "all" -> a run of the same make; see
            `rtslib.training.weights.initialise`.
        resume: go on with an unfinished run of the same key; return a finished one at once.
        progress: show a progress bar.

    Returns:
        The run folder.

    Raises:
        ConfigError, DataError, WeightsError: config, data or initial weights do not fit.
        NonFiniteLossError: a loss became NaN or infinite.
        OutputError: the folder holds another run, or cannot be written.
    """
    if split is None:
        split = split_by_group(chipset, config.val_fraction, config.test_fraction, config.seed)
    start = {part: Run(Path(run)) for part, run in (init or {}).items()}
    return train_recipe(Recipe(config, chipset, split, start), Run(Path(out_dir)), resume, progress).folder


def obtain(recipe: Recipe, run: Run, progress: bool = True) -> Run:
    """Train (or join) a run, go on with one that was stopped, or recognise it as finished.

    What is in the folder by another recipe, or by other code, is moved aside to `NAME.previous`.

    Raises:
        OutputError: the folder holds something that is no run, or cannot be written.
        ConfigError, DataError, TrainingError, WeightsError: as `train`.
    """
    there = run.record
    same_key = there.get("key") == recipe.key
    if there and not (same_key and there.get("code") == code_hash()):
        what = "code" if same_key else "config, data, split or initial weights"
        kept = run.move_aside()
        print(f"{run.name}: {what} changed since it was trained; kept as {kept.name}, trained anew")
    ways = {"decision": join, "ensemble": assemble}
    if (way := ways.get(recipe.config.fusion)) is not None:
        return way(recipe, run)
    return train_recipe(recipe, run, True, progress)


def is_obtained(recipe: Recipe, run: Run) -> bool:
    """Tell whether `obtain` would find a run finished. Raises DataError if one it starts from has no weights."""
    there = run.record
    return run.finished and there["key"] == recipe.key and there.get("code") == code_hash()


def train_recipe(recipe: Recipe, run: Run, resume: bool, progress: bool) -> Run:
    """Train a recipe into a folder; raises as `train`. Of several processes (`rtslib.training.team`) the first one
    returns, the others exit."""
    team = gather(recipe.config)
    if recipe.config.fusion == "trees":
        return plant(recipe, run, resume)
    from rtslib.training.loop import fit

    if team.agreed(lambda: recipe.claim(run, resume)):
        team.part()
        return run
    chipset, out = recipe.chipset, run.folder
    config, chips, model = team.agreed(lambda: _ready(recipe, team), each=True)
    record = team.agreed(lambda: begun(recipe, run, config))
    opened = gates(model)
    reset_peak()
    steps = fit(model, chipset, chips, out, progress, team)
    team.part()
    memory = peak_mib()
    save_weights(run.weights, model)
    model.to(best_device())
    numbers, said = calibrated(turned(model) if config.tta else model, chipset, chips.get("val", []), run)
    config.updated(**numbers).save(out / "config.json")
    end = {**_end_record(model, chips, steps, out), "peak_memory_mib": memory, "calibration": said}
    end["gates"] = {name: [opened[name], size] for name, size in gates(model).items()}
    write_json(out / "run.json", {**record, **end})
    (out / "last.ckpt").unlink(missing_ok=True)
    return run


def _ready(recipe: Recipe, team: Team) -> tuple[Config, dict[str, list[Chip]], Model]:
    """Return the recipe's knobs as measured, its chips by side, and the model as it starts."""
    config, chips = prepared(recipe)
    torch.manual_seed(config.seed)
    model = build_model(config)
    if recipe.start:
        initialise(model, recipe.start)
    team.synchronised(model)
    return config, chips, model


def _end_record(model: Model, chips: dict[str, list[Chip]], steps: int, out: Path) -> dict:
    """What the training took; seconds of all its epochs, also those before it was resumed."""
    return {
        "finished": True, "seconds": round(sum(float(row["seconds"]) for row in read_log(out / "log.csv")), 1),
        "steps": steps, "passes": model.config.epochs * len(chips["train"]),
        "chips": {side: len(c) for side, c in chips.items()}, "parameters": sum(p.numel() for p in model.parameters()),
        "trained_parameters": sum(p.numel() for p in model.parameters()) - _frozen(model),
    }  # fmt: skip


def _frozen(model: Model) -> int:
    """Number of parameters that never train."""
    always = model.config.freeze_epochs >= model.config.epochs
    return sum(p.numel() for p in model.backbones.parameters()) if always else 0
