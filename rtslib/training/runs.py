"""Runs: what a training is, the folder that it leaves behind, and how the one is found in the other.

    config.json  every knob, with the normalisation statistics and the calibration of the scores
    model.pt     the (averaged) weights, {parameter name: tensor}
    log.csv      one row an epoch, where there are epochs
    split.csv    chip, name, group, side
    predictions_val.json  COCO results on the validation side, if there is one
    ledger.csv   what was right and what was missed there (`rtslib.evaluation.ledger`)
    run.json     key, code, git state, seed, versions, hardware, data fingerprint, passes, wall time, finished

A `Recipe` is what a training is: config, data, split and the runs it starts from. Its *key* is a hash of the four; two
trainings of one key, by the same code (`rtslib.training.code`), are the same. A `Run` is a folder, made or not.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rtslib.config import HANDS, MEASURED, Config
from rtslib.data.chips import ChipSet
from rtslib.errors import DataError, OutputError
from rtslib.files import read_json, sha256


@dataclass(frozen=True)
class Run:
    """A run's folder, which need not exist yet. Goes wherever a path goes."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    def __fspath__(self) -> str:
        return str(self.folder)

    __str__ = __fspath__

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def weights(self) -> Path:
        """File of its weights."""
        return self.folder / "model.pt"

    @property
    def ledger(self) -> Path:
        """File of what was right and what was missed on its validation side (`rtslib.evaluation.ledger`)."""
        return self.folder / "ledger.csv"

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` says, {} if there is none. Raises DataError if it is not readable JSON."""
        path = self.folder / "run.json"
        record = read_json(path) if path.exists() else {}
        if not isinstance(record, dict):
            raise DataError(path, f"a JSON {type(record).__name__}", "an object, as `train` writes it")
        return record

    @property
    def config(self) -> Config:
        """Its knobs. Raises DataError: no such folder or no readable config in it; ConfigError: unknown knobs."""
        if not self.folder.is_dir():
            raise DataError(self.folder, "no such folder", "a run's folder, as `train` writes it")
        if not (path := self.folder / "config.json").exists():
            raise DataError(self.folder, "no config.json", "a run's folder, as `train` writes it")
        return Config.load(path)

    @property
    def finished(self) -> bool:
        """Whether its training ended and its weights are there."""
        return bool(self.record.get("finished")) and self.weights.exists()

    @property
    def parents(self) -> list["Run"]:
        """The runs that it started from."""
        return [Run(self.folder / path) for path in self.record.get("init", {}).values()]

    @property
    def provenance(self) -> dict[str, str]:
        """What tells the polygons of its model from others: `run_id` and `model_sha256`. Raises DataError."""
        return {"run_id": self.record.get("key", "")[:12], "model_sha256": sha256(self.weights)}

    @property
    def digest(self) -> str:
        """SHA-256 of its model: weights and knobs, with the calibration. Raises DataError if it has none."""
        return hashlib.sha256(f"{sha256(self.weights)} {self.config.digest}".encode()).hexdigest()

    def predictions(self, side: str, hidden: Mapping[str, str] | None = None, attends: bool = True) -> Path:
        """Return where it keeps its predictions on a side of its split; `hidden`: modality -> part it did without;
        `attends` is False for those with its attention switched off."""
        without = "".join(f"-{m}-{part}" for m, part in (hidden or {}).items()) + ("" if attends else "-unattending")
        return self.folder / f"predictions_{side}{without}.json"

    def cost(self) -> dict[str, Any]:
        """Return what it cost, with all runs that it started from.

        Returns:
            `parameters` and how many of them trained; `epochs` of the run itself; `epochs_before`, those of the longest
            run it started from; `image_passes` (`rtslib.study.plan`) of all training behind it; `peak_memory_mib` of
            its own (None where the system does not tell).
        """
        record, config = self.record, self.config
        before = [run.cost() for run in self.parents]
        return {
            **{k: record[k] for k in ("parameters", "trained_parameters")},
            "epochs": config.epochs if record["steps"] else 0,
            "epochs_before": max((b["epochs"] + b["epochs_before"] for b in before), default=0),
            "image_passes": record["passes"] * len(config.modalities) + sum(b["image_passes"] for b in before),
            "peak_memory_mib": record["peak_memory_mib"],
        }

    def move_aside(self) -> "Run":
        """Rename the folder to `NAME.previous`, replacing an earlier one; return that. Raises OutputError."""
        previous = self.folder.with_name(self.name + ".previous")
        try:
            if previous.exists():
                shutil.rmtree(previous)
            self.folder.rename(previous)
        except OSError as e:
            raise OutputError(f"cannot move {self} aside: {e.strerror}: choose another results folder") from e
        return Run(previous)


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a training is.

    Attributes:
        config: its knobs; what training sets (`rtslib.config.MEASURED`) is filled in by it.
        chipset: opened data with labels.
        split: columns chip, name, group, side.
        start: modality -> unimodal run, or "all" -> a run of the same make (`rtslib.training.weights.initialise`);
            empty: from scratch.
    """

    config: Config
    chipset: ChipSet
    split: pd.DataFrame
    start: Mapping[str, Run] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """64 hexadecimal digits that identify the training; `HANDS`, which change no result, are left out.

        Raises DataError if a run it starts from has no weights. Runs that are joined count with their calibrations.
        """
        knobs = self.config.model_dump(exclude={*HANDS, *MEASURED})
        start: dict[str, Any] = {part: sha256(run.weights) for part, run in self.start.items()}
        if self.config.fusion == "decision":
            configs = {part: run.config for part, run in self.start.items()}
            start |= {f"{part} calibration": [c.temperature, c.score_shift] for part, c in configs.items()}
        text = json.dumps([knobs, self.chipset.fingerprint(), self.split.to_csv(index=False), start], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def claim(self, run: Run, resume: bool) -> bool:
        """Tell whether a run's folder holds this training, finished; False if it may be written to.

        Args:
            run: its folder need not exist.
            resume: allow a folder that holds this training, unfinished or not.

        Raises:
            OutputError: the folder holds another run or something else, or any run without `resume`.
        """
        there = run.record
        if not there:
            if run.folder.exists() and any(run.folder.iterdir()):
                raise OutputError(f"{run} is not empty and holds no run: choose another folder")
            return False
        if not resume:
            raise OutputError(f"{run} already holds a run: choose another folder, or resume it")
        if there.get("key") != self.key:
            raise OutputError(f"{run} holds a run with another config, data or split: take another folder or delete it")
        return run.finished

    def record(self, run: Run) -> dict[str, Any]:
        """Return what `run.json` says of this training from the start; paths are as seen from the run's folder, so that
        runs may move together."""
        paths = {p: os.path.relpath(r.folder.resolve(), run.folder.resolve()) for p, r in self.start.items()}
        return {
            "seed": self.config.seed, "key": self.key, "finished": False, "data": self.chipset.root.name,
            "data_fingerprint": self.chipset.fingerprint(), "layout": self.chipset.layout,
            "init": {part: Path(path).as_posix() for part, path in paths.items()},
        }  # fmt: skip
