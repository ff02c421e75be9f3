"""Search: which items of a catalog show an area, in a season, under few clouds.

One overpass of Sentinel-2 is cut into tiles, each an item; the same tile may be there several times, processed anew.
A *day* is a day of the sun over the area, so that no overpass is cut by midnight in Greenwich. Two overpasses of one
day are one date.

Sources: STAC API, Item Search; `pystac-client`.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import shapely

from rtslib.data.catalogs import Catalog, Product, assets_of, reflectance
from rtslib.errors import ConfigError, DataError, one_line

if TYPE_CHECKING:
    import pystac
    from pystac_client import Client
    from pystac_client.stac_api_io import StacApiIO

#: Seconds to wait for an answer, and how often to ask again where a server is busy, at first after this many seconds.
TIMEOUT, RETRIES, BACKOFF = 60, 5, 0.5


@dataclass(frozen=True)
class Season:
    """Which images are wanted.

    Attributes:
        start, end: first and last day.
        months: of the year, 1 to 12; () takes all.
        max_cloud: percent of clouds of an item, 0 to 100.
    """

    start: date
    end: date
    months: tuple[int, ...] = ()
    max_cloud: float = 30.0

    def __str__(self) -> str:
        months = f", months {','.join(map(str, self.months))}" if self.months else ""
        return f"{self.start} to {self.end}{months}, at most {self.max_cloud:g} % cloud"

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise ConfigError(f"--from {self.start} lies after --to {self.end}: exchange them")
        if not set(self.months) <= set(range(1, 13)) or not 0 <= self.max_cloud <= 100:
            raise ConfigError(
                f"--months {self.months} and --max-cloud {self.max_cloud:g}: take 1 to 12, and 0 to 100 %"
            )


@dataclass(frozen=True)
class View:
    """An item as it is read: `day` of the sun (None of a mosaic), band -> (asset, scale, offset)."""

    item: "pystac.Item"
    day: date | None
    bands: Mapping[str, tuple[str, float, float]]


def connect(place: Catalog) -> "Client":
    """Return a client of a STAC API. Raises DataError: no answer, or none of a STAC API."""
    from pystac_client import Client

    with answers(place.url):
        return Client.open(place.url, stac_io=_asking())


def read_text(url: str) -> str:
    """Return the text behind a URL, asked for as a catalog is. Raises DataError."""
    with answers(url):
        return _asking().read_text(url)


def _asking() -> "StacApiIO":
    """Return what asks, and asks again where a server is busy."""
    from pystac_client.stac_api_io import StacApiIO
    from urllib3.util import Retry

    busy = (429, 500, 502, 503, 504)
    again = Retry(RETRIES, connect=1, backoff_factor=BACKOFF, status_forcelist=busy, allowed_methods=None)
    return StacApiIO(timeout=TIMEOUT, max_retries=again)


@contextmanager
def answers(url: str) -> Iterator[None]:
    """Turn what pystac and pystac-client raise into one DataError on the catalog at `url`."""
    from pystac.errors import STACError
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import DoesNotConformTo

    try:
        yield
    except (
        APIError,
        STACError,
        ClientTypeError,
        DoesNotConformTo,
        NotImplementedError,
        ValueError,
        KeyError,
        TypeError,
    ) as e:
        said = one_line(e) or type(e).__name__
        cause = re.search(r"Caused by (.+)\)$", said)
        found = f"no usable answer: {(cause[1] if cause else said)[:200]}"
        fix = "look at the network and the address, or take another --catalog"
        raise DataError(url, found, "a STAC API that can be searched", fix) from e


def collections_of(client: "Client") -> set[str]:
    """Return the names of a catalog's collections. Raises DataError."""
    with answers(client.self_href):
        return {c.id for c in client.get_collections()}


def find(
    client: "Client", collections: Sequence[str], where: shapely.Geometry, season: Season | None = None
) -> list["pystac.Item"]:
    """Return the items that meet an area, of all pages, in the order of their ids.

    Args:
        client: of `connect`.
        collections: their names.
        where: longitude and latitude, of `rtslib.data.aoi.outline`.
        season: first and last day are asked for here, the rest is `choose`'s; None asks for any time.

    Raises:
        DataError: the catalog does not answer, or not as a STAC API does.
    """
    day = timedelta(days=1)  # the sun's may begin on the one before, and end on the next
    when = None if season is None else f"{season.start - day}/{season.end + day}"
    with answers(client.self_href):
        asked = client.search(collections=list(collections), intersects=shapely.geometry.mapping(where),
                              datetime=when, limit=100)  # fmt: skip
        return sorted((i for i in asked.items() if i.collection_id in collections), key=lambda item: item.id)


def choose(
    items: Sequence["pystac.Item"], product: Product, season: Season, longitude: float, skip: Collection[str] = ()
) -> list[View]:
    """Choose from Sentinel-2 items by season and clouds, each tile of an overpass once.

    Args:
        items: what `find` returned.
        product: which one they are of.
        season: what is wanted.
        longitude: of the area's middle, degrees east, for the day of the sun.
        skip: ids to leave out.

    Returns:
        In the order of days, then ids.

    Raises:
        DataError: an item lacks its time, footprint, clouds, an asset or the offset of its numbers.
    """
    views = []
    for item in items:
        cloud = item.properties.get("eo:cloud_cover")
        if item.id in skip:
            continue
        if item.datetime is None or item.geometry is None or not isinstance(cloud, int | float):
            found = "no datetime, geometry or eo:cloud_cover"
            raise DataError(f"item {item.id}", found, "all three", f"leave it out: --skip {item.id}")
        day = (item.datetime + timedelta(hours=longitude / 15)).date()
        if season.start <= day <= season.end and day.month in (season.months or (day.month,)):
            if cloud <= season.max_cloud:
                bands = {b: (a, *(reflectance(item, a) if b != "scl" else (1.0, 0.0)))
                         for b, a in assets_of(product, item).items()}  # fmt: skip
                views.append(View(item, day, bands))
    return sorted(_newest(views, product.collections), key=lambda v: (v.day, v.item.id))


def _newest(views: Sequence[View], collections: Sequence[str]) -> list[View]:
    """Keep one view of each satellite, tile and day: the preferred collection, then the last baseline, then id."""
    best: dict[tuple, tuple[tuple, View]] = {}
    for view in views:
        item, p = view.item, view.item.properties
        tile = p.get("grid:code") or p.get("s2:mgrs_tile") or item.id
        key = (str(tile).removeprefix("MGRS-"), p.get("platform"), view.day)
        rank = (-collections.index(item.collection_id), str(p.get("s2:processing_baseline", "")), item.id)
        if key not in best or rank > best[key][0]:
            best[key] = rank, view
    return [view for _, view in best.values()]


def clearest(views: Sequence[View], where: shapely.Geometry) -> list[View]:
    """Return the views of the one day that shows most of an area without cloud, by footprints and clouds of items.

    Args:
        views: at least one.
        where: the area, longitude and latitude.
    """

    def clear(day: date) -> float:
        left, seen = where, 0.0
        for view in sorted((v for v in views if v.day == day), key=lambda v: v.item.properties["eo:cloud_cover"]):
            shown = shapely.make_valid(shapely.geometry.shape(view.item.geometry))
            seen += (left & shown).area * (1 - view.item.properties["eo:cloud_cover"] / 100)
            left = left - shown
        return seen

    best = max(sorted({v.day for v in views}), key=clear)
    return [v for v in views if v.day == best]
