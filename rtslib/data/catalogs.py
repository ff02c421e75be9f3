"""Catalogs: where imagery of an area is found, what it is called there, and how its numbers become reflectance.

A *STAC API* answers a search with *items*, one tile of one overpass or of one mosaic each, whose *assets* link to
rasters. A *collection* holds items of one kind. A *product* is what rtslib fetches, whatever the catalog calls its
collection and assets. Only the catalog that was chosen is ever contacted.

Sentinel-2 numbers are reflectance x 10000; from processing baseline 04.00 (25 January 2022, and all that was processed
anew since) with 1000 added, so that dark pixels need no negative numbers. Some catalogs have taken that off again.

Sources: collections and assets as the APIs list them; Earth Search, github.com/Element84/earth-search (issues 9, 66 and
71: `earthsearch:boa_offset_applied` decides, but is wrong for some items of sentinel-2-l2a, which sentinel-2-c1-l2a
replaces though it lacks part of 2022 and earlier years); Planetary Computer, data set pages of sentinel-2-l2a
("Baseline Change") and cop-dem-glo-30, and its SAS token API; Polar Geospatial Center's guide to its STAC API. Offset:
ESA, Sentinel-2 Products Specification, BOA_ADD_OFFSET. Copernicus DEM: public bucket copernicus-dem-30m of AWS.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rtslib.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pystac

#: Added to reflectance by processing baselines from 04.00 on.
BASELINE_OFFSET, BASELINE = -0.1, 4.0
#: Reflectance of one digital number.
SCALE = 1e-4


@dataclass(frozen=True)
class Catalog:
    """A STAC API; `token` is the address of read tokens with `{}` for a collection, "" where assets are open."""

    url: str
    token: str = ""


CATALOGS: dict[str, Catalog] = {
    "earth-search": Catalog("https://earth-search.aws.element84.com/v1"),
    "planetary-computer": Catalog(
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        "https://planetarycomputer.microsoft.com/api/sas/v1/token/{}",
    ),
    "pgc": Catalog("https://stac.pgc.umn.edu/api/v1/"),
}


@dataclass(frozen=True)
class Product:
    """What can be fetched.

    Attributes:
        name: of the product, and of its file.
        collections: names that catalogs have for it; of the same overpass in several, the first one is taken.
        assets: band -> names that catalogs have for its raster.
        optical: of reflectance under clouds, with scene classification `scl`; else a mosaic of elevations.
        about: written to the file's tags.
    """

    name: str
    collections: tuple[str, ...]
    assets: Mapping[str, tuple[str, ...]]
    optical: bool = False
    about: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_PRODUCTS = (
    Product("sentinel2", ("sentinel-2-c1-l2a", "sentinel-2-l2a"), {
        "red": ("red", "B04"), "green": ("green", "B03"), "blue": ("blue", "B02"), "nir": ("nir", "B08"),
        "scl": ("scl", "SCL"),
    }, optical=True, about={"credit": "contains modified Copernicus Sentinel data"}),
    Product("arcticdem", ("arcticdem-mosaics-v4.1-2m",), {"elevation": ("dem",)},
            about={"vertical_datum": "WGS84 ellipsoid", "credit": "DEM by the Polar Geospatial Center"}),
    Product("copernicus_dem", ("cop-dem-glo-30",), {"elevation": ("data",)},
            about={"vertical_datum": "EGM2008 geoid", "credit": "Copernicus DEM, DLR e.V. and Airbus"}),
)  # fmt: skip
PRODUCTS: dict[str, Product] = {p.name: p for p in _PRODUCTS}


def catalog(name: str) -> Catalog:
    """Return a catalog by name or URL. Raises ConfigError for neither."""
    if name in CATALOGS:
        return CATALOGS[name]
    if not name.startswith(("http://", "https://")):
        raise ConfigError(f"catalog {name!r} is none of {', '.join(CATALOGS)}, and no URL of a STAC API")
    return Catalog(name)


def assets_of(product: Product, item: "pystac.Item") -> dict[str, str]:
    """Return band -> name of the item's asset. Raises DataError if it lacks one."""
    found = {band: next((n for n in names if n in item.assets), "") for band, names in product.assets.items()}
    for band, name in found.items():
        if not name:
            expected = f"one of {', '.join(product.assets[band])}"
            raise DataError(f"item {item.id}", f"no asset for {band}", expected, f"leave it out: --skip {item.id}")
    return found


def reflectance(item: "pystac.Item", asset: str) -> tuple[float, float]:
    """Return (scale, offset) that make reflectance of the numbers of an asset.

    What tells of the offset, in this order: that the catalog has applied it, what the asset declares, the baseline.

    Raises:
        DataError: nothing tells, or what does is no number.
    """
    extra, where = item.assets[asset].extra_fields, f"item {item.id}"
    declared = next(iter(extra.get("raster:bands") or extra.get("bands") or []), {}) | extra
    scale, offset = (declared.get(k, declared.get(f"raster:{k}")) for k in ("scale", "offset"))
    baseline = item.properties.get("s2:processing_baseline")
    try:
        scale = SCALE if scale is None else float(scale)
        if item.properties.get("earthsearch:boa_offset_applied"):
            return scale, 0.0
        if offset is not None:
            return scale, float(offset)
        if baseline is not None:
            return scale, BASELINE_OFFSET if float(baseline) >= BASELINE else 0.0
    except (TypeError, ValueError):
        found = f"scale {scale!r}, offset {offset!r} and processing baseline {baseline!r}"
        raise DataError(where, found, "numbers", f"leave it out: --skip {item.id}") from None
    fix = f"leave it out: --skip {item.id}"
    raise DataError(where, "neither raster:bands offset nor s2:processing_baseline", "one of them", fix)


class Way:
    """From the links of a collection to what GDAL opens: open buckets by https, read tokens where they are needed."""

    def __init__(self, place: Catalog, collection: str, read: Callable[[str], str]) -> None:
        """Take a catalog, a collection's name, and what reads text from a URL."""
        self._address, self._read = place.token.format(collection), read
        self._token, self._until = "", datetime.fromtimestamp(0, UTC)

    def __call__(self, href: str) -> str:
        """Return what to open for a link. Raises DataError where a token is needed and cannot be had."""
        if not self._address:
            return re.sub(r"^s3://([^/]+)/", r"https://\1.s3.amazonaws.com/", href)
        if datetime.now(UTC) > self._until - timedelta(minutes=5):
            try:
                said: dict[str, Any] = json.loads(self._read(self._address))
                self._token, self._until = said["token"], datetime.fromisoformat(said["msft:expiry"])
            except (ValueError, TypeError, KeyError):
                raise DataError(self._address, "no read token", "JSON with token and msft:expiry") from None
        return f"{href}?{self._token}"
