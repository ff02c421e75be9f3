"""Invented scenes: one big landscape as co-registered GeoTIFFs, for mapping.

A scene has the bands, units and statistics of the chips of `rtslib.synthetic.chips`, so a model trained on
chips maps it. It is made in one piece: there are no tile seams. It lies on the coastal plain of Banks
Island, in EPSG:3413 (NSIDC Sea Ice Polar Stereographic North), 4 m pixels.
"""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from scipy import ndimage

from rtslib.bands import BANDS, CHALLENGE_BANDS
from rtslib.data import masks
from rtslib.files import new_folder
from rtslib.synthetic.landscape import check_seed, check_size, make_land
from rtslib.synthetic.sites import make_site
from rtslib.synthetic.terrain import PIXEL_M

CRS = "EPSG:3413"
CORNER = (-1_988_000.0, -296_000.0)  # upper left of every scene: 71.6 N, 126.5 W
PX_PER_SLUMP = 28_000
VOID = -32768


def write_scene(out: str | Path, size: int, seed: int) -> Path:
    """Write a scene, whole or not at all: rgb, spectral, terrain and shade as .tif, and truth.gpkg.

    `rgb.tif` uint8 red, green, blue; `spectral.tif` float32 ndvi, ndwi, nir; `terrain.tif` int16
    relative_elevation (scale 0.01, nodata -32768); `shade.tif` uint8 shaded_relief (nodata 0);
    `truth.gpkg` layer `truth`: one polygon, holes kept, for each slump (8-connected, at least 10 px), with
    `area_m2`.

    Args:
        out: folder to make; it must not exist, or be empty.
        size: px a side, 64 to 8192 (12 GiB of memory); seed: of everything.

    Raises:
        ConfigError: size or seed out of range. OutputError: `out` holds something, or cannot be written.
    """
    h, w = check_size(size, 64, 8192)
    rng = np.random.default_rng(np.random.SeedSequence([0x5CE, check_seed(seed)]))
    n = max(round(h * w / PX_PER_SLUMP), 1)
    waters = ("lakes", "river", "coast") if size >= 512 else ("lakes", "river")
    bands, truth, _ = make_land(rng, (h, w), make_site(seed), waters, n, float(n), always=True)
    layer = dict(zip(CHALLENGE_BANDS, bands, strict=True))
    out = Path(out)
    with new_folder(out) as part:
        rgb = {b: layer[b].astype(np.uint8) for b in ("red", "green", "blue")}
        _write(part / "rgb.tif", rgb)
        _write(part / "spectral.tif", {b: layer[b] for b in ("ndvi", "ndwi", "nir")})
        z = np.nan_to_num(np.round(layer["relative_elevation"] * 100), nan=VOID)
        _write(part / "terrain.tif", {"relative_elevation": z.astype(np.int16)}, nodata=VOID, scale=0.01)
        shade = np.nan_to_num(np.clip(np.round(layer["shaded_relief"]), 1, 255), nan=0)
        _write(part / "shade.tif", {"shaded_relief": shade.astype(np.uint8)}, nodata=0)
        _write_truth(part / "truth.gpkg", truth)
    return out


def _transform(row: int = 0, column: int = 0) -> Affine:
    """Return pixel (column, row) to map coordinates of the part that begins at the given pixel."""
    return Affine(PIXEL_M, 0, CORNER[0] + column * PIXEL_M, 0, -PIXEL_M, CORNER[1] - row * PIXEL_M)


def _write(path: Path, layers: dict[str, np.ndarray], nodata: float | None = None, scale: float = 1.0) -> None:
    """Write named bands (h,w) of one dtype as a tiled GeoTIFF with names, units, scale and nodata tags."""
    first = next(iter(layers.values()))
    with rasterio.open(
        path, "w", driver="GTiff", height=first.shape[0], width=first.shape[1], count=len(layers),
        dtype=first.dtype, crs=CRS, transform=_transform(), nodata=nodata, tiled=True, blockxsize=256,
        blockysize=256, compress="deflate", zlevel=1,
    ) as file:  # fmt: skip
        for i, (name, values) in enumerate(layers.items(), 1):
            file.write(values, i)
            file.set_band_description(i, name)
        file.scales = (scale,) * len(layers)
        file.units = tuple(BANDS[name].unit for name in layers)


def _write_truth(path: Path, truth: np.ndarray) -> None:
    """Write the slumps of a bool (h,w) mask as polygons in map coordinates."""
    labels, _ = ndimage.label(truth, structure=np.ones((3, 3), int))
    shapes, areas = [], []
    for k, (rows, cols) in enumerate(ndimage.find_objects(labels), 1):
        mask = labels[rows, cols] == k
        if mask.sum() >= masks.MIN_PIXELS:
            shapes.append(masks.mask_to_polygon(mask, _transform(rows.start, cols.start)))
            areas.append(float(mask.sum()) * PIXEL_M**2)
    gpd.GeoDataFrame({"area_m2": areas}, geometry=shapes, crs=CRS).to_file(path, layer="truth", driver="GPKG")
