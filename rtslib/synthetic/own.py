"""Files as a user has them: imagery, near infrared and a DEM of one place, each on its own grid, and slumps for a GIS.

They are a scene (`rtslib.synthetic.scene`) taken apart. Near infrared has the unit of the imagery, as NDVI takes
both; the DEM is relative elevation laid on rising ground, from which the same relative elevation can be derived.
"""

import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

from rtslib.data.scenes import open_scene
from rtslib.files import new_folder
from rtslib.synthetic.scene import write_scene

#: File -> (CRS, pixel in m) of what is not left on the scene's grid.
GRIDS = {"nir.tif": ("EPSG:32609", 6.0), "dem.tif": ("EPSG:3995", 5.0)}
#: Metres that the ground rises a metre to the east and to the north.
RISE = (0.012, 0.007)
NODATA = {"nir": 0.0, "elevation": -9999.0}
DATE = "2025-07-20"


def write_own_files(out: str | Path, size: int, seed: int) -> Path:
    """Write rgb.tif (EPSG:3413, uint8), nir.tif (EPSG:32609, uint8), dem.tif (EPSG:3995, m), slumps.gpkg (EPSG:4326).

    Args:
        out: folder to make; it must not exist, or be empty.
        size: of the ground, px of 4 m a side, 64 to 8192; seed: of everything.

    Raises:
        ConfigError: size or seed out of range. OutputError: `out` holds something, or cannot be written.
    """
    out = Path(out)
    with tempfile.TemporaryDirectory() as folder, new_folder(out) as part:
        scene = open_scene(write_scene(Path(folder) / "scene", size, seed))
        stack = scene.stack
        *rgb, ndvi, relief = stack.read(["red", "green", "blue", "ndvi", "relative_elevation"])
        nir = np.clip(rgb[0] * (1 + ndvi) / np.maximum(1 - ndvi, 0.05), 1, 255)
        rows, columns = np.indices(relief.shape)
        elevation = relief + 20 + stack.transform.a * (RISE[0] * columns + RISE[1] * rows[::-1])
        images = {"rgb.tif": dict(zip(("red", "green", "blue"), rgb)), "nir.tif": {"nir": nir},
                  "dem.tif": {"elevation": elevation}}  # fmt: skip
        for name, bands in images.items():
            _write(part / name, bands, (stack.crs, stack.transform), *GRIDS.get(name, (None, None)))
        slumps = gpd.GeoDataFrame({"year": 2025}, index=scene.truth.index, geometry=scene.truth.geometry)
        slumps.to_crs("EPSG:4326").to_file(part / "slumps.gpkg", layer="slumps", driver="GPKG")
    return out


def _write(
    path: Path, bands: dict[str, np.ndarray], place: tuple[CRS, Affine], crs: str | None, pixel: float | None
) -> None:
    """Write bands (H, W) as a tiled GeoTIFF with names and date, warped where a CRS is given."""
    values = np.stack(list(bands.values())).astype(np.float32)
    if crs is not None:
        height, width = values.shape[1:]
        ends = rasterio.transform.array_bounds(height, width, place[1])
        transform, width, height = calculate_default_transform(place[0], crs, width, height, *ends, resolution=pixel)
        warped = np.full((len(values), height, width), np.nan, np.float32)
        reproject(values, warped, src_transform=place[1], src_crs=place[0], dst_transform=transform, dst_crs=crs,
                  src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.bilinear)  # fmt: skip
        values, place = warped, (CRS.from_user_input(crs), transform)
    nodata = NODATA.get(next(iter(bands)))
    dtype = "float32" if "elevation" in bands else "uint8"
    values = np.nan_to_num(values if dtype == "float32" else values.round(), nan=0 if nodata is None else nodata)
    profile = {"driver": "GTiff", "count": len(values), "dtype": dtype, "height": values.shape[1],
               "width": values.shape[2], "crs": place[0], "transform": place[1], "nodata": nodata, "tiled": True,
               "compress": "deflate"}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values.astype(dtype))
        file.descriptions = tuple(bands)
        file.update_tags(DATE=DATE)
