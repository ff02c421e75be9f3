"""Origins: the image that lies under a chip, and its date.

A source is one image, unless it is a VRT: then it is made of others, and the one under the chip's middle counts, the
last of them where several are (GDAL lays later ones on top). A date is read from the tags that makers of imagery use.
"""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from rtslib.data.grids import read_grid
from rtslib.data.rasters import Stack
from rtslib.data.warp import Box, box_in
from rtslib.errors import DataError, one_line

#: Names of tags that hold the date of an image, in upper case and without - or _, the surest first.
DATE_TAGS = ("DATE", "ACQUISITIONDATE", "DATEACQUIRED", "ACQUIRED", "DATETIME", "ACQUISITIONDATETIME",
             "PRODUCTSTARTTIME", "SENSINGTIME", "TIFFTAGDATETIME")  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """An image: the `source` it is part of, its file's `name` without ending, its `box` in the region's CRS, its date.

    `date` is YYYY-MM-DD, or "" where none is stated.
    """

    source: str
    name: str
    box: Box
    date: str


def find_origins(region: Stack) -> list[Origin]:
    """Return the images of all sources, in their order. Raises DataError: one cannot be opened or has no place."""
    found = []
    for source in map(str, region.files):
        for path in _parts(source):
            try:
                with rasterio.open(path) as file:
                    box, tags = box_in(read_grid(file), region.crs, path), file.tags()
            except RasterioError as e:
                raise DataError(path, f"no readable raster: {one_line(e)}", f"an image of {source}") from e
            found.append(Origin(source, Path(path).stem, box, date_of(tags)))
    return found


def under(origins: list[Origin], x: float, y: float) -> list[Origin]:
    """Return the image under a point of the region's CRS, of each source that has one there."""
    found: dict[str, Origin] = {}
    for origin in origins:
        left, bottom, right, top = origin.box
        if left <= x <= right and bottom <= y <= top:
            found[origin.source] = origin
    return list(found.values())


def date_of(tags: dict[str, str]) -> str:
    """Return the date (YYYY-MM-DD) that tags of a raster state, or "" where they state none."""
    plain = {re.sub("[-_ ]", "", name).upper(): value for name, value in tags.items()}
    for name in DATE_TAGS:
        if found := re.match(r"\s*(\d{4})[-:/.]?(\d{2})[-:/.]?(\d{2})", plain.get(name, "")):
            try:
                return date(*map(int, found.groups())).isoformat()
            except ValueError:
                continue
    return ""


def _parts(source: str) -> list[str]:
    """Return the rasters that a VRT is made of, or the source itself."""
    with rasterio.open(source) as file:
        parts = file.files[1:] if file.driver == "VRT" else []
    return parts or [source]
