"""Missing modalities: what a model is told where a modality has no data, and whether it may run without.

*Availability* is kept per chip, modality and pixel (`valid` of a sample, bool (H, W)). Fusion masks what is not
available; it never reads it as zeros. The `data` stack, which has nothing to mask, gets a plane that says so
(`rtslib.models.fusion.Fusion.tells_missing`).

*Modality dropout* hides modalities from training chips, so that a model learns to do without: each with a
chance of its own, never all of them, half of the time on the whole chip and else on one half of it. After
ModDrop (Neverova et al. 2016, arXiv 1501.00102); halves are added here, as seams and voids have edges.

Without dropout a model may still run without a secondary modality, as if on a chip with a void there. Without
its primary one, whose map it builds on, it may run only if it was trained with dropout. Late fusion (`decision`) and
trees on pixels (`trees`) have no primary one.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rtslib.config import Config
from rtslib.errors import ConfigError, MissingModalityError

#: What of a chip is hidden: all of it, or a half.
PARTS = ("all", "left", "right", "top", "bottom")


def hide(images: dict[str, Tensor], valid: dict[str, Tensor], hidden: Mapping[str, str]) -> None:
    """Hide modalities of a sample, in place: pixels to 0, validity to False.

    Args:
        images: modality -> float (C, H, W).
        valid: modality -> bool (H, W).
        hidden: modality -> one of `PARTS`; modalities that the sample does not have are passed over.

    Raises:
        ConfigError: a part of another name.
    """
    for modality, part in hidden.items():
        if part not in PARTS:
            raise ConfigError(f"hide {part!r} of {modality}: choose one of {', '.join(PARTS)}")
        if modality in images:
            gone = part_of(valid[modality].shape, part)
            images[modality] = torch.where(gone, 0.0, images[modality])
            valid[modality] = valid[modality] & ~gone


def part_of(shape: Sequence[int], part: str) -> Tensor:
    """Return bool (H, W), True on a part of it; a half takes the lesser half of an odd number of rows."""
    (h, w), out = shape, torch.zeros(tuple(shape), dtype=torch.bool)
    rows = {"top": slice(0, h // 2), "bottom": slice(h - h // 2, h)}.get(part, slice(None))
    cols = {"left": slice(0, w // 2), "right": slice(w - w // 2, w)}.get(part, slice(None))
    out[rows, cols] = True
    return out


def draw(modalities: Iterable[str], chance: float, rng: np.random.Generator) -> dict[str, str]:
    """Draw which modalities to hide from a training chip, and what of them; never all modalities."""
    names = list(modalities)
    gone = [m for m in names if rng.random() < chance]
    if len(gone) == len(names):
        gone.remove(names[int(rng.integers(len(names)))])
    return {m: "all" if rng.random() < 0.5 else str(rng.choice(PARTS[1:])) for m in gone}


def check_absent(config: Config, absent: Iterable[str]) -> str:
    """Tell whether a model may run without some of its modalities.

    Args:
        config: of the run.
        absent: names of modalities that the data does not have.

    Returns:
        A sentence on what to expect; "" if nothing is absent.

    Raises:
        ConfigError: a name that is none of the model's modalities.
        MissingModalityError: nothing would be left; or the primary modality is absent and the model was
            trained without modality dropout.
    """
    gone, names = list(absent), list(config.modalities)
    if unknown := [m for m in gone if m not in names]:
        raise ConfigError(f"without {unknown[0]!r}: the model's modalities are {', '.join(names)}")
    if not gone:
        return ""
    if set(gone) == set(names):
        raise MissingModalityError(f"a model of {', '.join(names)} cannot run without all of them: give at least one")
    trained = config.modality_dropout > 0
    if config.primary in gone and not trained and config.fusion not in ("decision", "trees"):
        raise MissingModalityError(
            f"this model cannot run without its primary modality {config.primary!r}: it was trained with"
            " modality_dropout=0 and never saw that; train with --set modality_dropout=0.2, or use a run on "
            + "+".join(m for m in names if m not in gone)
        )
    how = "was trained for that" if trained else "was not trained for that (modality_dropout=0), so expect less"
    return f"runs without {', '.join(gone)}: masked out, not read as zeros; the model {how}"
