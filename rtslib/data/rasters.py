"""Stacks: co-registered GeoTIFFs read as named bands in physical units on one grid.

A *stack* is what a chip of layout (c) and a scene have in common: one or more files with the same CRS, transform and
size, whose TIFF tags say what each band is (description), how its numbers become physical values (scale, offset) and
which of them mean nothing (nodata). NDVI, NDWI and shaded relief are derived where the files lack them. A *window* is a
part of the grid; reading one gives exactly the numbers that reading the whole and cutting would give, since derived
bands read a margin around it.

Headers are checked when a stack is opened, values when they are read. GDAL datasets are opened for each read, so that a
stack can be pickled and used by several processes.

Source for scale, offset and nodata: GDAL raster data model.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rtslib.bands import BANDS
from rtslib.data import derive
from rtslib.data.grids import Grid, check_same_grid, open_raster, pixel_size, read_grid
from rtslib.errors import ConfigError, DataError, one_line

# GDAL's own cache, a twentieth of the memory, would fill as a region is read; it asks for this when first used.
os.environ.setdefault("GDAL_CACHEMAX", "64")  # MiB


@dataclass(frozen=True)
class Layer:
    """One band of one file: where it is (`index` counts from 1) and how its numbers become physical."""

    name: str
    path: Path | str
    index: int
    scale: float
    offset: float


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
        return derive.NEEDS | dict(self.ways)

    def _reach(self, band: str) -> tuple[int, int]:
        """Rows and columns beyond a window that a band reads, with those of what it is computed from."""
        if band not in self.derived:
            return 0, 0
        rows, columns = self._margin(band)
        inputs = [self._reach(b) for b in self._needs[band]]
        return rows + max(r for r, _ in inputs), columns + max(c for _, c in inputs)

    def _margin(self, band: str) -> tuple[int, int]:
        """Rows and columns of its inputs that a derived band reads beyond its own."""
        return (derive.MARGIN[band],) * 2

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
        terrain = (pixel_size(self.grid),) if band in ("relative_elevation", "shaded_relief") else ()
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
                    values = file.read([layer.index for layer in here], window=ranges)
                    valid = file.read_masks([layer.index for layer in here], window=ranges) > 0
            except RasterioError as e:
                raise DataError(path, f"unreadable pixels: {one_line(e)}", "a whole GeoTIFF") from e
            out |= {layer.name: physical(layer, v, ok) for layer, v, ok in zip(here, values, valid)}
        return out


def open_stack(paths: Sequence[str | Path]) -> Stack:
    """Open co-registered GeoTIFFs as one stack; reads headers only.

    Args:
        paths: the files; each band's TIFF description is its name in `rtslib.bands.BANDS`.

    Raises:
        DataError: no file; one that is missing or no raster; no CRS; a grid that is rotated, not north up, or not that
            of the first file; a band without description, unknown or repeated; a complex dtype; a broken scale; a
            geographic CRS where shaded relief has to be derived.
    """
    if not paths:
        raise DataError("raster stack", "no file", "at least one GeoTIFF")
    layers: list[Layer] = []
    grid = None
    for path in map(Path, paths):
        with open_raster(path) as file:
            this = read_grid(file)
            layers += _layers(file, path)
        grid = grid or this
        check_same_grid(path, this, layers[0].path, grid)
    check_once(layers)
    names = {layer.name for layer in layers}
    derived = tuple(b for b, needs in derive.NEEDS.items() if b not in names and names.issuperset(needs))
    if "shaded_relief" in derived and not grid.crs.is_projected:
        fix = "shaded relief needs pixels in metres: reproject, or supply a shaded_relief band"
        raise DataError(layers[0].path, f"a geographic CRS ({grid.crs})", "a projected one", fix)
    return Stack(tuple(layers), derived, grid)


def _layers(file: rasterio.DatasetReader, path: Path) -> list[Layer]:
    """Return the described bands of an open file. Raises DataError as `open_stack` does."""
    layers = []
    for k, name in enumerate(file.descriptions):
        where, dtype = f"{path}, band {k + 1}", file.dtypes[k]
        if not name:
            raise DataError(where, "no band description", f"one of {', '.join(BANDS)}")
        if name not in BANDS:
            raise DataError(where, f"band {name!r}", f"one of {', '.join(BANDS)}")
        check_numbers(where, dtype, file.scales[k], file.offsets[k])
        layers.append(Layer(name, path, k + 1, file.scales[k], file.offsets[k]))
    return layers


def check_once(layers: Sequence[Layer], fix: str = "") -> None:
    """Raise DataError, with `fix` as what to do, if two layers are the same band."""
    first: dict[str, Layer] = {}
    for layer in layers:
        twin = first.setdefault(layer.name, layer)
        if twin is not layer:
            found = f"a second band {layer.name!r} (the first: {twin.path}, band {twin.index})"
            raise DataError(f"{layer.path}, band {layer.index}", found, "each band once", fix)


def check_numbers(where: str, dtype: str, scale: float, offset: float) -> None:
    """Raise DataError unless the numbers of a band are real and become physical by a usable scale and offset."""
    if dtype.startswith("complex"):
        raise DataError(where, f"dtype {dtype}", "a real number type")
    if not np.isfinite([scale, offset]).all() or scale == 0:
        raise DataError(where, f"scale {scale} and offset {offset}", "finite ones, scale not 0")


def physical(layer: Layer, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Scale the numbers of one layer, nodata to NaN, and check them against the band's contract.

    Args:
        layer: the band they are of.
        values: (h, w) as the file has them, any real dtype.
        valid: bool (h, w), False = nodata.

    Returns:
        float32 (h, w) in the unit of `BANDS[layer.name]`, NaN = nodata.

    Raises:
        DataError: a value outside the band's range, or NaN where the band may have none.
    """
    band, where = BANDS[layer.name], f"{layer.path}, band {layer.index}"
    out = values * np.float64(layer.scale) + layer.offset
    empty = np.isnan(out)
    if not band.may_be_nan and (empty & valid).any():
        found = f"NaN at {int((empty & valid).sum())} px of {band.name}"
        raise DataError(where, found, "numbers", "tag NaN as nodata if these are voids")
    out[~valid] = np.nan
    wrong = (out < band.low) | (out > band.high)
    if wrong.any():
        expected = f"{band.low:g} to {band.high:g}" + (f" ({band.unit})" if band.unit != "1" else "")
        found = f"{band.name} {out[wrong][0]:g}"
        raise DataError(where, found, expected, "see scale, offset and nodata tags")
    return out.astype(np.float32)
