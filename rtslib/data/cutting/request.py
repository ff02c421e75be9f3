"""Requests: what is to be cut. The same one, and no other, goes on with a cut that was stopped.

Sites are what the chips of a set are split by. With `group_by` a number, the ground is divided into squares of so many
km, and chips are laid within each, so that those of different squares share no ground even where neighbours overlap;
a field of the truth names the site of each slump; `source` takes the image that a chip is of (of a VRT, the file in
it). Without, squares are four chips wide.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from rtslib.bands import CHALLENGE_BANDS
from rtslib.data.grids import pixel_size
from rtslib.data.inputs import marks
from rtslib.data.rasters import Stack
from rtslib.data.vectors import read_truth
from rtslib.errors import ConfigError, DataError

#: Side of a square site where none is asked for, chips.
CHIPS_A_SITE = 4
SOURCE = "source"
LAYOUTS = ("geotiff", "challenge")


@dataclass(frozen=True)
class Options:
    """Knobs of a cut. Raises ConfigError for a value out of range."""

    size: int = 256  # side of a chip, px
    overlap: int = 0  # least overlap of neighbouring chips, px
    keep_empty: float = 0.2  # share of the windows without slumps that become chips, 0-1
    group_by: str = ""  # km, a field of the truth, "source"; "": squares of `chips_a_site`
    layout: str = "geotiff"  # one of `LAYOUTS`
    chips_a_site: int = CHIPS_A_SITE  # along each side of such a square

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096 or not 0 <= self.overlap < self.size:
            raise ConfigError(
                f"size={self.size}, overlap={self.overlap}: take 16 to 4096 px, and an overlap below that"
            )
        if not 0 <= self.keep_empty <= 1:
            raise ConfigError(f"keep_empty={self.keep_empty}: take a share from 0 to 1")
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout={self.layout!r}: take one of {', '.join(LAYOUTS)}")
        if self.km is not None and not 0 < self.km < 40_000:
            raise ConfigError(f"group_by={self.group_by}: take the side of a square in km, above 0")

    @property
    def km(self) -> float | None:
        """Side of a square site in km, if that is what `group_by` says."""
        try:
            return float(self.group_by)
        except ValueError:
            return None

    @property
    def field(self) -> str | None:
        """Field of the truth that names sites, if that is what `group_by` says."""
        return self.group_by if self.group_by and self.group_by != SOURCE and self.km is None else None


@dataclass(frozen=True)
class Request:
    """What to cut.

    Attributes:
        region: rasters on one grid.
        truth: known slumps, polygons in the region's CRS with an index from 0.
        options: knobs.
        area: where slumps were looked for, in the region's CRS; None for everywhere.
    """

    region: Stack
    truth: gpd.GeoDataFrame
    options: Options
    area: shapely.Geometry | None = None

    def check(self) -> None:
        """Refuse what cannot be cut, before work. Raises ConfigError, DataError."""
        size, region, field = self.options.size, self.region, self.options.field
        if size > min(region.height, region.width):
            found = f"{region.height} x {region.width} px, less than a chip of {size} px a side"
            raise DataError(region.files[0], found, "a region that holds a chip", "take a smaller size")
        if self.options.km is not None and not region.crs.is_projected:
            raise ConfigError(f"group_by={self.options.group_by} km, but the pixels of {region.crs} are no metres: "
                              "give a projected crs with pixel_size, or group by a field or by source")  # fmt: skip
        if field is not None and (field not in self.truth or field == self.truth.geometry.name):
            names = ", ".join(map(str, self.truth.columns.drop(self.truth.geometry.name))) or "none"
            raise ConfigError(f"group_by={field!r} is no field of the truth, which has {names}: take one, km or source")
        if field is not None and (lacking := int(self.truth[field].isna().sum())):
            raise DataError(
                "truth", f"{lacking} slumps without {field}", "a value for each, as chips are grouped by it"
            )
        missing = [b for b in CHALLENGE_BANDS if b not in region.bands]
        if self.options.layout == "challenge" and missing:
            raise ConfigError(f"the challenge's layout holds {', '.join(CHALLENGE_BANDS)}, but there is no "
                              f"{', '.join(missing)}: add a source, or take layout geotiff")  # fmt: skip

    @property
    def site(self) -> int | None:
        """Side of a square site in px, a whole number of chips; None where sites are no squares."""
        size, step = self.options.size, self.options.size - self.options.overlap
        if self.options.group_by == "":
            return size + (self.options.chips_a_site - 1) * step
        if self.options.km is None:
            return None
        side = self.options.km * 1000 / pixel_size(self.region.grid)[0]
        return size + max(round((side - size) / step), 0) * step

    def mark(self) -> dict[str, Any]:
        """Return all that the chips depend on, in JSON's types. Raises DataError: an input file is gone."""
        truth = hashlib.sha256(b"".join(self.truth.geometry.to_wkb()))
        if self.options.field is not None:
            truth.update("\n".join(map(str, self.truth[self.options.field])).encode())
        area = None if self.area is None else hashlib.sha256(self.area.wkb).hexdigest()
        return {**marks(self.region), "truth_sha256": truth.hexdigest(), "area_sha256": area,
                "options": asdict(self.options)}  # fmt: skip


def read_known(path: str, crs: object, layer: str | None = None, where: str | None = None) -> gpd.GeoDataFrame:
    """Read known slumps as `rtslib.data.vectors.read_truth` does; there has to be one.

    Raises:
        DataError: as there, or no polygon (where `where` holds), or none that has a place in `crs`.
    """
    frame = read_truth(path, crs, layer, where)
    if not len(frame):
        raise DataError(path, "no polygon" + (f" where {where}" if where else ""), "the known slumps")
    if not np.isfinite(frame.total_bounds).all():
        raise DataError(path, f"polygons that have no place in {crs}", "polygons of this ground")
    return frame
