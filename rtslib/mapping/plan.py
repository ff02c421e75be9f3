"""The plan of a map: which windows are read, in which blocks, and by what a stopped map is known again.

A *block* is a square of neighbouring windows: what is written, resumed and sent to a worker as one. Its detections
become a *shard* (`rtslib.mapping.shards`). Blocks do not know of each other, and batches never cross them, so a map is
the same whatever the order, the machine or the number of workers.

The *fingerprint* of a map holds all that its polygons depend on: model, inputs, grid, options, area of interest. A
map that was stopped goes on only under the same one. Inputs are known by their content (`rtslib.data.inputs`).
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio.windows import Window

from rtslib.config import Config
from rtslib.data import windows
from rtslib.data.inputs import marks
from rtslib.data.missing import check_absent
from rtslib.data.rasters import Stack
from rtslib.errors import ConfigError, DataError

#: A map of 35 days on a machine that judges a window a second; a plan holds all of them.
MOST_WINDOWS = 3_000_000


@dataclass(frozen=True)
class Options:
    """Knobs of a map. Raises ConfigError for a value out of range."""

    window: int = 256  # side of a window, px
    overlap: int = 64  # least overlap of neighbouring windows, px: as wide as a large slump
    score: float = 0.3  # detections below are not shown, 0-1
    keep: float = 0.05  # nor kept as candidates, by which average precision is measured; 0-1, at most `score`
    batch_size: int = 4  # windows a batch
    block: int = 8  # windows a side of a block
    probability: bool = False  # also keep the highest mask probability of every pixel

    def __post_init__(self) -> None:
        windows.starts(1, self.window, self.overlap)
        if not 0 <= self.score <= 1 or not 0 <= self.keep <= 1 or self.batch_size < 1 or self.block < 1:
            raise ConfigError(
                f"score={self.score}, keep={self.keep}, batch_size={self.batch_size}, block={self.block}: take scores "
                "from 0 to 1, at least one window a batch, and one a side of a block"
            )

    @property
    def least(self) -> float:
        """The least score of what is kept."""
        return min(self.keep, self.score)


@dataclass(frozen=True)
class Block:
    """Some windows of one grid, row by row; `index` counts the plan's blocks from 0."""

    index: int
    windows: tuple[Window, ...]

    @property
    def bounds(self) -> Window:
        """The rectangle that holds all windows."""
        top, left = min(w.row_off for w in self.windows), min(w.col_off for w in self.windows)
        bottom, right = (max(a + b for a, b in pairs) for pairs in (
            [(w.row_off, w.height) for w in self.windows], [(w.col_off, w.width) for w in self.windows]))  # fmt: skip
        return Window(left, top, right - left, bottom - top)


@dataclass(frozen=True)
class Plan:
    """What to map, and how. Made by `plan`; can be pickled.

    Attributes:
        region: rasters on one grid, a `rtslib.data.rasters.Stack` or a `rtslib.data.region.Region`, which is one.
        modalities: name -> bands, those of the model, the primary one first.
        absent: names of those that the region has no bands for.
        options: knobs.
        blocks: all of them, row by row.
        area: area of interest in the region's CRS, or None for all.
    """

    region: Stack
    modalities: dict[str, tuple[str, ...]]
    absent: tuple[str, ...]
    options: Options
    blocks: tuple[Block, ...]
    area: shapely.Geometry | None = None

    @property
    def windows(self) -> int:
        """Number of windows of all blocks."""
        return sum(len(b.windows) for b in self.blocks)


