"""Fetching: imagery of an area from a catalog, as cloud-optimised GeoTIFFs (COGs) on one grid.

Each product becomes one file, made block by block, so that its size does not matter. Blocks are kept beside the file
until it is whole: a fetch that was stopped goes on, and a file that is there and whole is not fetched again.

All is asked and checked before the first pixel is read. The tags of a file say what it is: band names, scale and
nodata as `rtslib.data.rasters` reads them; catalog, collections, dates and ids of items to cite it by.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rtslib.data import stac
from rtslib.data.aoi import outline
from rtslib.data.catalogs import PRODUCTS, SCALE, Product, Way, assets_of, catalog
from rtslib.data.composite import NO_ELEVATION, NODATA, composite, elevation
from rtslib.data.grids import Grid
from rtslib.errors import ConfigError, DataError, OutputError, one_line
from rtslib.files import whole

#: Side of a block, px: what is read and kept as one.
BLOCK = 1024
#: Way from many dates to one image.
COMPOSITES = ("median", "clearest")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wanted:
    """One file to be: its product, items, grid, and how links are opened.

    Attributes:
        product: what it is of.
        views: the items that are read.
        grid: of the file.
        ways: collection -> from its links to what GDAL opens.
        tags: of the file; `request` tells it from others.
    """

    product: Product
    views: tuple[stac.View, ...]
    grid: Grid
    ways: dict[str, Way]
    tags: dict[str, str]

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the file's bands."""
        return tuple(b for b in self.product.assets if b != "scl")


@dataclass(frozen=True)
class Fetched:
    """A file that is there: `empty` is the share of its pixels that show nothing, `fresh` whether it is new."""

    path: Path
    wanted: Wanted
    empty: float
    fresh: bool


def plan(
    grid: Grid, catalog_name: str, products: Collection[str] = (), season: stac.Season | None = None,
    how: str = "median", skip: Collection[str] = (),
) -> list[Wanted]:  # fmt: skip
    """Ask a catalog for items, and check that they can be read; no pixel is.

    Args:
        grid: of all files.
        catalog_name: name in `CATALOGS`, or URL.
        products: names in `PRODUCTS`; () takes all that the catalog has.
        season: of the images; needed for Sentinel-2.
        how: "median" of all days, or "clearest", the one day that shows most.
        skip: ids of items to leave out.

    Returns:
        One entry a file, in the order of `PRODUCTS`.

    Raises:
        ConfigError: an unknown name, or a season that is missing.
        DataError: no answer, a product that the catalog lacks, no item, or one that cannot be used.
    """
    if unknown := sorted(set(products) - set(PRODUCTS)):
        raise ConfigError(f"no product {unknown[0]!r}: take {', '.join(PRODUCTS)}")
    if how not in COMPOSITES:
        raise ConfigError(f"no composite {how!r}: take {' or '.join(COMPOSITES)}")
    place, where = catalog(catalog_name), outline(grid)
    client = stac.connect(place)
    listed = stac.collections_of(client)
    there = {n: found for n, p in PRODUCTS.items() if (found := [c for c in p.collections if c in listed])}
    names = list(products) or list(there)
    if lacking := set(names or PRODUCTS) - set(there):
        expected = f"a collection {' or '.join(c for n in sorted(lacking) for c in PRODUCTS[n].collections)}"
        raise DataError(place.url, f"no {' or '.join(sorted(lacking))}", expected, "take another --catalog")
    return [
        _wanted(PRODUCTS[n], found, client, where, grid, season, how, skip,
                {c: Way(place, c, stac.read_text) for c in found})
        for n, found in there.items() if n in names
    ]  # fmt: skip


def _wanted(
    product: Product, collections: Sequence[str], client: Any, where: Any, grid: Grid, season: stac.Season | None,
    how: str, skip: Collection[str], ways: dict[str, Way],
) -> Wanted:  # fmt: skip
    """Search for one product."""
    if product.optical and season is None:
        raise ConfigError(f"{product.name} needs --from and --to (or take another --product)")
    items = stac.find(client, collections, where, season if product.optical else None)
    if product.optical:
        views = stac.choose(items, product, season, where.representative_point().x, skip)
    else:
        views = [stac.View(i, None, {b: (a, 1.0, 0.0) for b, a in assets_of(product, i).items()})
                 for i in items if i.id not in skip]  # fmt: skip
    if not views:
        named = f" of {season}" if product.optical else ""
        found = f"no {product.name}{named} among {len(items)} items there"
        fix = "another season, more --max-cloud, or another --catalog" if product.optical else "another --catalog"
        raise DataError(client.self_href, found, "at least one", fix)
    if product.optical and how == "clearest":
        views = stac.clearest(views, where)
    return Wanted(product, tuple(views), grid, ways, _tags(product, views, client.self_href, grid, season, how))


