"""Stacks: co-registered GeoTIFFs read as named bands in physical units on one grid.

A *stack* is what a chip of layout (c) and a scene have in common: one or more files with the same CRS, transform and
size, whose TIFF tags say what each band is (description), how its numbers become physical values (scale, offset, unit)
and which of them mean nothing (nodata), by the rules of `rtslib.data.layers`. NDVI, NDWI, relative elevation and shaded
relief are derived where the files lack them. A *window* is a part of the grid; reading one gives exactly the numbers
that reading the whole and cutting would give, since derived bands read a margin around it.

Headers are checked when a stack is opened, values when they are read. GDAL datasets are opened for each read, so that a
stack can be pickled and used by several processes.

Source for scale, offset and nodata: GDAL raster data model.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rtslib.data import derive
from rtslib.data.grids import Grid, check_same_grid, open_raster, pixel_size, read_grid
from rtslib.data.layers import Layer, check_once, file_layers, physical, read_raw, with_numbers
from rtslib.errors import ConfigError, DataError, one_line

# GDAL's own cache, a twentieth of the memory, would fill as a region is read; it asks for this when first used.
os.environ.setdefault("GDAL_CACHEMAX", "64")  # MiB


@dataclass(frozen=True)
class Stack:
    """Co-registered rasters as named bands; made by `open_stack`.

    Attributes:
        layers: the bands in the files, in file order.
        derived: names of the bands computed from them.
        grid: the one grid of all files.
        ways: how bands are to be derived, where `deriving` has told: (band, those it is computed from).
    """

    layers: tuple[Layer, ...]
    derived: tuple[str, ...]
    grid: Grid
    ways: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), kw_only=True)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of all bands, those in the files first, then the derived ones."""
        return tuple(layer.name for layer in self.layers if layer.name not in self.derived) + self.derived

    @property
    def derivations(self) -> dict[str, tuple[str, ...]]:
        """Derived band -> those it is computed from."""
        return {b: self._needs[b] for b in self.derived}

    def deriving(self, ways: Mapping[str, Sequence[str]]) -> Self:
        """Return the same rasters with bands computed in the ways of another set, even bands that the files hold.

        A band that is not there at all stays away.

        Args:
            ways: derived band -> those it is computed from, as `derivations` gives them.

        Raises:
            DataError: a band is there, but cannot be computed so.
        """
        wanted = {b: tuple(inputs) for b, inputs in ways.items() if b in self.bands}
        for band, inputs in wanted.items():
            if not set(inputs) <= set(self.bands):
                how = f"{band} computed from {', '.join(self.derivations.get(band, ('what its maker took',)))}"
                fix = f"supply {', '.join(sorted(set(inputs) - set(self.bands)))}, which the model's chips had"
                raise DataError(self.files[0], how, f"from {', '.join(inputs)}, as the model was trained on", fix)
        derived = (*self.derived, *(b for b in wanted if b not in self.derived))
        return replace(self, derived=derived, ways=tuple({**dict(self.ways), **wanted}.items()))

    def with_numbers(
        self, scale: Mapping[str, float] = {}, offset: Mapping[str, float] = {}, nodata: Mapping[str, float] = {}
    ) -> Self:
        """Return the same rasters with other scale, offset and nodata, as `rtslib.data.layers.with_numbers` takes them.

        Raises:
            ConfigError: no such band or file, or a number that cannot be used.
        """
        return replace(self, layers=with_numbers(self.layers, scale, offset, nodata))

    crs = property(lambda self: self.grid.crs, doc="Coordinate reference system of the grid.")
    transform = property(lambda self: self.grid.transform, doc="Pixel (column, row) to map coordinates; north up.")
    height = property(lambda self: self.grid.height, doc="Rows, px.")
    width = property(lambda self: self.grid.width, doc="Columns, px.")

    @property
    def files(self) -> tuple[Path | str, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys(layer.path for layer in self.layers))

    def read(self, bands: Sequence[str] | None = None, window: Window | None = None) -> np.ndarray:
        """Read bands in physical units.

        Args:
            bands: band names in the wanted order; None reads all of `self.bands`.
            window: part of the grid in whole px, inside it; None reads all.

        Returns:
            float32 (B, h, w), NaN = nodata.

        Raises:
            ConfigError: a band that the stack does not have.
            DataError: a file cannot be read, holds a value outside its band's range, or NaN where the band may have
                none.
            ValueError: the window is empty or leaves the grid.
        """
        bands = self.bands if bands is None else tuple(bands)
        missing = [b for b in bands if b not in self.bands]
        if missing:
            raise ConfigError(f"no band {missing[0]!r} in {self.files[0]}: there are {list(self.bands)}")
        inner = self._rows_and_columns(window)
        margins = np.max([(0, 0), *map(self._reach, bands)], axis=0).tolist()
        sides = (self.height, self.width)
        outer: Any = tuple((max(a - m, 0), min(b + m, n)) for (a, b), m, n in zip(inner, margins, sides))
        needed = self.layers_of(bands)
        raw = self._read_layers([layer for layer in self.layers if layer.name in needed], outer)
        cut = tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(inner, outer))
        out = np.empty((len(bands), *(b - a for a, b in inner)), dtype=np.float32)
        for k, band in enumerate(bands):
            out[k] = self._made(band, raw)[cut]
        return out

    def layers_of(self, bands: Sequence[str]) -> set[str]:
        """Return the names of the layers that `bands`, all of them its own, are read from."""
        return {n for b in bands for n in (self.layers_of(self._needs[b]) if b in self.derived else (b,))}

    @property
    def _needs(self) -> dict[str, tuple[str, ...]]:
        """Derived band -> bands that it is computed from, which may be derived themselves."""
        return derive.needs(layer.name for layer in self.layers) | dict(self.ways)

    def _reach(self, band: str) -> tuple[int, int]:
        """Rows and columns beyond a window that a band reads, with those of what it is computed from."""
        if band not in self.derived:
            return 0, 0
        rows, columns = self._margin(band)
        inputs = [self._reach(b) for b in self._needs[band]]
        return rows + max(r for r, _ in inputs), columns + max(c for _, c in inputs)

    def _margin(self, band: str) -> tuple[int, int]:
        """Rows and columns of its inputs that a derived band reads beyond its own."""
        if band != "relative_elevation":
            return (derive.MARGIN[band],) * 2
        width, height = pixel_size(self.grid)
        return math.ceil(derive.DISC_RADIUS_M / height), math.ceil(derive.DISC_RADIUS_M / width)

    def _rows_and_columns(self, window: Window | None) -> tuple[tuple[int, int], tuple[int, int]]:
        if window is None:
            return (0, self.height), (0, self.width)
        (r0, r1), (c0, c1) = window.toranges()
        if not (0 <= r0 < r1 <= self.height and 0 <= c0 < c1 <= self.width):
            raise ValueError(f"window {window} is not inside the {self.height} x {self.width} px grid")
        return (int(r0), int(r1)), (int(c0), int(c1))

    def _made(self, band: str, raw: dict[str, np.ndarray]) -> np.ndarray:
        if band not in self.derived:
            return raw[band]
        inputs = [self._made(b, raw) for b in self._needs[band]]
        terrain = (pixel_size(self.grid),) if band in derive.TERRAIN else ()
        return getattr(derive, band)(*inputs, *terrain)

    def _read_layers(
        self, layers: Sequence[Layer], ranges: tuple[tuple[int, int], tuple[int, int]]
    ) -> dict[str, np.ndarray]:
        """Read the layers file by file; checked physical values, NaN = nodata, float32 (h, w) each."""
        out: dict[str, np.ndarray] = {}
        for path in dict.fromkeys(layer.path for layer in layers):
            here = [layer for layer in layers if layer.path == path]
            try:
                with rasterio.open(path) as file:
                    raw = [read_raw(file, layer, ranges) for layer in here]
            except RasterioError as e:
                raise DataError(path, f"unreadable pixels: {one_line(e)}", "a whole GeoTIFF") from e
            out |= {layer.name: physical(layer, values, valid) for layer, (values, valid) in zip(here, raw)}
        return out


