"""Overlays: pictures of a scene as a browser shows them over a map.

A browser stretches an image linearly between its corners in EPSG:3857, so that is where an *overlay* is warped to (in
EPSG:4326 it would be off by hundreds of metres). It is held in the page as WebP with transparent nodata. Three bands
make a colour picture, one band a grey one or, with a *ramp*, one of false colours whose ends stand in the legend.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine
from matplotlib.colors import LinearSegmentedColormap, to_hex
from rasterio.crs import CRS

from rtslib.data.grids import Grid
from rtslib.data.rasters import Stack
from rtslib.figures import overview
from rtslib.figures.mercator import lon_lat, mercator_of

#: Side of an overlay, px, at most.
LONGEST = 2048


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        name: as people know it.
        bands: red, green, blue; or one.
        ramp: colours from low to high of one band; none: grey.
        unit: of the values in the legend.
        even: the ramp's middle is 0.
    """

    name: str
    bands: tuple[str, ...]
    ramp: tuple[str, ...] = ()
    unit: str = ""
    even: bool = False


KINDS = (
    Kind("True colour", ("red", "green", "blue")),
    Kind("Colour infrared", ("nir", "red", "green")),
    Kind("NDVI", ("ndvi",), ("#8c510a", "#f6e8c3", "#01665e")),
    Kind("Relative elevation", ("relative_elevation",), ("#2166ac", "#f7f7f7", "#b2182b"), "m", even=True),
    Kind("Shaded relief", ("shaded_relief",)),
)
PROBABILITY = Kind("Mask probability", ("slump_probability",), ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"))


@dataclass(frozen=True)
class Overlay:
    """A picture of the scene for a web map.

    Attributes:
        rgba: uint8 (h, w, 4), north up in EPSG:3857; alpha 0 where there is no data.
        transform: pixel to EPSG:3857 coordinates.
        low, high: what the ends of its brightness or ramp stand for.
    """

    rgba: np.ndarray
    transform: Affine
    low: float = 0.0
    high: float = 1.0

    def corners(self) -> list[list[float]]:
        """Return the outer corners as [longitude, latitude], clockwise from the upper left; on beyond 180."""
        h, w = self.rgba.shape[:2]
        places = [self.transform @ p for p in ((0, 0), (w, 0), (w, h), (0, h))]
        return [lon_lat(x, y) for x, y in places]

    def data_uri(self) -> str:
        """Return the picture as a WebP data URI (quality 85, lossless alpha)."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.rgba).save(buffer, "WEBP", quality=85, method=4)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def make_overlay(
    values: np.ndarray, transform: Affine, crs: object, longest: int = LONGEST, kind: Kind | None = None,
    limits: tuple[float, float] | None = None,
) -> Overlay:  # fmt: skip
    """Warp a picture to EPSG:3857, whose coordinates go on beyond 180 degrees for a picture that lies across.

    Args:
        values: float32 (3, h, w) colour or (1, h, w) of one band, NaN = nodata.
        transform, crs: of `values`.
        longest: px of the longer side, at most.
        kind: how it is coloured; None: as it comes, all bands stretched alike.
        limits: values at the ends; None: the 1st and 99th percentile.

    Raises:
        DataError: it reaches nearer to a pole than EPSG:3857 does.
    """
    h, w = values.shape[1:]
    target, moved = mercator_of(Grid(CRS.from_user_input(crs), transform, h, w))
    (left, top), (right, bottom) = transform @ (0, 0), transform @ (w, h)
    source = CRS.from_user_input(crs)
    out, width, height = rasterio.warp.calculate_default_transform(source, target, w, h, left, bottom, right, top)
    k = max(width, height) / longest
    if k > 1:
        out, width, height = out @ Affine.scale(k), int(width / k), int(height / k)
    warped = np.full((len(values), height, width), np.nan, dtype=np.float32)
    rasterio.warp.reproject(
        values, warped, src_transform=transform, src_crs=source, src_nodata=np.nan, dst_transform=out,
        dst_crs=target, dst_nodata=np.nan, resampling=rasterio.warp.Resampling.bilinear,
    )  # fmt: skip
    low, high = overview.limits(values) if limits is None else limits
    if kind is not None and kind.even:
        low, high = -max(-low, high), max(-low, high)
    return Overlay(_coloured(warped, low, high, kind.ramp if kind else ()), moved @ out, low, high)


def _coloured(values: np.ndarray, low: float, high: float, ramp: Sequence[str]) -> np.ndarray:
    """Return values (B, h, w) as uint8 (h, w, 4), alpha 0 where there is none."""
    if not ramp:
        return overview.to_rgba(values, low, high)
    grey = overview.to_rgba(values, low, high)
    colours = LinearSegmentedColormap.from_list("ramp", list(ramp))(np.arange(256) / 255, bytes=True)
    return np.dstack([colours[grey[..., 0]][..., :3] * (grey[..., 3:] > 0), grey[..., 3:]])


def pictures(stack: Stack, probability: Path | None = None) -> list[dict[str, Any]]:
    """Make all pictures that a scene has the bands for; its first band in grey where it has none.

    Args:
        stack: rasters of the scene.
        probability: `probability.tif` of its map, if there is one.

    Returns:
        For each what JSON can hold: `name`, `url` (data URI), `width` (px), `coordinates` (corners, see
        `Overlay.corners`), and for one with a ramp `ramp` (colours), `low`, `high` (texts).

    Raises:
        DataError: pixels that cannot be read.
    """
    kinds = [k for k in KINDS if set(k.bands) <= set(stack.bands)] or [Kind(stack.bands[0], stack.bands[:1])]
    found = []
    for kind in kinds:
        values, transform = overview.read_overview(stack, kind.bands)
        limits = None
        if "nir" in kind.bands:  # may be of another sensor and unit than the colours: each band has its own stretch
            ends = [overview.limits(band) for band in values]
            values = np.stack([(band - low) / (high - low) for band, (low, high) in zip(values, ends)])
            limits = (0.0, 1.0)
        found.append(_entry(kind, make_overlay(values, transform, stack.crs, kind=kind, limits=limits)))
    if probability is not None:
        found.append(_entry(PROBABILITY, _probability(probability)))
    return found


def _probability(path: Path) -> Overlay:
    """Return the mask probability, empty where no window found anything."""
    with rasterio.open(path) as file:
        k = max(file.width, file.height, LONGEST) / LONGEST
        shape = (1, max(int(file.height / k), 1), max(int(file.width / k), 1))
        values = file.read(out_shape=shape, resampling=rasterio.warp.Resampling.average).astype(np.float32) / 255
        transform = file.transform @ Affine.scale(file.width / shape[2], file.height / shape[1])
        crs = file.crs
    return make_overlay(np.where(values > 0, values, np.nan), transform, crs, kind=PROBABILITY, limits=(0.0, 1.0))


def _entry(kind: Kind, overlay: Overlay) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": kind.name, "url": overlay.data_uri(), "width": overlay.rgba.shape[1], "coordinates": overlay.corners()
    }  # fmt: skip
    if kind.ramp:
        colours = LinearSegmentedColormap.from_list("ramp", list(kind.ramp))(np.linspace(0, 1, 9))
        low, high = (f"{v:.2g} {kind.unit}".strip() for v in (overlay.low, overlay.high))
        said |= {"ramp": [to_hex(c) for c in colours], "low": low, "high": high}
    return said