def plan(config: Config, region: Stack, options: Options, area: shapely.Geometry | None = None) -> Plan:
    """Lay out a map.

    Args:
        config: of the model; its modalities say which bands are read.
        region: rasters on one grid.
        options: knobs.
        area: area of interest in the region's CRS; windows that do not meet it are left out.

    Raises:
        ConfigError: the region has no band of the model, or there are more than `MOST_WINDOWS` windows.
        MissingModalityError: the model cannot run without a modality that the region lacks.
        DataError: the area of interest lies outside the region, or a band cannot be computed as on the model's chips.
    """
    read = {b for bands in config.modalities.values() for b in bands}
    region = region.deriving({b: inputs for b, inputs in config.derived.items() if b in read})
    modalities, absent = {m: tuple(bands) for m, bands in config.modalities.items()}, absent_from(config, region)
    if len(absent) == len(modalities):
        lacking = [b for b in next(iter(modalities.values())) if b not in region.bands]
        raise ConfigError(f"the model reads {modalities}, but there is no {', '.join(lacking)} in {list(region.bands)}")
    check_absent(config, absent)
    blocks = tuple(_blocks(region, options, area))
    if not blocks:
        expected = f"one that meets {_bounds(region)} in {region.crs}"
        raise DataError("area of interest", "no part of it in the region", expected)
    return Plan(region, modalities, absent, options, blocks, area)


def absent_from(config: Config, region: Stack) -> tuple[str, ...]:
    """Return the model's modalities that a region lacks a band of."""
    return tuple(m for m, bands in config.modalities.items() if not set(bands) <= set(region.bands))


def _blocks(region: Stack, options: Options, area: shapely.Geometry | None) -> Iterator[Block]:
    _check_count(region, options, area)
    rows, cols = (windows.starts(n, options.window, options.overlap) for n in (region.height, region.width))
    height, width = (min(options.window, n) for n in (region.height, region.width))
    if area is not None:
        shapely.prepare(area)
    index, step = 0, options.block
    for i in range(0, len(rows), step):
        for j in range(0, len(cols), step):
            every = [Window(c, r, width, height) for r in rows[i : i + step] for c in cols[j : j + step]]
            kept = [w for w in every if area is None or area.intersects(ground_box(w, region.transform))]
            if kept:
                yield Block(index, tuple(kept))
                index += 1


def _check_count(region: Stack, options: Options, area: shapely.Geometry | None) -> None:
    """Refuse more windows than any map has, before they are laid out. Raises ConfigError."""
    shape = ground_box(Window(0, 0, region.width, region.height), region.transform)
    if area is not None:
        shape = shapely.box(*area.bounds).intersection(shape)
    across, down = np.ptp(np.reshape(shape.bounds, (2, 2)), axis=0) if not shape.is_empty else (0, 0)
    step, (x, y) = options.window - options.overlap, (region.transform.a, -region.transform.e)
    count = math.ceil(across / x / step) * math.ceil(down / y / step)
    most = max(region.height, region.width) // step
    if count > MOST_WINDOWS or most > MOST_WINDOWS:
        found = f"{region.width} x {region.height} px of {x:g} x {y:g} ({region.crs})"
        raise ConfigError(
            f"a map of about {max(count, most):,} windows, over {found}: at most {MOST_WINDOWS:,} can be mapped; "
            "take larger pixels, larger windows, or an area of interest"
        )


def ground_box(window: Window, transform: Affine) -> shapely.Polygon:
    """Return a window's rectangle in map coordinates."""
    (x0, y0), (x1, y1) = (transform @ at for at in ((window.col_off, window.row_off),
                          (window.col_off + window.width, window.row_off + window.height)))  # fmt: skip
    return shapely.box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def _bounds(region: Stack) -> str:
    return ", ".join(f"{v:g}" for v in ground_box(Window(0, 0, region.width, region.height), region.transform).bounds)


def fingerprint(todo: Plan, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a map depends on, in JSON's types.

    Args:
        todo: the plan.
        model: what tells the model from others, such as `model_sha256` and `tta`, in JSON's types.

    Raises:
        DataError: an input file is gone or cannot be read.
    """
    region = todo.region
    area = None if todo.area is None else hashlib.sha256(todo.area.wkb).hexdigest()
    return {
        **model,
        "masks": [[layer.alpha, None if layer.nodata is None else repr(layer.nodata)] for layer in region.layers],
        "modalities": {m: list(bands) for m, bands in todo.modalities.items()},
        "absent": list(todo.absent),
        "options": asdict(todo.options),
        **marks(region),
        "area_sha256": area,
        "blocks": len(todo.blocks),
    }
