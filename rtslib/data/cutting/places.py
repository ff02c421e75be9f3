"""Places: which windows of a region become chips.

All windows that meet the truth are taken. Of those without a slump a share is drawn, as much of those *beside* windows
with slumps as of those *away* from them, since a model has to learn both what a slump's surroundings and what other
ground looks like. Nothing of the rasters is read for this.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from rasterio.windows import Window

from rtslib.data.cutting.request import Request
from rtslib.data.windows import starts
from rtslib.errors import ConfigError, DataError

#: Windows of a region; more would be chips by the terabyte.
MOST = 1_000_000
SLUMPS, BESIDE, AWAY = "slumps", "beside", "away"


@dataclass(frozen=True)
class Place:
    """A window that becomes a chip; `row` and `column` of its first pixel, `kind` as the module's text says.

    `square`: row and column of the square site that it was laid in, both 0 where sites are no squares.
    """

    row: int
    column: int
    size: int
    kind: str
    square: tuple[int, int]

    @property
    def name(self) -> str:
        """The chip's name, unique in the region."""
        return f"r{self.row:06d}c{self.column:06d}"

    @property
    def window(self) -> Window:
        """The place as rasterio has it."""
        return Window(self.column, self.row, self.size, self.size)


def lay_places(request: Request) -> list[Place]:
    """Choose the windows that become chips, row by row.

    Raises:
        ConfigError: there are more than `MOST` windows.
        DataError: no window meets the area, or none in it a slump.
    """
    region, size, area = request.region, request.options.size, request.area
    step, site = size - request.options.overlap, request.site
    if (count := (region.height / step) * (region.width / step)) > MOST:
        raise ConfigError(f"{region.height} x {region.width} px make {count:,.0f} chips of {size} px: take larger "
                          "pixels or chips, or rasters of less ground")  # fmt: skip
    rows, columns = (starts_in_sites(n, size, request.options.overlap, site) for n in (region.height, region.width))
    corners = np.array([(r, c) for r in rows for c in columns])
    boxes = ground_boxes(request, corners)
    if area is not None:
        shapely.prepare(area)
        inside = shapely.intersects(area, boxes) & ~shapely.touches(area, boxes)
        corners, boxes = corners[inside], boxes[inside]
    if not len(corners):
        raise DataError("area of interest", "no part of it on the rasters", f"one that meets {_bounds(request)}")
    kinds = _kinds(request, boxes)
    squares = corners // site if site else np.zeros_like(corners)
    return [
        Place(r, c, size, str(kind), (i, j))
        for (r, c), kind, (i, j) in zip(corners.tolist(), kinds, squares.tolist(), strict=True)
        if kind
    ]


def starts_in_sites(length: int, size: int, overlap: int, site: int | None) -> list[int]:
    """Return the first pixels of windows along one side, laid within each site of `site` px (None: one for all).

    A rest that is shorter than a window gets one that ends at the edge, and reaches into the site before.
    """
    found: list[int] = []
    for first in range(0, length, site or length):
        rest = min(site or length, length - first)
        found += [length - size] if rest < size else [first + s for s in starts(rest, size, overlap)]
    return found


def ground_boxes(request: Request, corners: np.ndarray) -> np.ndarray:
    """Return the squares (n,) on the ground, in the region's CRS, of windows with first (row, column) (n, 2)."""
    t, size = request.region.transform, request.options.size
    left, top = t.c + corners[:, 1] * t.a, t.f + corners[:, 0] * t.e
    return shapely.box(left, top + size * t.e, left + size * t.a, top)


def _kinds(request: Request, boxes: np.ndarray) -> np.ndarray:
    """Return the kind of each window (n,), "" for those left out."""
    sought = request.truth.geometry.values
    if request.area is not None:
        sought = sought[shapely.intersects(request.area, sought)]
    positive = np.zeros(len(boxes), dtype=bool)
    positive[shapely.STRtree(sought).query(boxes, predicate="intersects")[0]] = True
    if not positive.any():
        expected = f"slumps in {_bounds(request)}" + ("" if request.area is None else " and in the area of interest")
        raise DataError("truth", f"{len(request.truth)} slumps, none of them on the rasters", expected)
    reach = request.options.size * request.region.transform.a / 2
    beside = np.zeros(len(boxes), dtype=bool)
    beside[shapely.STRtree(boxes[positive]).query(boxes, predicate="dwithin", distance=reach)[0]] = True
    kinds = np.where(positive, SLUMPS, "").astype(object)
    draw = np.random.default_rng(0)
    for kind, chosen in ((BESIDE, beside & ~positive), (AWAY, ~beside & ~positive)):
        every = draw.permutation(np.flatnonzero(chosen))
        kinds[every[: int(np.ceil(request.options.keep_empty * len(every)))]] = kind
    return kinds


def _bounds(request: Request) -> str:
    t, region = request.region.transform, request.region
    ends = (t.c, t.f + region.height * t.e, t.c + region.width * t.a, t.f)
    return f"{', '.join(f'{v:g}' for v in ends)} (left, bottom, right, top) of {region.crs}"
