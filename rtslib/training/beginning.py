"""Beginning a run: its chips by side, its knobs with what is measured on them, and what its folder says from the start.

Every kind of training begins with it, whatever is trained.
"""

from typing import Any

from rtslib.config import Config
from rtslib.data.chips import Chip
from rtslib.data.splits import save_split
from rtslib.data.statistics import with_statistics
from rtslib.errors import TrainingError
from rtslib.files import write_json
from rtslib.provenance import commit, hardware, versions
from rtslib.training.code import code_hash
from rtslib.training.runs import Recipe, Run


def prepared(recipe: Recipe) -> tuple[Config, dict[str, list[Chip]]]:
    """Return the recipe's knobs with the statistics of its training side, not calibrated, and its chips by side.

    Raises:
        TrainingError: the training side is empty, or has no slump. DataError: a chip cannot be read, or a modality has
            no valid pixel.
    """
    sides = {side: set(rows["chip"]) for side, rows in recipe.split.groupby("side")}
    chips = {side: [c for c in recipe.chipset.chips if c.id in ids] for side, ids in sides.items()}
    if not chips.get("train"):
        raise TrainingError(f"{recipe.chipset.root}: the split has no training chips")
    if not any(recipe.chipset.instances.get(c.id) for c in chips["train"]):
        found = f"none of {len(chips['train'])} training chips has a slump"
        raise TrainingError(f"{recipe.chipset.root}: {found}: add chips with annotations, or another split")
    uncalibrated = recipe.config.updated(temperature=1.0, score_shift=0.0)  # a run's config has its calibration
    return with_statistics(uncalibrated, recipe.chipset, chips["train"]), chips


def begun(recipe: Recipe, run: Run, config: Config) -> dict[str, Any]:
    """Write split, knobs (from `prepared`) and record of an unfinished run; return the record. Raises OutputError."""
    code = code_hash() if run.record.get("code", code_hash()) == code_hash() else "several"  # resumed by another code
    # Git state and seed first, as DETR logs them.
    record = {**commit(), **recipe.record(run), "code": code, "versions": versions(), "hardware": hardware()}
    save_split(recipe.split, run.folder / "split.csv")
    config.save(run.folder / "config.json")
    write_json(run.folder / "run.json", record)
    return record
