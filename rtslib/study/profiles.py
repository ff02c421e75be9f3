"""Profiles: sizes and knobs under one name (`rtslib.config.PROFILES`), and where what is made with one lies."""

from pathlib import Path
from typing import Any

from rtslib import config, files
from rtslib.errors import ConfigError


def settings(profile: str) -> dict[str, Any]:
    """Return a profile's sizes and knobs. Raises ConfigError for an unknown one."""
    if profile not in config.PROFILES:
        raise ConfigError(f"no profile {profile!r}: choose one of {', '.join(config.PROFILES)}")
    return config.PROFILES[profile]


def place(data: str, profile: str, ending: str = "") -> Path:
    """Return the folder of what is made of a set with a profile, `runs/SET-PROFILE`; git ignores it."""
    return files.ROOT / "runs" / f"{Path(data).name if data else 'synthetic'}-{profile}{ending}"
