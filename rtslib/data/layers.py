"""Layers: one band of one raster file, and how its numbers become physical values.

A *layer* is named by its description in the file, or by the user. Its numbers become physical by scale and offset
(number x scale + offset), and by the unit that the file or its vertical CRS states: feet are read as metres. What means
nothing is marked by a nodata value, by a mask, or by an *alpha band*.

A band tagged alpha need not be one: GDAL tags so the fourth band of every byte image that is written without saying
more, near infrared as well. So there is one rule for chips, scenes and sources. It is a band like any other if the file
describes it as one, or if its values are no mask's. Else, if of `SPOTS` x `SPOTS` places spread over it (of a small
raster all) hold 0 and the full value alone, but for soft edges, it is a mask of all other bands, and never data.

Source for scale, offset, unit, nodata, masks and alpha: GDAL raster data model.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj.database import get_units_map
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rtslib.bands import BANDS
from rtslib.data.crs import as_crs
from rtslib.errors import ConfigError, DataError, one_line

#: Place of a band that is not read, in the names of a source.
SKIP = "-"
#: Places along each side at which a large raster is looked at, and the side of each, px.
SPOTS, SPOT = 5, 64
#: Share of an alpha band's values above 0 that are full: the rest are soft edges.
FULL_SHARE = 0.95
#: Units that files state -> factor to a band's own.
UNITS: dict[str, dict[str, float]] = {
    "m": {
        **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
        **dict.fromkeys(("ft", "foot", "feet", "us survey foot", "us-ft", "ftus", "international foot"), 0.3048),
        **{"dm": 0.1, "decimetre": 0.1, "decimeter": 0.1, "cm": 0.01, "centimetre": 0.01, "centimeter": 0.01},
        **{"mm": 1e-3, "millimetre": 1e-3, "millimeter": 1e-3, "km": 1e3, "kilometre": 1e3, "kilometer": 1e3},
    },
    "degree": {
        **dict.fromkeys(("degree", "degrees", "deg", "°"), 1.0),
        **dict.fromkeys(("rad", "radian", "radians"), 180 / math.pi),
    },
}


@dataclass(frozen=True)
class Layer:
    """One band of one file.

    Attributes:
        name: what it is, one of `rtslib.bands.BANDS`.
        path: the file; a str where it may be a URL.
        index: of the band, from 1.
        scale, offset: make its numbers physical.
        alpha: index of the band that masks it, or 0.
        nodata: number that means nothing, beside what the file says; None if none.
    """

    name: str
    path: Path | str
    index: int
    scale: float
    offset: float
    alpha: int = 0
    nodata: float | None = None


def file_layers(
    file: rasterio.DatasetReader, path: Path | str, names: Sequence[str] = (), hint: str = ""
) -> list[Layer]:
    """Return the bands of an open file that are read, in its order.

    Args:
        file: the open raster, `path` what it was opened by.
        names: one a band, `-` for one that is not read; () takes the file's descriptions.
        hint: what to do about names.

    Raises:
        DataError: names more or fewer than bands, a band unnamed or unknown, a mask taken for data, a complex dtype,
            a broken scale, a unit that cannot be brought into the band's own, no band that is read.
    """
    listed, alphas = f"one of {', '.join(BANDS)}", mask_bands(file, path)
    found = tuple(SKIP if k in alphas else n or "" for k, n in zip(file.indexes, file.descriptions))
    if len(names or found) != file.count:
        expected = f"{len(names)} as named ({','.join(names)})"
        raise DataError(path, f"{file.count} bands", expected, "name each, - skips one")
    layers = []
    for k, name in zip(file.indexes, names or found):
        where = f"{path}, band {k}"
        if name == SKIP:
            continue
        if not name:
            alpha = file.colorinterp[k - 1] == ColorInterp.alpha
            found = "no band description" + (" (tagged alpha, but its values are no mask's)" if alpha else "")
            raise DataError(where, found, listed, hint)
        if name not in BANDS:
            raise DataError(where, f"band {name!r}", listed, hint)
        if k in alphas:
            raise DataError(where, f"an alpha band as {name}: its values are those of a mask", "data", "skip it with -")
        if file.colorinterp[k - 1] == ColorInterp.palette and BANDS[name].unit == "count or reflectance":
            found = f"{name} as numbers of a palette's colours"
            raise DataError(where, found, "counts or reflectance", "gdal_translate -expand rgb makes three bands of it")
        scale, offset = _numbers(where, name, file, k)
        layers.append(Layer(name, path, k, scale, offset, alphas[0] if alphas else 0))
    if not layers:
        raise DataError(path, "no band that is read", "at least one", "leave it out")
    return layers


def mask_bands(file: rasterio.DatasetReader, path: Path | str) -> list[int]:
    """Return the indices of the bands tagged alpha that are masks, by the rule above. Raises DataError."""
    tagged = [k for k, c in zip(file.indexes, file.colorinterp) if c == ColorInterp.alpha]
    return [k for k in tagged if file.descriptions[k - 1] not in BANDS and _like_a_mask(file, path, k)]


def _like_a_mask(file: rasterio.DatasetReader, path: Path | str, index: int) -> bool:
    """Whether a band holds 0 and the full value alone, but for soft edges."""
    dtype = np.dtype(file.dtypes[index - 1])
    whole = {255, np.iinfo(dtype).max} if dtype.kind in "iu" else {1, 255}
    try:
        values = np.concatenate([file.read(index, window=w).ravel() for w in spots(file.height, file.width)])
    except RasterioError as e:
        raise DataError(path, f"unreadable pixels: {one_line(e)}", "a whole raster") from e
    some = values[values != 0]
    return max((np.mean(some == v) for v in whole), default=1) >= FULL_SHARE if some.size else True


def spots(height: int, width: int) -> Iterator[Window]:
    """Yield windows spread evenly over a raster; one of all of a raster of at most 1,024 x 1,024 px."""
    if height * width <= 1024 * 1024:
        yield Window(0, 0, width, height)
        return
    rows, cols = (np.linspace(0, n - min(SPOT, n), SPOTS).astype(int).tolist() for n in (height, width))
    for row in dict.fromkeys(rows):
        for col in dict.fromkeys(cols):
            yield Window(col, row, min(SPOT, width), min(SPOT, height))


def _numbers(where: str, name: str, file: rasterio.DatasetReader, k: int) -> tuple[float, float]:
    """Return scale and offset of a band, in the unit of `BANDS[name]`. Raises DataError."""
    dtype, scale, offset = file.dtypes[k - 1], file.scales[k - 1], file.offsets[k - 1]
    if dtype.startswith("complex"):
        raise DataError(where, f"dtype {dtype}", "a real number type")
    if not np.isfinite([scale, offset]).all() or scale == 0:
        raise DataError(where, f"scale {scale} and offset {offset}", "finite ones, scale not 0")
    unit, own = (file.units[k - 1] or "").strip().lower(), BANDS[name].unit
    if own == "degree" and unit in ("%", "percent"):
        raise DataError(where, f"{name} in percent", "degrees", "gdaldem slope gives them without -p")
    factor = UNITS.get(own, {}).get(unit) or (_length(unit) if own == "m" else 1.0)
    if name == "elevation" and not unit and (crs := as_crs(file.crs)).is_compound:
        factor = crs.sub_crs_list[-1].axis_info[0].unit_conversion_factor
    return scale * factor, offset * factor


def _length(unit: str) -> float:
    """Return a unit of length in metres, by the names that PROJ knows; 1 for none, or for another text."""
    known = get_units_map(category="linear") if unit else {}
    return next((float(u.conv_factor) for name, u in known.items() if unit in (name.lower(), f"{name.lower()}s")), 1.0)


def read_raw(
    file: rasterio.DatasetReader, layer: Layer, window: Any, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read the numbers of a layer as they are, and which of them mean something: two arrays (h, w), the second bool.

    With a `shape`, pixels are picked so that they are of it.
    """
    values = file.read(layer.index, window=window, out_shape=shape)
    if MaskFlags.alpha in file.mask_flag_enums[layer.index - 1]:
        valid = np.ones(values.shape, dtype=bool)  # it counts below, if it is a mask
    else:
        valid = file.read_masks(layer.index, window=window, out_shape=shape) > 0
    if layer.alpha:
        valid &= file.read(layer.alpha, window=window, out_shape=shape) > 0
    if layer.nodata is not None:
        valid &= ~np.isnan(values) if math.isnan(layer.nodata) else values != layer.nodata
    return values, valid


