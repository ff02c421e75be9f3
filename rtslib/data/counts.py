"""Counts: in what numbers imagery is, which no tag has to say.

Makers give *reflectance* (0 to 1), *8-bit counts*, or *digital numbers*, such as reflectance x 10,000. Any will do to
learn from, as a model's numbers are those of its chips; but NDVI and NDWI take bands in one of them, and what is mapped
later has to be in the same.
"""

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from rtslib.bands import BANDS
from rtslib.data.layers import Layer, read_raw, spots
from rtslib.data.rasters import Stack
from rtslib.errors import DataError, one_line

REFLECTANCE, BYTES, NUMBERS = "reflectance", "8-bit counts", "digital numbers"
#: What bands of a kind are multiplied by to be of another: their full scale.
_FULL = {REFLECTANCE: 1.0, BYTES: 255.0, NUMBERS: 1e4}


def is_counted(band: str) -> bool:
    """Tell whether a band is of imagery, in any of these."""
    return band in BANDS and BANDS[band].unit == "count or reflectance"


def kind(most: float) -> str:
    """Return what numbers of imagery are, 99 % of which are below `most`."""
    return REFLECTANCE if most <= 2 else BYTES if most <= 255 else NUMBERS


def count_notes(stack: Stack) -> list[str]:
    """Return a sentence if bands of a stack or region are of several kinds, or of digital numbers; looks at spots.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[str, list[Layer]] = {}
    for layer in stack.layers:
        if is_counted(layer.name) and layer.name not in stack.derived and (most := _most(layer)) is not None:
            found.setdefault(kind(most), []).append(layer)
    names = {what: ",".join(layer.name for layer in layers) for what, layers in found.items()}
    if len(found) > 1:
        main = max(found, key=lambda what: len(found[what]))
        fix = " ".join(_scales(found[what], _FULL[main] / _FULL[what]) for what in found if what != main)
        said = "; ".join(f"{bands} look like {what}" for what, bands in names.items())
        return [f"{said}: NDVI and NDWI take all in one unit, such as by {fix}"]
    if NUMBERS in found:
        return [
            f"{names[NUMBERS]} look like digital numbers, such as reflectance x 10,000: what is mapped later has to be "
            f"in the same, or both in reflectance, by {_scales(found[NUMBERS], 1 / _FULL[NUMBERS])}"
        ]
    return []


def _scales(layers: list[Layer], factor: float) -> str:
    """Return the options that multiply layers by a factor."""
    return " ".join(f"--scale {layer.name}={layer.scale * factor:.4g}" for layer in layers)


def _most(layer: Layer) -> float | None:
    """Return what 99 % of a layer's physical numbers are below, at some spots; None if there are none."""
    try:
        with rasterio.open(layer.path) as file:
            read = [read_raw(file, layer, window) for window in spots(file.height, file.width)]
    except RasterioError as e:
        raise DataError(layer.path, f"unreadable pixels: {one_line(e)}", "a whole raster") from e
    values = np.concatenate([v[valid & np.isfinite(v)] for v, valid in read])
    return float(np.percentile(values, 99)) * layer.scale + layer.offset if values.size else None
