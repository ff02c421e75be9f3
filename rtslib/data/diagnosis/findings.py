"""Findings: what is said of a file or folder by someone who has looked at it.

A *fact* says what it is. A *use* says which command takes it. An *oddity* is readable, but seldom meant. A *fault* is
why it cannot be read. Each is one line.
"""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Findings:
    """What was found in `path`; each list in the order in which it is said."""

    path: Path
    facts: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the path, and a line a fact, use and oddity, marked `is`, `use`, `odd`; faults are errors."""
        kinds = (("is", self.facts), ("use", self.uses), ("odd", self.odd))
        return [str(self.path), *(f"  {kind:<5}{line}" for kind, lines in kinds for line in lines)]


def place(box: tuple[float, float, float, float]) -> str:
    """Say where a box (west, south, east, north) in degrees has its middle."""
    west, south, east, north = box
    lon, lat = (west + east) / 2, (south + north) / 2
    return f"{abs(lat):.3f} {'N' if lat >= 0 else 'S'}, {abs(lon):.3f} {'E' if lon >= 0 else 'W'}"


def share(part: int, of: int) -> str:
    """Say a share in percent, such that a little is not said to be nothing."""
    percent = 100 * part / of if of else 0.0
    return "under 0.1 %" if 0 < percent < 0.1 else f"{percent:.1f} %"
