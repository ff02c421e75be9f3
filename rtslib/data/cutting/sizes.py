"""Sizes: how large chips are where none is asked for.

A large chip shows more of what lies around a slump. But a set is split by site groups, and small ground has few of them
with large chips. So the largest of `SIZES` is taken whose chips with slumps lie in `ENOUGH` groups. Where there is
none, the squares that chips are grouped by shrink; where that does not help either, what gives most groups is taken.
"""

from dataclasses import replace

import numpy as np
import shapely

from rtslib.data.cutting.places import SLUMPS, ground_boxes, lay_places
from rtslib.data.cutting.request import SOURCE, Request
from rtslib.data.cutting.sites import name_groups
from rtslib.errors import ConfigError, DataError

#: Sides of a chip, px.
SIZES = (256, 192, 128, 96, 64)
#: Three sides of a split with more than one place each, and some to learn from.
ENOUGH = 8


def with_size(request: Request) -> Request:
    """Return the request with the size that its ground asks for; grouped by a field or by image, with the largest.

    Nothing of the rasters is read.

    Raises:
        ConfigError: the overlap is as large as any size that fits, or as `Request.check`.
        DataError: the region holds no chip of the least size, or as `Request.check` and `lay_places`.
    """
    region, options = request.region, request.options
    fit = [s for s in SIZES if s <= min(region.height, region.width)]
    if not fit:
        found = f"{region.height} x {region.width} px, less than a chip of {SIZES[-1]} px a side"
        raise DataError(region.files[0], found, "a region that holds a chip", "take a smaller size (--size)")
    sizes = [s for s in fit if s > options.overlap]
    if not sizes:
        raise ConfigError(f"overlap={options.overlap}: chips are at most {fit[0]} px here: take less, or say a size")
    asked = [replace(request, options=replace(options, size=s)) for s in sizes]
    asked[0].check()
    if options.field is not None or options.group_by == SOURCE:
        return asked[0]
    if options.group_by == "":
        least = asked[-1].options
        asked += [replace(request, options=replace(least, chips_a_site=n)) for n in (2, 1)]
    counts: list[int] = []
    for one in asked:
        counts.append(_groups(one))
        if counts[-1] >= ENOUGH:
            break
    return asked[counts.index(max(counts))]


def _groups(request: Request) -> int:
    """Return the number of groups that chips with slumps lie in, as far as outlines tell; 0 for too many windows."""
    try:
        places = [p for p in lay_places(request) if p.kind == SLUMPS]
    except ConfigError:
        return 0
    corners = np.array([(p.row, p.column) for p in places])
    truth = shapely.STRtree(request.truth.geometry.values)
    chips, slumps = truth.query(ground_boxes(request, corners), predicate="intersects")
    order = np.argsort(chips, kind="stable")
    on = np.split(slumps[order], np.searchsorted(chips[order], np.arange(1, len(places))))
    ends = np.column_stack([corners, corners + request.options.size])
    return len(set(name_groups(ends, [[str(p.square)] for p in places], [s.tolist() for s in on])))
