"""A study: one data set with one profile, its chips, its split and its plan of runs; and one run of it.

A study's runs (`rtslib.study.plan`) lie in `runs/SET-PROFILE/models/`, by the seeds of split and training and, in
cross-validation, by fold, whatever folder its tables and figures go to. So notebooks, `make study` and the command line
find each other's runs. A run that is finished is recognised (`rtslib.training.trainer.obtain`) and not repeated.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rtslib import files
from rtslib.config import Config
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.missing import PARTS
from rtslib.data.opening import open_chips
from rtslib.data.splits import fold_split, folds_by_group, hold_out_site, save_split, split_by_group, thin
from rtslib.data.tables import sides_table
from rtslib.errors import ConfigError, DataError
from rtslib.files import read_json, save_table, write_json
from rtslib.models.fusion import without_attention
from rtslib.study.grouping import grouped
from rtslib.study.plan import ATTENDING, TRIED_SEEDS, TRIED_WITHOUT, Planned, planned
from rtslib.study.profiles import in_epochs, place, settings
from rtslib.synthetic.chips import kept_challenge
from rtslib.training.ensembling import ensemble_recipe
from rtslib.training.join import joined_recipe
from rtslib.training.prediction import predict
from rtslib.training.runs import Recipe, Run
from rtslib.training.trainer import is_obtained, obtain
from rtslib.training.weights import load_onto_device

#: Folds of cross-validation.
FOLDS = 5
#: Which of them a source is not trained on, so that its own scores tell what it is worth.
SOURCE_FOLD = 0
#: Parts of test chips that each secondary modality is hidden from; see `rtslib.data.missing`.
HIDDEN_PARTS = PARTS[:2]


def at_repo_root() -> None:
    """Make the checkout's root the working directory, so that relative paths mean the same everywhere."""
    os.chdir(files.ROOT)


