"""The probability map: for every pixel the highest of its mask probabilities times score, as a COG.

It shows what lies below the score threshold and how sure an outline is. Values are uint8 with scale 1/255, 0 where no
window found anything; it is assembled block by block, so it is never in memory.

A *COG* is a GeoTIFF with overviews, laid out so that a viewer reads only what it shows (cogeo.org).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from rtslib.files import whole
from rtslib.mapping.shards import read_probability

if TYPE_CHECKING:
    from rtslib.mapping.plan import Plan

PROBABILITY_FILE = "probability.tif"


def write_probability(todo: "Plan", shards: str | Path, path: str | Path) -> Path:
    """Join the blocks' probabilities into one COG, whole or not at all; blocks that overlap keep the higher.

    Args:
        todo: the plan of a finished map with `options.probability`.
        shards: folder of its shards.
        path: of the COG, band `slump_probability`, uint8, in the grid's CRS.

    Raises:
        DataError: a shard cannot be read. OutputError: the disk is full, or the folder cannot be written.
    """
    grid = todo.region.grid
    profile = {
        "driver": "GTiff", "height": grid.height, "width": grid.width, "count": 1, "dtype": "uint8", "crs": grid.crs,
        "transform": grid.transform, "tiled": True, "blockxsize": 512, "blockysize": 512, "bigtiff": "if_safer",
        "sparse_ok": True, "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with whole(path) as part, TemporaryDirectory(prefix=".part-", dir=Path(path).parent) as scratch:
        plain = Path(scratch) / "plain.tif"
        with rasterio.open(plain, "w+", **profile) as file:
            file.set_band_description(1, "slump_probability")
            file.scales = (1 / 255,)
            for block in todo.blocks:
                bounds = block.bounds
                there = Window(bounds.col_off, bounds.row_off, bounds.width, bounds.height)
                file.write(
                    np.maximum(file.read(1, window=there), read_probability(shards, block.index)), 1, window=there
                )
        rasterio.shutil.copy(plain, part, driver="COG", compress="deflate", resampling="average")
    return Path(path)
