"""The steps that the notebooks share: prepare the data, pre-train, fine-tune. (Scores: `rtslib.runscores`.)

A *study* is one folder of results: `tables/`, `figures/`, `runs/<name>/`. Its runs, by name:

- one per modality (`rgb`, `spectral`, `terrain`): *unimodal pre-training*, a detector that sees this alone;
- `fused`: residual cross-modality attention, started from the unimodal runs' weights;
- `concat_conv`: the same start, branches concatenated and convolved instead;
- `data`: all bands stacked into one backbone, which therefore can start from no unimodal run; it trains for
  as many epochs as pre-training and fine-tuning together;
- `<primary>_continued` (`rgb_continued`): the primary modality alone, trained on for as many epochs as
  `fused` is fine-tuned, so that a gain of `fused` is not just one of longer training.

A run that is finished is recognised (`rtslib.runkeys`) and not repeated. Two-stage training: Li et al. 2025
(JSTARS, doi 10.1109/JSTARS.2025.3564310).
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rtslib.errors import ConfigError, DataError
from rtslib.files import write_json
from rtslib.runkeys import trained
from rtslib.tables import save_table, sides_table

if TYPE_CHECKING:
    from rtslib.chips import ChipSet
    from rtslib.config import Config

ROOT = Path(__file__).resolve().parents[1]
#: Multimodal runs -> fusion strategy.
MULTIMODAL = {"fused": "residual_cross_attention", "concat_conv": "concat_conv", "data": "data"}


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
    from rtslib.chips import open_chips
    from rtslib.mapstudy import hold_out_site
    from rtslib.splits import save_split, split_by_group

    chipset = open_chips(data or _landscape(profile, seed))
    if not chipset.modalities():
        raise ConfigError(f"{data} has bands {', '.join(chipset.bands)}, which fill no modality")
    sizes = knobs(chipset, profile, seed, "pretrain")
    split = split_by_group(chipset, val=sizes.val_fraction, test=sizes.test_fraction, seed=seed)
    if chipset.layout == "geotiff":
        split = hold_out_site(chipset, split)  # notebook 05 maps it
    if data:
        split = thin(split, settings(profile).get("limit", len(split)))
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


def pretrain(
    chipset: "ChipSet", split: pd.DataFrame, profile: str, seed: int, out: str | Path
) -> dict[str, Path]:
    """Train one unimodal detector per modality of the data, or recognise those that are finished.

    Args:
        chipset, split, profile, seed, out: as for and from `prepare`.

    Returns:
        Modality -> run folder, in the modalities' order (the primary one first).

    Raises:
        ConfigError, DataError, TrainingError, OutputError: as `rtslib.train.train`.
    """
    runs = {}
    for name, bands in chipset.modalities().items():
        config = knobs(chipset, profile, seed, "pretrain", modalities={name: list(bands)})
        runs[name] = trained(chipset, split, Path(out) / "runs" / name, config, {})
    return runs


def finetune(
    name: str, chipset: "ChipSet", split: pd.DataFrame, profile: str, seed: int, out: str | Path
) -> Path:
    """Train one run of the second stage, or recognise it as finished.

    Args:
        name: `fused`, `concat_conv`, `data` or `<primary>_continued`, see the module's head. The unimodal
            runs are made first where they are missing.
        chipset, split, profile, seed, out: as for and from `prepare`.

    Returns:
        The run's folder.

    Raises:
        ConfigError: `name` is none of these, or needs more modalities than the data has.
        DataError, TrainingError, OutputError: as `rtslib.train.train`.
    """
    modalities = {m: list(b) for m, b in chipset.modalities().items()}
    primary = next(iter(modalities))
    folder = Path(out) / "runs" / name
    if name == f"{primary}_continued":
        first = pretrain(chipset, split, profile, seed, out)[primary]
        config = knobs(chipset, profile, seed, "finetune", modalities={primary: modalities[primary]})
        return trained(chipset, split, folder, config, {primary: first})
    if name not in MULTIMODAL:
        raise ConfigError(
            f"no run {name!r}: choose one of {', '.join([*MULTIMODAL, primary + '_continued'])}"
        )
    if len(modalities) < 2:
        raise ConfigError(f"run {name!r} needs two modalities or more, and the data has only {primary}")
    config = knobs(chipset, profile, seed, "finetune", modalities=modalities, fusion=MULTIMODAL[name])
    if name == "data":
        both = config.epochs + knobs(chipset, profile, seed, "pretrain", modalities=modalities).epochs
        return trained(chipset, split, folder, config.updated(epochs=both), {})
    return trained(chipset, split, folder, config, pretrain(chipset, split, profile, seed, out))


def knobs(chipset: "ChipSet", profile: str, seed: int, stage: str, **values: Any) -> "Config":
    """Return the config of a stage (`pretrain`, `finetune`): the profile's, and what the layout needs."""
    from rtslib.config import Config

    chosen = settings(profile)
    for_layout = chosen.get("layouts", {}).get(chipset.layout, {})
    return Config.make({**chosen[stage], **for_layout, "seed": seed, **values})


def _landscape(profile: str, seed: int) -> Path:
    """Return the folder of the embedded landscape's chips; made unless this generator made it before."""
    from rtslib.synthetic import make_chip, write_challenge

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