@dataclass(frozen=True)
class Study:
    """One data set with one profile. What it opens is kept; only the fields travel to other processes.

    Attributes:
        data: folder of chips in any layout; empty: the embedded landscape, made in `scratch/` where it is not yet.
        profile: key of `rtslib.config.PROFILES`.
        seed: of landscape, split and folds.
        kind: two_stage or transfer (`rtslib.study.plan`).
        fold: in cross-validation by group, 0 to `FOLDS` - 1; None: one split.
        source: of a transfer, folder of the chips whose primary run it starts from, trained on all but fold
            `SOURCE_FOLD` of these; empty: ImageNet weights or the landscape's runs (`rtslib.study.plan`).

    Raises (when it is opened):
        DataError: the folder breaks its layout's rules, or has too few groups to split.
        ConfigError: unknown profile or kind, no such fold, or the set has no complete modality.
    """

    data: str = ""
    profile: str = "quick"
    seed: int = 0
    kind: str = "two_stage"
    fold: int | None = None
    source: str = ""

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def settings(self) -> dict[str, Any]:
        """The profile's sizes and knobs."""
        return settings(self.profile)

    @cached_property
    def chipset(self) -> ChipSet:
        """The opened chips, in the groups that they are split by (`rtslib.study.grouping`)."""
        sizes = self.settings
        made = None if self.data else kept_challenge(files.ROOT / "scratch", sizes["chips"], sizes["size"], self.seed)
        chipset = open_chips(made or self.data)
        if not chipset.modalities():
            raise ConfigError(f"{self.data} has bands {', '.join(chipset.bands)}, which fill no modality")
        return grouped(chipset, self.fold is not None, place(self.data, self.profile) / "models")

    @cached_property
    def split(self) -> pd.DataFrame:
        """Columns chip, name, group, side; of rasters the largest site is on the test side, to be mapped."""
        sizes = Config.make({k: v for k, v in self._given("pretrain").items() if k != "steps"})
        if self.fold is not None:
            split = fold_split(folds_by_group(self.chipset, FOLDS, self.seed), self.fold, sizes.val_fraction, self.seed)
        else:
            split = split_by_group(self.chipset, sizes.val_fraction, sizes.test_fraction, self.seed)
            if self.chipset.layout == "geotiff":
                split = hold_out_site(self.chipset, split)
        return thin(split, self.settings.get("limit", len(split))) if self.data else split

    @cached_property
    def plan(self) -> dict[str, Planned]:
        """Name -> run, each after those it starts from."""
        pretrained = self.kind == "transfer" and self.knobs("transfer").pretrained
        names = tuple(self.chipset.modalities())
        return planned(self.kind, names, self.knobs("finetune").epochs, pretrained, bool(self.source))

    @property
    def origin(self) -> "Study":
        """The study whose runs a transfer starts from: that of its source, else that of the embedded landscape."""
        if self.source:
            return Study(self.source, self.profile, self.seed, "transfer", SOURCE_FOLD)
        return Study(profile=self.settings.get("landscape", self.profile))

    @property
    def why_no_fusion(self) -> str:
        """One sentence on why there is nothing to fuse; empty where there is."""
        names = list(self.chipset.modalities())
        if len(names) > 1:
            return ""
        return (
            f"This data set has one complete modality, {names[0]} (bands: {', '.join(self.chipset.bands)}), so there "
            "is nothing to fuse: multimodal fine-tuning and the comparison of fusion strategies are skipped."
        )

    def must_fuse(self) -> list[str]:
        """Return the modalities to fuse, the primary one first. Raises ConfigError where there is only one."""
        if self.why_no_fusion:
            raise ConfigError(self.why_no_fusion)
        return list(self.chipset.modalities())

    def chips(self, side: str) -> list[Chip]:
        """Return the chips of one side, in the set's order. Raises DataError if there is none."""
        wanted = set(self.split.loc[self.split["side"] == side, "chip"])
        chips = [c for c in self.chipset.chips if c.id in wanted]
        if not chips:
            raise DataError(self.chipset.root, f"no chip on the {side} side of the split", "at least one")
        return chips

    def knobs(self, stage: str, **values: Any) -> Config:
        """Return the config of a stage (pretrain, finetune, transfer): the profile's, and the layout's.

        Steps of a profile become epochs of this split's training side (`rtslib.study.profiles.in_epochs`).
        """
        knobs = {**self._given(stage), **values}
        return in_epochs(knobs, len(self.chips("train")) if "steps" in knobs else 0)

    def _given(self, stage: str) -> dict[str, Any]:
        """What the profile says of a stage, with what it says of the chips' layout."""
        return {**self.settings[stage], **self.settings.get("layouts", {}).get(self.chipset.layout, {})}

    def run(self, name: str, seed: int | None = None) -> "StudyRun":
        """Return a run of the plan, trained with a seed (that of the study if None), whether it is made or not.

        Raises:
            ConfigError: the plan has no such run.
        """
        if name not in self.plan:
            raise ConfigError(f"no run {name!r}: choose one of {', '.join(self.plan)}")
        return StudyRun(self, name, self.seed if seed is None else seed)

    def describe(self, out: str | Path) -> None:
        """Write what the chips are to `out/tables`: split.csv, sides.csv, data.json. Raises OutputError."""
        tables, chipset = Path(out) / "tables", self.chipset
        save_split(self.split, tables / "split.csv")
        save_table(sides_table(chipset, self.split), tables / "sides.csv")
        described = {
            "layout": chipset.layout, "chips": len(chipset.chips), "bands": list(chipset.bands),
            "instances": sum(map(len, chipset.instances.values())),
            "dropped_instances": chipset.dropped_instances,
            "fingerprint": chipset.fingerprint(),
        }  # fmt: skip
        write_json(tables / "data.json", described)