def _tags(
    product: Product, views: Sequence[stac.View], url: str, grid: Grid, season: stac.Season | None, how: str
) -> dict[str, str]:
    """Return the tags of a file; `request` is a SHA-256 of all that its pixels depend on."""
    days = sorted({str(v.day) for v in views if v.day})
    tags = {
        **product.about, "product": product.name, "catalog": url,
        "collections": ",".join(sorted({v.item.collection_id for v in views})),
        "items": ",".join(v.item.id for v in views),
    }  # fmt: skip
    if product.optical:
        tags |= {"dates": ",".join(days), "date": days[0] if len(days) == 1 else f"{days[0]},{days[-1]}",
                 "composite": how, "season": str(season)}  # fmt: skip
    used = [(v.item.collection_id, v.item.id, str(v.day), dict(v.bands)) for v in views]
    place = (grid.crs.to_wkt(), list(grid.transform)[:6], grid.height, grid.width, BLOCK)
    return tags | {"request": hashlib.sha256(json.dumps([tags, used, place]).encode()).hexdigest()}


def fetch(wanted: Sequence[Wanted], out: Path, progress: Progress = lambda done, total: None) -> Iterator[Fetched]:
    """Fetch files, or go on with them, one after the other; leave those alone that are there and whole.

    Args:
        wanted: of `plan`.
        out: folder, made if need be; a file has its product's name.
        progress: told the number of a file's blocks done, and of all.

    Raises:
        DataError: an asset cannot be read.
        OutputError: a file is there but of another request (before any is fetched), or cannot be written.
    """
    there = [_there(out / f"{w.product.name}.tif", w) for w in wanted]
    for each, empty in zip(wanted, there, strict=True):
        path = out / f"{each.product.name}.tif"
        yield _fetched(each, path, progress) if empty is None else Fetched(path, each, empty, fresh=False)


def _fetched(wanted: Wanted, path: Path, progress: Progress) -> Fetched:
    """Fetch one file, or go on with it."""
    out = path.parent
    kept = out / f".{wanted.product.name}-{wanted.tags['request'][:12]}"
    for old in out.glob(f".{wanted.product.name}-*"):
        if old != kept:
            shutil.rmtree(old, ignore_errors=True)
    windows = list(_windows(wanted.grid))
    for done, window in enumerate(windows):
        progress(done, len(windows))
        part = kept / f"{window.row_off}-{window.col_off}.npy"
        if not part.exists():
            with whole(part) as file:
                np.save(file, _read(wanted, window))
    empty = _write(path, wanted, kept, windows)
    shutil.rmtree(kept, ignore_errors=True)
    progress(len(windows), len(windows))
    return Fetched(path, wanted, empty, fresh=True)


def _read(wanted: Wanted, window: Window) -> np.ndarray:
    """Read a block, (B, h, w)."""
    from odc.geo.geobox import GeoBox

    grid = wanted.grid
    at = grid.transform @ Affine.translation(window.col_off, window.row_off)
    box = GeoBox((window.height, window.width), at, grid.crs.to_wkt())
    if wanted.product.optical:
        return composite(wanted.views, wanted.bands, box, wanted.ways)
    return elevation(wanted.views, box, wanted.ways)


def _windows(grid: Grid) -> Iterator[Window]:
    for row in range(0, grid.height, BLOCK):
        for col in range(0, grid.width, BLOCK):
            yield Window(col, row, min(BLOCK, grid.width - col), min(BLOCK, grid.height - row))


def _there(path: Path, wanted: Wanted) -> float | None:
    """Return the empty share of a file that is there and whole, None of one that is not.

    Raises:
        OutputError: it is of another request.
    """
    if not path.exists():
        return None
    try:
        with rasterio.open(path) as file:
            if file.tags().get("request") != wanted.tags["request"]:
                raise OutputError(f"{path} holds something else than is asked for now: choose another --out")
            return float(np.mean([(file.read_masks(1, window=w) == 0).mean() for _, w in file.block_windows(1)]))
    except RasterioError:
        return None


def _write(path: Path, wanted: Wanted, kept: Path, windows: Sequence[Window]) -> float:
    """Put the blocks into a COG; return the share of pixels that show nothing."""
    grid, optical, count = wanted.grid, wanted.product.optical, 0
    profile = {
        "driver": "GTiff", "crs": grid.crs, "transform": grid.transform, "height": grid.height, "width": grid.width,
        "count": len(wanted.bands), "dtype": "int16" if optical else "float32", "photometric": "minisblack",
        "nodata": NODATA if optical else NO_ELEVATION, "tiled": True, "compress": "deflate", "bigtiff": "if_safer",
    }  # fmt: skip
    with whole(kept / "all.tif") as plain:
        try:
            with rasterio.open(plain, "w", **profile) as file:
                for window in windows:
                    values = np.load(kept / f"{window.row_off}-{window.col_off}.npy")
                    count += int((values[0] == profile["nodata"]).sum())
                    file.write(values, window=window)
                file.descriptions, file.scales = wanted.bands, [SCALE if optical else 1.0] * len(wanted.bands)
                file.colorinterp = [_color(b) for b in wanted.bands]
                file.update_tags(**wanted.tags)
            with whole(path) as part:
                rasterio.shutil.copy(
                    plain, part, driver="COG", compress="deflate", predictor="yes", bigtiff="if_safer",
                    overview_resampling="average",
                )  # fmt: skip
        except RasterioError as e:
            raise OutputError(f"cannot write {path}: {one_line(e)}") from e
    return count / (grid.height * grid.width)


def _color(band: str) -> ColorInterp:
    return ColorInterp[band] if band in ("red", "green", "blue") else ColorInterp.undefined
