"""The steps that the notebooks share: prepare the data, split it, make the planned runs.

A *study* is one data set with one profile: its runs (`rtslib.study.plan`) lie in `runs/SET-PROFILE/models/`, by the
seeds of split and training and, in cross-validation, by fold, whatever folder its tables and figures go to. So
notebooks, `make study` and the command line find each other's runs. A run that is finished is recognised
(`rtslib.training.identity`) and not repeated. (Scores: `rtslib.study.scores`; many runs at once: `rtslib.study.grid`.)
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rtslib.data.tables import save_table, sides_table
from rtslib.errors import ConfigError, DataError
from rtslib.files import write_json
from rtslib.study.plan import Planned, transfer, two_stage
from rtslib.training.identity import joined, recognised, trained

if TYPE_CHECKING:
    from rtslib.config import Config
    from rtslib.data.chips import ChipSet

ROOT = Path(__file__).resolve().parents[2]
#: Folds of cross-validation.
FOLDS = 5


def at_repo_root() -> None:
    """Make the checkout's root the working directory, so that relative paths mean the same everywhere."""
    os.chdir(ROOT)


def settings(profile: str) -> dict[str, Any]:
    """Return a profile's sizes and knobs. Raises ConfigError for an unknown one."""
    from rtslib.config import PROFILES

    if profile not in PROFILES:
        raise ConfigError(f"no profile {profile!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[profile]


def prepare(data: str, profile: str, seed: int, out: str | Path) -> "tuple[ChipSet, pd.DataFrame]":
    """Open the chips, or make the embedded landscape's, and split them by group.

    Args:
        data: folder of chips in any of the three layouts; empty makes synthetic ones in `scratch/`, or takes
            those made earlier with the same profile, seed and generator.
        profile: key of `rtslib.config.PROFILES`: `chips` and `size` (px) of the landscape, knobs of the
            stages `pretrain` and `finetune`, and optionally `layouts` (layout -> further knobs) and `limit`
            (chips of a real set, see `thin`).
        seed: of landscape and split.
        out: study folder; gets `tables/split.csv`, `tables/sides.csv` and `tables/data.json`.

    Returns:
        The chip set and its split (columns chip, name, group, side).

    Raises:
        DataError: the folder breaks its layout's rules, or has too few groups to split.
        ConfigError: unknown profile, or the set has no complete modality.
    """
    from rtslib.data.splits import save_split

    chipset, split = chips_and_split(data, profile, seed)
    tables = Path(out) / "tables"
    save_split(split, tables / "split.csv")
    save_table(sides_table(chipset, split), tables / "sides.csv")
    described = {
        "layout": chipset.layout, "chips": len(chipset.chips), "bands": list(chipset.bands),
        "instances": sum(map(len, chipset.instances.values())),
        "dropped_instances": chipset.dropped_instances,
        "fingerprint": chipset.fingerprint(),
    }  # fmt: skip
    write_json(tables / "data.json", described)
    return chipset, split


def chips_and_split(data: str, profile: str, seed: int, fold: int | None = None) -> "tuple[ChipSet, pd.DataFrame]":
    """Open and split the chips as `prepare`, without writing tables; with `fold`, for cross-validation.

    Raises:
        DataError, ConfigError: as `prepare`; or there is no such fold of `FOLDS`.
    """
    from rtslib.data.chips import open_chips
    from rtslib.data.splits import fold_split, folds_by_group, split_by_group
    from rtslib.study.scene import hold_out_site

    chipset = open_chips(data or _landscape(profile, seed))
    if not chipset.modalities():
        raise ConfigError(f"{data} has bands {', '.join(chipset.bands)}, which fill no modality")
    sizes = knobs(chipset, profile, seed, "pretrain")
    if fold is not None:
        split = fold_split(folds_by_group(chipset, FOLDS, seed), fold, sizes.val_fraction, seed)
    else:
        split = split_by_group(chipset, val=sizes.val_fraction, test=sizes.test_fraction, seed=seed)
        if chipset.layout == "geotiff":
            split = hold_out_site(chipset, split)  # notebook 05 maps it
    if data:
        split = thin(split, settings(profile).get("limit", len(split)))
    return chipset, split


def thin(split: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return about `limit` rows of a split, at even steps through each side, to try a large set fast.

    Every side keeps its share, and at least two chips (or what it has).
    """
    if len(split) <= limit:
        return split
    kept: list[int] = []
    for side in split["side"].unique():
        rows = split.index[split["side"] == side]
        count = min(len(rows), max(2, round(limit * len(rows) / len(split))))
        kept += [rows[round(i)] for i in np.linspace(0, len(rows) - 1, count)]
    return split.loc[sorted(kept)].reset_index(drop=True)


def why_no_fusion(chipset: "ChipSet") -> str:
    """Return in one sentence why there is nothing to fuse; empty where there is."""
    names = list(chipset.modalities())
    if len(names) > 1:
        return ""
    return (
        f"This data set has one complete modality, {names[0]} (bands: {', '.join(chipset.bands)}), so there "
        "is nothing to fuse: multimodal fine-tuning and the comparison of fusion strategies are skipped."
    )


def models_folder(
    data: str, profile: str, split_seed: int, seed: int, fold: int | None = None, kind: str = "two_stage"
) -> Path:
    """Return the folder that a study's runs of one training seed (and fold) lie in.

    Args:
        data, profile: as for `prepare`.
        split_seed: of landscape and split; seed: of training; fold: in cross-validation.
        kind: two_stage or transfer, whose runs share names.
    """
    name = Path(data).name if data else "synthetic"
    place = f"split{split_seed}" + ("" if fold is None else f"-fold{fold}") + f"-seed{seed}"
    place += "" if kind == "two_stage" else f"-{kind}"
    return ROOT / "runs" / f"{name}-{profile}" / "models" / place


def landscape_of(profile: str) -> str:
    """Return the profile whose runs on the embedded landscape a transfer starts from. Raises ConfigError."""
    return settings(profile).get("landscape", profile)


def planned(chipset: "ChipSet", profile: str, kind: str = "two_stage") -> dict[str, Planned]:
    """Return the runs that a study of this data has; `kind`: two_stage or transfer (`rtslib.study.plan`)."""
    modalities = tuple(chipset.modalities())
    if kind == "transfer":
        return transfer(modalities)
    return two_stage(modalities, knobs(chipset, profile, 0, "finetune").epochs)


def make(
    name: str,
    chipset: "ChipSet",
    split: pd.DataFrame,
    profile: str,
    seed: int,
    folder: str | Path,
    kind: str = "two_stage",
    landscape: str | Path = "",
) -> Path:
    """Train one run of a plan, or recognise it as finished; those it starts from are made first.

    Args:
        name: of the run.
        chipset, split, profile: as for and from `prepare`.
        seed: of training.
        folder: from `models_folder`.
        kind: two_stage or transfer.
        landscape: folder of the landscape's runs that a transfer study starts from.

    Returns:
        The run's folder.

    Raises:
        ConfigError: the plan has no such run.
        DataError, TrainingError, WeightsError, OutputError: as `rtslib.training.train.train`.
    """
    run = _planned_run(name, chipset, profile, kind)
    start = {}
    for part, source in run.starts.items():
        start[part] = Path(landscape) / source if run.landscape else make(
            source, chipset, split, profile, seed, folder, kind
        )  # fmt: skip
    if run.fusion == "decision":
        return joined(start, Path(folder) / name)
    return trained(chipset, split, Path(folder) / name, _config_of(run, chipset, profile, seed), start)


def is_made(
    name: str,
    chipset: "ChipSet",
    split: pd.DataFrame,
    profile: str,
    seed: int,
    folder: str | Path,
    kind: str = "two_stage",
    landscape: str | Path = "",
) -> bool:
    """Tell whether `make` would find a run finished; arguments as there. Raises ConfigError, DataError."""
    run = _planned_run(name, chipset, profile, kind)
    start = {part: Path(landscape if run.landscape else folder) / source for part, source in run.starts.items()}
    if not all((source / "model.pt").exists() for source in start.values()):
        return False
    if not run.landscape and not all(
        is_made(s, chipset, split, profile, seed, folder, kind) for s in set(run.starts.values())
    ):
        return False
    if run.fusion == "decision":
        return (Path(folder) / name / "run.json").exists() and bool(
            make(name, chipset, split, profile, seed, folder, kind)
        )
    return recognised(chipset, split, Path(folder) / name, _config_of(run, chipset, profile, seed), start)


def _planned_run(name: str, chipset: "ChipSet", profile: str, kind: str) -> Planned:
    plan = planned(chipset, profile, kind)
    if name not in plan:
        raise ConfigError(f"no run {name!r}: choose one of {', '.join(plan)}")
    return plan[name]


def _config_of(run: Planned, chipset: "ChipSet", profile: str, seed: int) -> "Config":
    """Return the config of a planned run: that of its last stage, for the epochs of all its stages."""
    modalities = {m: list(b) for m, b in chipset.modalities().items() if m in run.modalities}
    stages = [knobs(chipset, profile, seed, stage, modalities=modalities) for stage in run.stages]
    return stages[-1].updated(fusion=run.fusion, epochs=sum(c.epochs for c in stages), **run.knobs)


def knobs(chipset: "ChipSet", profile: str, seed: int, stage: str, **values: Any) -> "Config":
    """Return the config of a stage (`pretrain`, `finetune`, `transfer`): the profile's, and the layout's."""
    from rtslib.config import Config

    chosen = settings(profile)
    for_layout = chosen.get("layouts", {}).get(chipset.layout, {})
    return Config.make({**chosen[stage], **for_layout, "seed": seed, **values})


def _landscape(profile: str, seed: int) -> Path:
    """Return the folder of the embedded landscape's chips; made unless this generator made it before."""
    from rtslib.synthetic.chips import make_chip, write_challenge

    chips, size = settings(profile)["chips"], settings(profile)["size"]
    bands, masks = make_chip(seed, size=64)  # a changed generator changes this chip, and so the folder's name
    mark = hashlib.sha256(bands.tobytes() + b"".join(m.tobytes() for m in masks)).hexdigest()[:8]
    folder = ROOT / "scratch" / "synthetic" / f"{chips}-chips-{size}px-seed{seed}-{mark}"
    if not folder.exists():
        write_challenge(folder, chips, size, seed)
    return folder


def side_chips(chipset: "ChipSet", split: pd.DataFrame, side: str) -> list:
    """Return the chips of one side, in the set's order. Raises DataError if there is none."""
    wanted = set(split.loc[split["side"] == side, "chip"])
    chips = [c for c in chipset.chips if c.id in wanted]
    if not chips:
        raise DataError(chipset.root, f"no chip on the {side} side of the split", "at least one")
    return chips
