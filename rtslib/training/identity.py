"""Recognising finished runs, so that a notebook can be run again without training again.

`rtslib.training.runs.run_key` tells trainings apart by config, data, split and initial weights; a study adds the code
that trains: a hash of the syntax trees of all modules that training imports, kept beside the run's folder as
`NAME.code`. A finished run of the same key and code is taken as it is, a started one is resumed, any other is
moved aside to `NAME.previous` (replacing one that is there) and made anew.
"""

import ast
import hashlib
import json
import multiprocessing
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rtslib.errors import OutputError
from rtslib.files import read_json, write_text

if TYPE_CHECKING:
    from rtslib.config import Config
    from rtslib.data.chips import ChipSet

#: What makes a run and what is kept in its folder; what these import, directly or not, counts too.
_ROOT = Path(__file__).resolve().parents[2]
_ROOTS = ("rtslib.training.train", "rtslib.training.predict")
#: Modules whose changes count by value (knobs are in the key) or not at all (they only describe).
_APART = ("rtslib.config", "rtslib.study.manifest")


def trained(
    chipset: "ChipSet", split: pd.DataFrame, folder: str | Path, config: "Config", init: dict[str, Path]
) -> Path:
    """Train a run, resume it, or recognise it as finished.

    Args:
        chipset, split: data and its sides.
        folder: the run's; one that holds something else than a run is not touched.
        config: all knobs.
        init: modality -> finished run whose weights its branch starts from; empty to start from scratch.

    Returns:
        `folder` as a Path, holding a finished run.

    Raises:
        OutputError: the folder holds something that is no run, or cannot be written.
        ConfigError, DataError, TrainingError: as `rtslib.training.train.train`.
    """
    from rtslib.training.runs import read_run, run_key
    from rtslib.training.train import train

    folder = Path(folder)
    code = folder.with_name(folder.name + ".code")
    if there := read_run(folder):
        key = run_key(config, chipset.fingerprint(), split.to_csv(index=False), init)
        same_code = code.exists() and code.read_text().strip() == code_hash()
        if there.get("key") != key or not same_code:
            what = "config, data, split or initial weights" if there.get("key") != key else "code"
            kept = _move_aside(folder)
            print(f"{folder.name}: {what} changed since it was trained; kept as {kept}, trained anew")
    write_text(code, code_hash() + "\n")
    alone = multiprocessing.parent_process() is None  # bars of trainings side by side would run into each other
    return train(chipset, folder, config, split=split, init=init or None, resume=True, progress=alone)


def joined(runs: dict[str, Path], folder: str | Path) -> Path:
    """Join unimodal runs as `rtslib.models.decision.join`; a run there of other ones is moved aside. Raises as that does."""
    from rtslib.models.decision import join, join_key
    from rtslib.training.runs import read_run

    folder = Path(folder)
    there = read_run(folder)
    if there and there.get("key") != join_key(runs):
        print(f"{folder.name}: its runs changed since they were joined; kept as {_move_aside(folder)}, joined anew")
    return join(runs, folder)


def recognised(
    chipset: "ChipSet", split: pd.DataFrame, folder: str | Path, config: "Config", init: dict[str, Path]
) -> bool:
    """Tell whether `trained` would take a run as finished; arguments as there. Raises DataError if one in `init` has
    no weights."""
    from rtslib.training.runs import read_run, run_key

    folder, there = Path(folder), read_run(folder)
    code = folder.with_name(folder.name + ".code")
    if not (there.get("finished") and (folder / "model.pt").exists() and code.exists()):
        return False
    key = run_key(config, chipset.fingerprint(), split.to_csv(index=False), init)
    return there["key"] == key and code.read_text().strip() == code_hash()


def cost(run: str | Path) -> dict[str, Any]:
    """Return what a finished run cost, from the `run.json` of it and of all runs that it started from.

    Returns:
        `parameters` and how many of them trained; `epochs` of the run itself; `epochs_before`, those of the
        longest run it started from; `image_passes` (`rtslib.study.plan`) of all training behind it; `peak_memory_mib` of
        its own (None where the system does not tell).

    Raises:
        DataError: a `run.json` is missing.
    """
    run = Path(run)
    record = read_json(run / "run.json")
    before, config = [cost(run / start) for start in record["init"].values()], read_json(run / "config.json")
    return {
        "parameters": record["parameters"],
        "trained_parameters": record["trained_parameters"],
        "epochs": config["epochs"] if record["steps"] else 0,
        "epochs_before": max((b["epochs"] + b["epochs_before"] for b in before), default=0),
        "image_passes": record["passes"] * len(config["modalities"]) + sum(b["image_passes"] for b in before),
        "peak_memory_mib": record["peak_memory_mib"],
    }


@cache
def code_hash() -> str:
    """Return the SHA-256 of the syntax trees of all rtslib modules that training and prediction import."""
    trees: dict[str, str] = {}
    waiting = list(_ROOTS)
    while waiting:
        name = waiting.pop()
        path = _ROOT / f"{name.replace('.', '/')}.py"
        if name not in trees and name not in _APART and path.exists():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            trees[name] = ast.dump(tree)
            waiting += _imported(tree)
    return hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()


def _imported(tree: ast.AST) -> list[str]:
    """Return the names of the rtslib modules that a syntax tree imports anywhere."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rtslib":
            names += [
                node.module,
                *(f"{node.module}.{alias.name}" for alias in node.names),
            ]  # one that is no file is passed over
        elif isinstance(node, ast.Import):
            names += [a.name for a in node.names if a.name.startswith("rtslib.")]
    return names


def _move_aside(folder: Path) -> str:
    """Rename a run's folder to `NAME.previous`, replacing an earlier one; return that. Raises OutputError."""
    previous = folder.with_name(folder.name + ".previous")
    try:
        if previous.exists():
            shutil.rmtree(previous)
        folder.rename(previous)
    except OSError as e:
        raise OutputError(f"cannot move {folder} aside: {e.strerror}: choose another results folder") from e
    return previous.name
