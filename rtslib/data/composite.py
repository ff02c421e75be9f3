"""Composites: one image of many dates, block by block, from what shows through clouds.

The items of one day are put side by side: where tiles overlap, the first one that shows anything gives the pixel. A
pixel of a day counts if the scene classification calls it ground, water or snow. The *composite* is the median of the
days that count, band by band; of one day alone it is that day with its clouds left out. What no day shows is nodata.

Reflectance is kept as int16, 1e-4 each, with the baseline's offset taken off, so that days before and after
processing baseline 04.00 compare.

Sources: `odc-stac` for reading items on one grid; scene classification, ESA, Sentinel-2 Level-2A Algorithm (SCL).
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.errors import RasterioError

from rtslib.data.catalogs import SCALE
from rtslib.data.stac import View
from rtslib.errors import DataError, one_line

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

#: Classes of the scene classification that count: dark ground, vegetation, bare, water, unclassified, snow. Those that
#: do not: nothing, defective, cloud shadow, cloud of medium and high probability, thin cirrus.
CLEAR = (2, 4, 5, 6, 7, 11)
#: Marks nothing: in composites, and in elevations.
NODATA, NO_ELEVATION = -32768, -9999.0
#: Rasters that are read at a time: reading waits for the network.
READERS = 8
#: How GDAL asks again where a server is busy.
GDAL: dict[str, Any] = {
    "GDAL_HTTP_MAX_RETRY": 5, "GDAL_HTTP_RETRY_DELAY": 0.5, "GDAL_HTTP_TIMEOUT": 60, "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "CPL_VSIL_CURL_CACHE_SIZE": 128 * 2**20,
}  # fmt: skip

Ways = Mapping[str, Callable[[str], str]]


def composite(views: Sequence[View], bands: Sequence[str], box: "GeoBox", ways: Ways) -> np.ndarray:
    """Return the median of the clear days of a block.

    Args:
        views: items with their days, each with `bands` and scl.
        bands: names, in the order wanted.
        box: grid of the block, H x W px.
        ways: collection -> from its links to what GDAL opens.

    Returns:
        int16 (B, H, W), reflectance x 1e4; NODATA where no day is clear.

    Raises:
        DataError: an asset cannot be read.
    """
    scl = _days(views, "scl", box, ways, "uint8", "nearest")
    clear = {day: np.isin(values, CLEAR) for day, values in scl.items()}
    out = np.empty((len(bands), *box.shape), dtype=np.int16)
    for k, band in enumerate(bands):
        days = _days(views, band, box, ways, "uint16", "bilinear")
        out[k] = median(np.stack([np.where(clear[day], values, NODATA) for day, values in days.items()]))
    return out


def median(values: np.ndarray) -> np.ndarray:
    """Return the median along axis 0, halves rounded to even.

    Args:
        values: int16 (T, H, W), NODATA does not count.

    Returns:
        int16 (H, W), NODATA where nothing counts.
    """
    ordered = np.sort(values, axis=0)  # NODATA, the least of all, comes first
    count = (values != NODATA).sum(axis=0)
    first = len(values) - count
    lower, upper = (
        np.take_along_axis(ordered, np.minimum(first + k, len(values) - 1)[None], axis=0)[0].astype(np.float32)
        for k in ((count - 1) // 2, count // 2)
    )
    return np.where(count > 0, np.rint((lower + upper) / 2), NODATA).astype(np.int16)


def elevation(views: Sequence[View], box: "GeoBox", ways: Ways) -> np.ndarray:
    """Return elevations of a block, float32 (1, H, W) metres, NO_ELEVATION where there is none. Raises DataError."""
    (values,) = _days(views, "elevation", box, ways, "float32", "bilinear").values()
    return values[None]


def _days(
    views: Sequence[View], band: str, box: "GeoBox", ways: Ways, dtype: str, resampling: str
) -> dict[Any, np.ndarray]:
    """Read one band: day -> (H, W); of uint16 int16 reflectance, else as it is. Raises DataError."""
    kinds: dict[tuple, list[View]] = {}
    for view in views:
        kinds.setdefault((view.item.collection_id, *view.bands[band]), []).append(view)
    out: dict[Any, np.ndarray] = {}
    for (collection, asset, scale, offset), those in kinds.items():
        days = sorted({v.day for v in those} - {None}) or [None]
        for day, raw in zip(days, _load(those, asset, box, ways[collection], dtype, resampling), strict=True):
            values = _reflectance(raw, scale, offset) if dtype == "uint16" else raw
            empty = NODATA if dtype == "uint16" else NO_ELEVATION if dtype == "float32" else 0
            out[day] = np.where(out[day] == empty, values, out[day]) if day in out else values
    return out


def _reflectance(raw: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Turn digital numbers, 0 = nothing, into int16 reflectance x 1e4."""
    values = np.clip(np.rint((raw * np.float32(scale) + np.float32(offset)) / SCALE), NODATA + 1, 32767)
    return np.where(raw == 0, NODATA, values).astype(np.int16)


def _load(
    views: Sequence[View], asset: str, box: "GeoBox", way: Callable[[str], str], dtype: str, resampling: str
) -> np.ndarray:
    """Read an asset of items of one collection, (days, H, W) in the order of days, each day's first ids on top."""
    import odc.stac

    odc.stac.configure_rio(**GDAL)
    days = {v.item.id: v.day or 0 for v in views}
    with _failures() as failed:
        try:
            found = odc.stac.load(
                [v.item for v in views], bands=[asset], geobox=box, groupby=lambda item, *_: days[item.id],
                preserve_original_order=True, dtype=dtype, nodata=NO_ELEVATION if dtype == "float32" else 0,
                resampling=resampling, patch_url=way, pool=READERS,
            )  # fmt: skip
        except (RasterioError, ValueError) as e:
            uri = next(iter(failed.uris), views[0].item.assets[asset].href).partition("?")[0]
            name = next((v.item.id for v in views if _tail(v.item.assets[asset].href) == _tail(uri)), "")
            fix = "try again, what is there is kept" + (f"; or leave it out: --skip {name}" if name else "")
            said = re.sub(r"\?\S+", "", one_line(e).replace(uri, _tail(uri)))[:200]  # no read tokens
            found = f"asset {asset} unreadable: {said}"
            raise DataError(f"item {name or uri}", found, "a whole raster", fix) from e
    return found[asset].values


def _tail(href: str) -> str:
    return "/".join(href.partition("?")[0].split("/")[-2:])


class _failures(logging.Handler):
    """Collects which raster could not be read: `odc-loader` logs its address, and raises only what GDAL said."""

    def __enter__(self) -> "_failures":
        self.uris: list[str] = []
        self._logger = logging.getLogger("odc.loader._rio")
        self._logger.addHandler(self)
        return self

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.args:
            self.uris.append(str(record.args[0]))

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
