"""Profiles: sizes and knobs under one name (`rtslib.config.PROFILES`), and where what is made with one lies."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from rtslib import config, files
from rtslib.config import Config
from rtslib.data.chips import ChipSet
from rtslib.data.masks import rle_bbox
from rtslib.errors import ConfigError

#: Least width of the median slump as a model of rasters' chips sees it, px: that of Maxar's slumps (4 m) at twice,
#: which was chosen by measuring (docs/challenge.md). Slumps of Sentinel-2 stay below it at three times.
SIDE = 70.0


def settings(profile: str) -> dict[str, Any]:
    """Return a profile's sizes and knobs. Raises ConfigError for an unknown one."""
    if profile not in config.PROFILES:
        raise ConfigError(f"no profile {profile!r}: choose one of {', '.join(config.PROFILES)}")
    return config.PROFILES[profile]


def in_epochs(knobs: dict[str, Any], chips: int) -> Config:
    """Make a config of knobs that may count in optimiser `steps`, as sets differ in size a hundredfold.

    Args:
        knobs: of a `rtslib.config.Config`, with or without `steps`, which become the nearest number of epochs, 1 or
            more.
        chips: on the training side.

    Raises:
        ConfigError: a knob is unknown or out of range.
    """
    steps = knobs.get("steps")
    config = Config.make({k: v for k, v in knobs.items() if k != "steps"})
    if steps is None:
        return config
    return config.updated(epochs=max(1, round(steps / math.ceil(chips / config.batch_size))))


def for_slumps(knobs: dict[str, Any], chipset: ChipSet) -> dict[str, Any]:
    """Return a layout's knobs with `scale` and `crop` made for the slumps of a set of rasters.

    The layout's own are for slumps of few pixels. Larger ones need less enlarging, and crops that hold them: the median
    slump becomes `SIDE` px wide, a crop as many pixels as before, and a step as long; a map takes less time.

    Args:
        knobs: of a layout (`rtslib.config.PROFILES`); those without `scale` stay as they are.
        chipset: opened chips; only those of layout geotiff may have any pixel size.
    """
    boxes = np.array([rle_bbox(i.rle) for found in chipset.instances.values() for i in found]).reshape(-1, 4)
    if "scale" not in knobs or chipset.layout != "geotiff" or not len(boxes):
        return dict(knobs)
    side = float(np.median(np.sqrt(boxes[:, 2] * boxes[:, 3])))
    scale = round(min(max(SIDE / side, 1.0), knobs["scale"]), 1)
    if not knobs.get("crop"):
        return {**knobs, "scale": scale}
    return {**knobs, "scale": scale, "crop": 16 * round(knobs["crop"] * knobs["scale"] / scale / 16)}


def place(data: str, profile: str, ending: str = "") -> Path:
    """Return the folder of what is made of a set with a profile, `runs/SET-PROFILE`; git ignores it."""
    return files.ROOT / "runs" / f"{Path(data).name if data else 'synthetic'}-{profile}{ending}"