def check_once(layers: Sequence[Layer], fix: str = "") -> None:
    """Raise DataError, with `fix` as what to do, if two layers are the same band."""
    first: dict[str, Layer] = {}
    for layer in layers:
        twin = first.setdefault(layer.name, layer)
        if twin is not layer:
            found = f"a second band {layer.name!r} (the first: {twin.path}, band {twin.index})"
            raise DataError(f"{layer.path}, band {layer.index}", found, "each band once", fix)


def with_numbers(
    layers: Sequence[Layer], scale: Mapping[str, float], offset: Mapping[str, float], nodata: Mapping[str, float]
) -> tuple[Layer, ...]:
    """Return layers with other numbers than their files state.

    Args:
        layers: of a stack or region.
        scale, offset: band -> what replaces that of the file.
        nodata: path as given -> number that means nothing in all its bands; "" is for every file.

    Raises:
        ConfigError: no such band or file; a scale of 0, or numbers that are not finite.
    """
    names, paths = {layer.name for layer in layers}, {str(layer.path) for layer in layers}
    for what, given in (("scale", scale), ("offset", offset)):
        for band, value in given.items():
            if band not in names:
                raise ConfigError(f"{what} of {band!r}: the rasters hold {', '.join(sorted(names))}")
            if not math.isfinite(value) or (what == "scale" and value == 0):
                raise ConfigError(f"{what} {value} of {band}: give a finite number, scale not 0")
    for path in nodata:
        if path and path not in paths:
            raise ConfigError(f"nodata of {path!r}: the rasters are {', '.join(sorted(paths))}")
    return tuple(
        replace(
            layer, scale=scale.get(layer.name, layer.scale), offset=offset.get(layer.name, layer.offset),
            nodata=nodata.get(str(layer.path), nodata.get("", layer.nodata)),
        )
        for layer in layers
    )  # fmt: skip


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
        raise DataError(
            where, found, expected, "see its scale, offset and nodata tags, or say --scale, --offset, --nodata"
        )
    return out.astype(np.float32)
