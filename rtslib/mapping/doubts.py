"""Doubts: what looks odd in rasters before they are mapped, as it can still be mended.

A model knows numbers of the size that its chips had (`Config.modality_mean`, `.modality_std`). Digital numbers instead
of reflectance, an offset, feet or percent give it others, and it maps them without complaint. So some windows are read
first, and each band's 5th, 50th and 95th percentile are compared with its mean and standard deviation (sd) in training:

- the middle lies more than `FAR` sd off, or nearly all numbers lie on one side of all that is within 2 sd; or
- they spread (as a normal distribution's percentiles would) over `WIDE` times its sd, or less than 1 / `NARROW` of it.

The pair of scale and offset of `PAIRS` under which a band fits best, if it does, is suggested. Season and place move
numbers too, so a doubt stops nothing.
"""

import math
from collections.abc import Iterator

import numpy as np
from rasterio.windows import Window

from rtslib.config import Config
from rtslib.data.borders import border_notes
from rtslib.mapping.plan import Plan

#: Windows read at most, how many of them with data are enough, and the part of each that is read, px.
MOST, ENOUGH, PART = 64, 12, 256
FAR, WIDE, NARROW = 4.0, 8.0, 20.0
#: Scale and offset that numbers may lack: powers of ten, bytes, and what Sentinel-2 (since 2022) and Landsat add.
PAIRS = (
    *((10.0**k, 0.0) for k in (-4, 4, -3, 3, -2, 2, -1, 1)), (1 / 255, 0.0), (255.0, 0.0),
    (1.0, -1000.0), (1.0, 1000.0), (1e-4, -0.1), (1e4, 1000.0), (2.75e-5, -0.2),
)  # fmt: skip
#: A pair fits if sd off and the logarithm of the ratio of spreads add up to less.
FITS = 2.5
#: Standard deviations between the 5th and the 95th percentile of a normal distribution.
_SDS = 3.29


def doubts(todo: Plan, config: Config) -> list[str]:
    """Return what looks odd in the rasters of a plan: a sentence each, none if all is well.

    Args:
        todo: the plan of the map.
        config: of the model, with the statistics of its bands.

    Raises:
        DataError: the rasters cannot be read, or hold what no band may.
    """
    return border_notes(todo.region) + [said for band in _sampled(todo, config) if (said := _doubt(*band, todo))]


def _sampled(todo: Plan, config: Config) -> Iterator[tuple[str, float, float, np.ndarray]]:
    """Yield (band, mean and sd in training, its valid numbers in some windows), each band once."""
    known = {
        band: (mean, sd)
        for m, bands in config.modalities.items() if m not in todo.absent and m in config.modality_mean
        for band, mean, sd in zip(bands, config.modality_mean[m], config.modality_std[m])
    }  # fmt: skip
    if not known:
        return
    every = [window for block in todo.blocks for window in block.windows]
    parts: list[np.ndarray] = []
    for k in np.random.default_rng(0).permutation(len(every))[:MOST].tolist():
        w = every[k]
        part = todo.region.read(tuple(known), Window(w.col_off, w.row_off, min(w.width, PART), min(w.height, PART)))
        if np.isfinite(part).any():
            parts.append(part.reshape(len(known), -1))
        if len(parts) == ENOUGH:
            break
    if not parts:
        return
    for n, (band, (mean, sd)) in enumerate(known.items()):
        yield band, mean, sd, np.concatenate([p[n][np.isfinite(p[n])] for p in parts])


def _doubt(band: str, mean: float, sd: float, values: np.ndarray, todo: Plan) -> str:
    """Say that a band is empty, or far from its training, and what to do; "" if all is well."""
    if not values.size:
        return f"{band} has no data wherever it was looked at, though other bands have: look at its extent and nodata"
    low, middle, high = np.percentile(values, (5, 50, 95)).tolist()
    spread = (high - low) / _SDS
    off = abs(middle - mean) > FAR * sd or low > mean + 2 * sd or high < mean - 2 * sd
    if not off and (spread == 0 or sd / NARROW <= spread <= WIDE * sd):
        return ""
    said = f"{band} is far from what the model was trained on: {low:.3g} to {high:.3g}, there {mean:.3g} (sd {sd:.3g})"
    if band in todo.region.derived and band != "relative_elevation":
        return f"{said}; it is computed from {', '.join(todo.region.derivations[band])}"
    name = "elevation" if band in todo.region.derived else band  # the one scales as the other does
    layer = next(la for la in todo.region.layers if la.name == name)
    where = f"{layer.path}, band {layer.index}"
    fits = [(_misfit(middle * s + o - mean, spread * s, sd), s, o) for s, o in PAIRS if name == band or not o]
    misfit, scale, offset = min(fits)
    if misfit > FITS or not spread:
        return f"{said}; look at its unit, scale and offset ({where})"
    given = f"--scale {name}={layer.scale * scale:.4g}"
    if offset or layer.offset:
        given += f" --offset {name}={layer.offset * scale + offset:.4g}"
    return f"{said}; if it is in another unit, {given} ({where})"


def _misfit(off: float, spread: float, sd: float) -> float:
    return abs(off) / sd + (abs(math.log(spread / sd)) if spread else 0.0)
