"""Borders: strips and corners of one constant value around an image, which may be no ground at all.

A swath in a north-up raster leaves corners and margins that are filled with a number, mostly 0. Where no nodata tag
says so, they are read as ground: black, flat, far from anything that a model has seen. A border is found where a whole
corner or a whole side of a raster holds the same numbers in all its bands, and the raster holds others as well.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rtslib.data.layers import Layer, read_raw, spots
from rtslib.data.rasters import Stack
from rtslib.errors import DataError, one_line

#: Side of the square that is read in each corner, px, and pieces of that length read along each side.
CORNER, PIECES = 32, 16


def border_notes(stack: Stack) -> list[str]:
    """Return a sentence for each file of a stack or region that has a border of one constant value.

    Raises:
        DataError: a file cannot be read.
    """
    notes = []
    for path in stack.files:
        try:
            with rasterio.open(path) as file:
                said = border_note(file, path, [layer for layer in stack.layers if layer.path == path])
        except RasterioError as e:
            raise DataError(path, f"unreadable pixels: {one_line(e)}", "a whole raster") from e
        notes += [f"{path}: {said}"] if said else []
    return notes


def border_note(file: rasterio.DatasetReader, path: Path | str, layers: Sequence[Layer]) -> str:
    """Say which border of one constant value an open raster has in some of its bands, and what to do; "" if none.

    Raises rasterio's RasterioError where pixels cannot be read.
    """
    found, tag = _border(file, layers), file.nodata
    if found is None:
        return ""
    said = ", ".join(f"{v:g}" for v in dict.fromkeys(found))
    tagged = "no nodata value" if tag is None else f"the nodata value {tag:g}"
    fix = "--nodata " + shlex.quote(f"{path}={found[0]:g}") if len(set(found)) == 1 else "mask it"
    return f"a border of {said}, and {tagged}, so it counts as ground; if it is none, {fix}"


def _border(file: rasterio.DatasetReader, layers: Sequence[Layer]) -> tuple[float, ...] | None:
    """Return the numbers, one a band, of a border, or None."""
    height, width = file.height, file.width
    side = max(min(CORNER, height // 4, width // 4), 1)
    corners = [[Window(c, r, side, side)] for r in (0, height - side) for c in (0, width - side)]
    rows, cols = (np.unique(np.linspace(0, n - side, PIECES).astype(int)).tolist() for n in (height, width))
    across = [[Window(c, r, side, 1) for c in cols] for r in (0, height - 1)]
    down = [[Window(c, r, 1, side) for r in rows] for c in (0, width - 1)]
    for windows in (*corners, *across, *down):
        numbers = _only(file, layers, windows)
        if numbers is not None:
            inside = _only(file, layers, list(spots(height, width)))
            return numbers if inside is None else None
    return None


def _only(file: rasterio.DatasetReader, layers: Sequence[Layer], windows: Sequence[Window]) -> tuple[float, ...] | None:
    """Return the one valid number of each band in all of some windows, or None if there are others."""
    first: tuple[float, ...] | None = None
    for window in windows:
        raw = [read_raw(file, layer, window) for layer in layers]
        if any(not valid.all() or (values != values.flat[0]).any() for values, valid in raw):
            return None
        numbers = tuple(float(values.flat[0]) for values, _ in raw)
        if first is not None and numbers != first:
            return None
        first = numbers
    return first