def open_stack(paths: Sequence[str | Path]) -> Stack:
    """Open co-registered GeoTIFFs as one stack; reads headers only.

    Args:
        paths: the files; each band's TIFF description is its name in `rtslib.bands.BANDS`.

    Raises:
        DataError: no file; one that is missing or no raster; no CRS; a grid that is rotated, not north up, or not that
            of the first file; a band without description, unknown or repeated; a complex dtype; a broken scale; terrain
            to be derived without pixels in metres, or on such of more than 50 m.
    """
    if not paths:
        raise DataError("raster stack", "no file", "at least one GeoTIFF")
    layers: list[Layer] = []
    grid = None
    for path in map(Path, paths):
        with open_raster(path) as file:
            this = read_grid(file)
            layers += file_layers(file, path)
        grid = grid or this
        check_same_grid(path, this, layers[0].path, grid)
    check_once(layers)
    return Stack(tuple(layers), derivable(layers, grid, "reproject, or supply these bands"), grid)


def derivable(layers: Sequence[Layer], grid: Grid, fix: str) -> tuple[str, ...]:
    """Return the derived bands that layers on a grid lack and can give.

    Raises:
        DataError: they are of terrain, and the grid's pixels have no size in metres (then `fix` says what to do), or
            too large a one.
    """
    names = {layer.name for layer in layers}
    derived = tuple(b for b, needs in derive.needs(names).items() if b not in names and names.issuperset(needs))
    terrain = [b for b in derived if b in derive.TERRAIN]
    if terrain:
        where = f"{' and '.join(terrain)} from {next(la.path for la in layers if 'elevation' in la.name)}"
        if not grid.crs.is_projected:
            raise DataError(where, f"a geographic CRS ({grid.crs})", "a projected one", fix)
        if "relative_elevation" in terrain and max(pixel_size(grid)) > derive.DISC_RADIUS_M:
            found = f"pixels of {max(pixel_size(grid)):g} m"
            raise DataError(where, found, f"at most {derive.DISC_RADIUS_M:g} m, as the mean is over a disc of 100 m")
    return derived
