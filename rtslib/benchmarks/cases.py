"""Cases: what is measured, on which device and at which sizes, and which case each is compared with.

A *case* is one measurement, a *group* the cases that do the same work or ask one question. Where a case names another
of its group in `against`, the ratio of their times is what the group asks for: how much slower a peer is than we are,
or what more branches cost. Both then have the same size, batch, device and precision.

Peers are imported where they are installed; where not, the row says so.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: Knobs of whole models: in full, and at toy size.
_FULL: dict[str, Any] = {"backbone": "tiny", "head_norm": "BN"}
_TOY: dict[str, Any] = {
    "backbone": "nano", "fpn_channels": 16, "head_channels": 16, "head_convs": 1, "head_fc": 16, "roi_sampling": 1,
    "rpn_pre_nms": 60,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        group: key of `rtslib.benchmarks.speed.GROUPS`.
        case: its name there.
        px: side of an image, or of a matrix; 0 where there is none.
        batch: images at once.
        device: cpu or cuda.
        precision: fp32, or bf16: mixed, by autocast (of the matrix product alone: pure).
        against: the case that it is compared with.
        given: what its group has to know beside; of models, knobs of `rtslib.config.Config`.
    """

    group: str
    case: str
    px: int = 0
    batch: int = 1
    device: str = "cpu"
    precision: str = "fp32"
    against: str = ""
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What `--only` takes, in whole or from its start: group/case/px/batch/precision."""
        return f"{self.group}/{self.case}/{self.px}/{self.batch}/{self.precision}"


@dataclass(frozen=True)
class Work:
    """What a case does.

    Attributes:
        call: what is measured.
        parts: like things that one call does, to be timed by the piece.
        counted: whether its operations are counted.
        difference: gives the largest difference of its outputs from a peer's; called last, may be slow.
        note: says, after the call, what a reader has to know.
    """

    call: Callable[[], Any]
    parts: int = 1
    counted: bool = True
    difference: Callable[[], float] | None = None
    note: Callable[[], str] | None = None


class Unavailable(Exception):
    """A case cannot be measured here; says why."""


def all_cases(device: str, quick: bool = False) -> list[Case]:
    """Return the cases of a device, those first that others are compared with.

    Args:
        device: cpu or cuda.
        quick: the same questions at toy sizes, to see that all works.
    """
    return [*_machine(device, quick), *_trunks(device, quick), *_tiny(device, quick), *_quick_models(device, quick),
            *_branches(device, quick), *_loading(device, quick)]  # fmt: skip


def _precisions(device: str) -> tuple[str, ...]:
    return ("fp32", "bf16") if device == "cuda" else ("fp32",)


def _mixed(device: str) -> str:
    """The precision of training and prediction on a device."""
    return "bf16" if device == "cuda" else "fp32"


def _machine(device: str, quick: bool) -> Iterator[Case]:
    side = 256 if quick else 8192 if device == "cuda" else 2048
    for precision in _precisions(device):
        yield Case("matrix product", precision, side, 1, device, precision)
    for name in ("import rtslib", "rtslib --help") if device == "cpu" else ():
        yield Case("start", name)


def _trunks(device: str, quick: bool) -> Iterator[Case]:
    sizes = (64,) if quick else (256, 512, 1024)
    cases = [("rtslib", ""), ("timm", "rtslib"), ("rtslib windows", ""), ("rtslib as detectron2", ""),
             ("detectron2", "rtslib as detectron2")]  # fmt: skip
    for precision in _precisions(device):
        for px, batch in [*((px, 1) for px in sizes), *([(512, 8)] if device == "cuda" and not quick else [])]:
            for name, against in cases:
                yield Case("trunk", name, px, batch, device, precision, against)


def _tiny(device: str, quick: bool) -> Iterator[Case]:
    """Whole models of one modality, with as many proposals and RoI samples as ours has, and as detectron2 has."""
    few, many, knobs = (20, 40, _TOY) if quick else (200, 1000, _FULL)
    small: dict[str, Any] = {**knobs, "proposals": few}
    large: dict[str, Any] = {**knobs, "proposals": many, "rpn_pre_nms": many}
    for px in (64,) if quick else (256, 512, 1024):
        yield from _three("inference tiny", (f"{few} proposals", f"{many} proposals"), small, large, px, 1, device)
    few, many = (8, 16) if quick else (64, 512)
    small, large = {**small, "roi_samples": few}, {**large, "roi_samples": many}
    for px in (64,) if quick else (256, 512) if device == "cuda" else (256,):
        yield from _three("training tiny", (f"{few} RoI samples", f"{many} RoI samples"), small, large, px, 2, device)


def _three(
    group: str, names: tuple[str, str], small: dict[str, Any], large: dict[str, Any], px: int, batch: int, device: str
) -> Iterator[Case]:
    """Ours with small numbers, and compared with it ours and detectron2's with large ones."""
    how: dict[str, Any] = {"px": px, "batch": batch, "device": device, "precision": _mixed(device)}
    first, second = names
    yield Case(group, first, **how, given=small)
    yield Case(group, second, **how, against=first, given=large)
    yield Case(group, "detectron2", **how, against=first, given={**large, "engine": "detectron2"})


def _quick_models(device: str, quick: bool) -> Iterator[Case]:
    """The narrow models of the profile `quick`, alone and against torchvision's."""
    how: dict[str, Any] = {"device": device, "precision": _mixed(device)}
    peers = ("maskrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn")
    px = 64 if quick else 512
    yield Case("inference lite0", "rtslib", px, 1, **how)
    for name in peers:
        yield Case("inference lite0", name, px, 1, **how, against="rtslib")
    models = {"nano": ("nano", "data", 4), "nano residual": ("nano", "residual_cross_attention", 4),
              "lite0": ("lite0", "data", 2)}  # fmt: skip
    for group in ("training quick", "prediction quick"):
        for px in (64,) if quick else (96, 256) if device == "cuda" else (96, 160, 256):
            for name, (backbone, fusion, batch) in models.items():
                yield Case(group, name, px, batch, **how, given={"backbone": backbone, "fusion": fusion})


def _branches(device: str, quick: bool) -> Iterator[Case]:
    how: dict[str, Any] = {"device": device, "precision": _mixed(device)}
    px, knobs = (64, _TOY) if quick else (256, _FULL)
    for group, batch in (("branches inference", 1), ("branches training", 2)):
        yield Case(group, "one", px, batch, **how, given={**knobs, "branches": 1})
        yield Case(group, "three", px, batch, **how, against="one", given={**knobs, "branches": 3})
        if batch == 2:
            given = {**knobs, "branches": 3, "frozen": True}
            yield Case(group, "three frozen", px, batch, **how, against="three", given=given)


def _loading(device: str, quick: bool) -> Iterator[Case]:
    """Batches of chips, and the training step that waits for them."""
    chips, workers = (8 if quick else 64), ((0, 2, 8) if device == "cuda" else (0, 2))
    px = 64 if quick else 96
    names, how = [f"{count} workers" for count in workers], (px, 4, device, _mixed(device))
    for name, count in zip(names, workers, strict=True):
        yield Case("loading", name, *how, given={"chips": chips, "workers": count})
    given = {"backbone": "nano", "fusion": "data"}
    yield Case("loading", "training step", *how, against=names[-1], given=given)
