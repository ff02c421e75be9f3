"""Profiles: sizes and knobs under one name (`rtslib.config.PROFILES`), and where what is made with one lies."""

import math
from pathlib import Path
from typing import Any

from rtslib import config, files
from rtslib.config import Config
from rtslib.errors import ConfigError


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


def place(data: str, profile: str, ending: str = "") -> Path:
    """Return the folder of what is made of a set with a profile, `runs/SET-PROFILE`; git ignores it."""
    return files.ROOT / "runs" / f"{Path(data).name if data else 'synthetic'}-{profile}{ending}"