@dataclass(frozen=True)
class StudyRun:
    """One run of a study's plan with one seed, whether it is made or not."""

    study: Study
    name: str
    seed: int

    @property
    def planned(self) -> Planned:
        """What the plan says of it."""
        return self.study.plan[self.name]

    @property
    def label(self) -> str:
        """Name, seed and fold, to be read."""
        return f"{self.name}, seed {self.seed}" + ("" if self.study.fold is None else f", fold {self.study.fold}")

    @property
    def made(self) -> Run:
        """What was made of it, in a folder by the seeds of split and training, by fold and by kind."""
        study = self.study
        name = f"split{study.seed}" + ("" if study.fold is None else f"-fold{study.fold}") + f"-seed{self.seed}"
        name += "" if study.kind == "two_stage" else f"-{study.kind}"
        name += f"-from-{Path(study.source).name}" if study.source else ""
        return Run(place(study.data, study.profile) / "models" / name / self.name)

    @property
    def starts(self) -> dict[str, "StudyRun"]:
        """Modality (or `all`) -> the run that its weights come from."""
        source = self.study.origin if self.planned.elsewhere else self.study
        return {part: StudyRun(source, name, self.seed) for part, name in self.planned.starts.items()}

    @property
    def recipe(self) -> Recipe:
        """What it is; the runs that it starts from have to be there. Raises DataError if one is not."""
        study, planned = self.study, self.planned
        start = {part: source.made for part, source in self.starts.items()}
        if planned.fusion == "decision":
            return joined_recipe(start, study.chipset, study.split)
        if planned.fusion == "ensemble":
            return ensemble_recipe(start, study.chipset, study.split)
        modalities = {m: list(b) for m, b in study.chipset.modalities().items() if m in planned.modalities}
        stages = [study.knobs(stage, seed=self.seed, modalities=modalities) for stage in planned.stages]
        epochs = sum(c.epochs for c in stages)  # those of all its stages, with the knobs of the last
        config = stages[-1].updated(fusion=planned.fusion, epochs=epochs, **planned.knobs)
        return Recipe(config, study.chipset, study.split, start)

    def make(self, progress: bool = True) -> "StudyRun":
        """Train it, or recognise it as finished; those it starts from are made first, but for those of another study.

        Raises:
            DataError, TrainingError, WeightsError, OutputError: as `rtslib.training.trainer.train`.
        """
        if not self.planned.elsewhere:
            for source in self.starts.values():
                source.make(progress)
        obtain(self.recipe, self.made, progress)
        return self

    def predictions(
        self, side: str = "test", hidden: Mapping[str, str] | None = None, attends: bool = True
    ) -> list[dict]:
        """Return its COCO results on one side of the split; they are kept in its folder.

        Args:
            side: train, val or test.
            hidden: what of each chip the model has to do without, as `rtslib.training.prediction.predict` takes it.
            attends: False switches its attention off (`rtslib.models.fusion.without_attention`).
        """
        kept = self.made.predictions(side, hidden, attends)
        if not kept.exists():
            model, chips = load_onto_device(self.made), self.study.chips(side)
            if not attends:
                without_attention(model)
            write_json(kept, predict(model, self.study.chipset, chips, hidden=hidden))
        return read_json(kept)

    @property
    def hidden_cases(self) -> list[tuple[str, str]]:
        """What is hidden from test chips, to see what it does without: (modality, part); none for most runs.

        All modalities of the run but its primary one, the last one first.
        """
        if self.study.kind != "two_stage" or self.name not in TRIED_WITHOUT or self.seed not in TRIED_SEEDS:
            return []
        return [(m, part) for m in reversed(list(self.study.chipset.modalities())[1:]) for part in HIDDEN_PARTS]

    @property
    def wanted(self) -> list[tuple[str, dict[str, str], bool]]:
        """The predictions that a study needs of it: (side, what is hidden, whether it attends)."""
        sides: list[tuple[str, dict, bool]] = [
            (side, {}, True) for side in ("val", "test") if side in set(self.study.split["side"])
        ]
        sides += [("test", {modality: part}, True) for modality, part in self.hidden_cases]
        return sides + [("test", {}, False)] * (self.name in ATTENDING)

    @property
    def is_done(self) -> bool:
        """Whether it is made, and all its predictions are there; what it starts from has to be done."""
        return all(self.made.predictions(*case).exists() for case in self.wanted) and is_obtained(
            self.recipe, self.made
        )
