"""The runs of a study: what each one trains on, what it starts from, and for how long.

*Two-stage* data (the embedded landscape, the challenge) has runs of two stages, with P epochs of pre-training
and F of fine-tuning (`pretrain` and `finetune` of a profile) on M modalities:

- `rgb`, `spectral`, `terrain`: one modality alone, P epochs: *unimodal pre-training*;
- `rgb_continued` ...: the same for F epochs more, as a gain of fusion must not be one of longer training;
- `decision`: these put together without training (`rtslib.models.decision`);
- one run a fusion strategy (`rtslib.models.strategies`): F epochs from the unimodal runs' weights. `data`, which cannot
  start from them, has P epochs from scratch (`data_start`), then F more from these: the same two schedules;
- `residual_scratch`, `concat_scratch`, `data_scratch`: P + F epochs from scratch, in one schedule;
- `data_long`: M P + 2 F epochs in one schedule, for about as many multiply-adds as M unimodal runs and a fused one (a
  fused step takes 2.2 times those of a stacked one);
- `residual_frozen`, `residual_thawed`: residual cross-attention with its backbones frozen; frozen for the first half
  of F; `residual_dropout`: with a fifth of the modalities hidden in training (`rtslib.data.missing`);
- `trees`: boosted trees on pixels (`rtslib.models.trees`), what one would try first; no network, no epochs, no starts;
- `data_trees`: `data` and `trees` put together (`rtslib.models.ensemble`).

Batch arithmetic: an *image pass* is one modality of one chip going through training once. Three unimodal runs
of P epochs and one multimodal run of F take 3 P + 3 F image passes a chip, a multimodal run from scratch of
P + F epochs takes 3 (P + F): the same, and both have P + F epochs of steps behind them. `rgb_continued` takes P + F.
`COMPARED` says which runs share what, since at equal steps a stacked model costs half as much as a fused one.

*Transfer* data (real chips) has one stage: `rgb`, `data`, `concat_conv`, `merge_only`, `residual_cross_attention` start
from ImageNet weights where the profile has `pretrained`, else from the landscape's run of the same make (rgb from
`rgb_continued`), and `rgb_scratch`, `data_scratch` from nothing, for as many epochs (`transfer`);
and there are `trees` and `data_trees`. With a *source*, another set of chips that has the primary modality, they all
start from its primary run instead (unimodal pre-training on the set that has many chips), and `rgb_imagenet`,
`data_imagenet` do not.

Two-stage training: Li et al. 2025 (arXiv 2504.17822).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from rtslib.config import FusionName
from rtslib.errors import ConfigError

#: Fusion strategies that start from unimodal runs.
FUSED = tuple(name for name in get_args(FusionName) if name not in ("data", "decision", "trees", "ensemble"))
RESIDUAL = "residual_cross_attention"
#: Models of which a study of record has more seeds than of the others.
MATTER = ("rgb_continued", "data", "concat_conv", "merge_only", RESIDUAL)
#: What models share -> those compared on these terms; strategies are compared within a row, schedules across rows.
COMPARED: dict[str, tuple[str, ...]] = {
    "two schedules (P, then F epochs), equal steps": ("data", "concat_conv", "merge_only", RESIDUAL),
    "one schedule (P + F epochs), equal steps": ("data_scratch", "concat_scratch", "residual_scratch"),
    "equal multiply-adds": ("data_long", "concat_conv", "merge_only", RESIDUAL),
}
#: The four ways to train the same model, that answer whether two-stage training saves compute.
STAGES_OF = {
    "residual_scratch": "(a) from scratch", "residual_frozen": "(b) pre-trained, backbones frozen",
    RESIDUAL: "(c) pre-trained, all trained", "residual_thawed": "(d) frozen, then all trained",
}  # fmt: skip
#: Runs that are also scored with a modality missing, where the study has them, and the seeds for which they are.
TRIED_SEEDS = (0, 1, 2)
TRIED_WITHOUT = ("data", "concat_conv", RESIDUAL, "residual_dropout", "decision")
#: Runs that are also scored with their attention switched off, where the study has them.
ATTENDING = (RESIDUAL, "residual_scratch", "residual_frozen", "residual_thawed", "residual_dropout")


@dataclass(frozen=True)
class Planned:
    """One run.

    Attributes:
        name: of the run and its folder.
        modalities: those it reads, the primary one first.
        fusion: a config's `fusion`; of no meaning for one modality, but for `trees`.
        stages: the profile's stages whose epochs it trains for, one after the other.
        starts: modality (or `all`) -> name of the run its weights come from.
        knobs: further ones.
        elsewhere: whether `starts` are runs of another study: the embedded landscape's, or that of a source.
    """

    name: str
    modalities: tuple[str, ...]
    fusion: str = "data"
    stages: tuple[str, ...] = ("finetune",)
    starts: Mapping[str, str] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: bool = False


def planned(
    kind: str, modalities: Sequence[str], epochs: int, pretrained: bool = False, source: bool = False
) -> dict[str, Planned]:
    """Return the runs of a study by name.

    Args:
        kind: two_stage or transfer.
        modalities: names, the primary one first.
        epochs: of the second stage, see `two_stage`.
        pretrained, source: see `transfer`.

    Raises:
        ConfigError: another kind, or a source that it has no use for.
    """
    if kind not in ("two_stage", "transfer"):
        raise ConfigError(f"kind {kind!r}: choose one of two_stage, transfer")
    if source and kind != "transfer":
        raise ConfigError(f"a source is for kind transfer, not for {kind}: leave it out, or choose kind=transfer")
    return two_stage(modalities, epochs) if kind == "two_stage" else transfer(modalities, pretrained, source)


def two_stage(modalities: Sequence[str], epochs: int = 2) -> dict[str, Planned]:
    """Return the runs of a two-stage study by name, each after those it starts from.

    Args:
        modalities: names, the primary one first.
        epochs: of the second stage, to halve for `residual_thawed`.
    """
    every, alone = tuple(modalities), {m: m for m in modalities}
    runs = [Planned(m, (m,), stages=("pretrain",)) for m in every]
    runs += [Planned(f"{m}_continued", (m,), starts={m: m}) for m in every]
    if len(every) > 1:
        both, long = ("pretrain", "finetune"), ("pretrain",) * len(every) + ("finetune",) * 2
        runs.append(Planned("data_start", every, stages=("pretrain",)))
        runs.append(Planned("data", every, starts={"all": "data_start"}))
        runs += [Planned(f, every, f, starts=alone) for f in FUSED]
        scratch = {"data": "data", "concat": "concat_conv", "residual": RESIDUAL}
        one_rate = {"fusion_lr": 1.0}  # from scratch all is new
        runs += [Planned(f"{name}_scratch", every, fusion, both, knobs=one_rate) for name, fusion in scratch.items()]
        runs.append(Planned("data_long", every, stages=long))
        variants: dict[str, dict[str, Any]] = {
            "residual_frozen": {"freeze_epochs": epochs},
            "residual_thawed": {"freeze_epochs": max(1, epochs // 2)},
            "residual_dropout": {"modality_dropout": 0.2},
        }
        for name, knobs in variants.items():
            runs.append(Planned(name, every, RESIDUAL, starts=alone, knobs=knobs))
        runs.append(Planned("decision", every, "decision", (), {m: f"{m}_continued" for m in every}))
    runs.append(Planned("trees", every, "trees", knobs={"pretrained": False}))
    runs += _with_trees(every)
    return {run.name: run for run in runs}


def transfer(modalities: Sequence[str], pretrained: bool = False, source: bool = False) -> dict[str, Planned]:
    """Return the runs of a transfer study by name; with one modality, those of the primary one alone.

    Args:
        modalities: names, the primary one first.
        pretrained: runs start from ImageNet weights and not from the landscape's; those from scratch have none.
        source: they start from the primary run of another set of chips, whose study is a transfer, too.
    """
    every, primary = tuple(modalities), modalities[0]
    starts = {primary: f"{primary}_continued"}
    if len(every) > 1:
        starts |= {name: name for name in ("data", "concat_conv", "merge_only", RESIDUAL)}
    runs = []
    for name, start in starts.items():
        read, fusion = ((primary,), "data") if name == primary else (every, name)
        given = {primary: primary} if source else {} if pretrained else {"all": start}
        runs.append(Planned(name, read, fusion, ("transfer",), given, elsewhere=bool(given)))
        if name in (primary, "data"):
            knobs = {"pretrained": False} if pretrained and not source else {}
            ending = "imagenet" if pretrained and source else "scratch"
            runs.append(Planned(f"{name}_{ending}", read, fusion, ("transfer",), knobs=knobs))
    runs.append(Planned("trees", every, "trees", ("transfer",), knobs={"pretrained": False}))
    runs += _with_trees(every)
    return {run.name: run for run in runs}


def _with_trees(every: tuple[str, ...]) -> list[Planned]:
    """What is asked of an ensemble: whether the stack knows something that trees do not; none with one modality."""
    return [Planned("data_trees", every, "ensemble", (), {"data": "data", "trees": "trees"})] * (len(every) > 1)


def needed(plan: Mapping[str, Planned], names: Iterable[str]) -> list[str]:
    """Return the named runs and all they start from, each after those it starts from.

    Raises:
        ConfigError: a name that the plan does not have.
    """
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in plan:
            raise ConfigError(f"no run {name!r}: choose one of {', '.join(plan)}")
        if name not in wanted:
            wanted.add(name)
            waiting += [] if plan[name].elsewhere else plan[name].starts.values()
    return [name for name in plan if name in wanted]
