"""Scenes: whole landscapes to be mapped, as opposed to chips to be learnt from.

A *scene* is a folder of GeoTIFFs on one grid, opened as one `rtslib.data.rasters.Stack`, with an optional
`truth.gpkg` that holds the slumps known there as polygons. `rtslib.synthetic.scene.write_scene` makes one;
`mosaic_group` makes one of the georeferenced chips of a site, so that a map can be judged on real ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from rtslib.data import masks
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.grids import Grid, open_raster, rename
from rtslib.data.projecting import about
from rtslib.data.rasters import Stack, open_stack
from rtslib.data.vectors import layer_names, read_truth
from rtslib.errors import DataError
from rtslib.files import new_folder, whole

#: File with the known slumps of a scene, and its layer.
TRUTH_FILE, TRUTH_LAYER = "truth.gpkg", "truth"


@dataclass(frozen=True)
class Scene:
    """An opened scene.

    Attributes:
        folder: where it is.
        stack: its rasters as named bands on one grid.
        truth: known slumps as polygons in the stack's CRS; None if unknown.
    """

    folder: Path
    stack: Stack
    truth: gpd.GeoDataFrame | None


def open_scene(folder: str | Path) -> Scene:
    """Open a folder of co-registered GeoTIFFs, with `truth.gpkg` if it is there.

    Raises:
        DataError: no folder, no `*.tif` in it, rasters that are no stack (see `rasters.open_stack`), or
            a truth file that is none (see `vectors.read_polygons`).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "a scene: a folder of GeoTIFFs on one grid")
    files = sorted(folder.glob("*.tif"))
    if not files:
        raise DataError(folder, "no *.tif", "a scene: a folder of GeoTIFFs on one grid", rename(folder.iterdir()))
    stack = open_stack(files)
    truth = folder / TRUTH_FILE
    return Scene(folder, stack, _read_truth(truth, stack) if truth.exists() else None)


def _read_truth(path: Path, stack: Stack) -> gpd.GeoDataFrame:
    """Read known slumps, of several layers that of the scene's name for it, to lie where the stack does."""
    layer = TRUTH_LAYER if TRUTH_LAYER in layer_names(path) else None
    return about(read_truth(path, stack.crs, layer), (stack.transform @ (stack.width / 2, 0))[0])


def mosaic_group(chipset: ChipSet, group: str, out: str | Path) -> Path:
    """Make a scene of the georeferenced chips of one site group.

    One GeoTIFF a source (named after the chips' folder), with the chips' tags: band names, units, scale,
    offset, nodata. Pixels are copied, never resampled: the grid is the first chip's, and a chip whose grid
    lies between its pixels moves by half a pixel at most. Where chips overlap, the one with the smaller id
    gives the pixel, unless it has no data there; chips of different dates leave seams. Labels follow the
    same order, since slumps are drawn anew on each date (joining all drawings would smear them), and become
    `truth.gpkg`: one polygon for each 8-connected component of at least 10 px.

    Args:
        chipset: an opened data set of layout "geotiff".
        group: `Chip.group` of the site.
        out: folder to make; it must not exist, or be empty.

    Returns:
        The folder, for `open_scene`.

    Raises:
        DataError: no such group, chips without georeference, of several CRSs or pixel sizes, or tags that
            differ between chips.
        OutputError: `out` holds something, or cannot be written.
    """
    chips = [c for c in chipset.chips if c.group == group]
    if not chips:
        raise DataError(chipset.root, f"no group {group!r}", f"one of {sorted({c.group for c in chipset.chips})}")
    grid, places = _common_grid(chipset, chips, group)
    with new_folder(Path(out)) as part:
        for files in zip(*(c.files for c in chips), strict=True):
            _mosaic(files, places, grid, part / f"{files[0].parent.name}.tif")
        if any(c.labelled for c in chips):
            _write_truth(chipset, chips, places, grid, part / TRUTH_FILE)
    return Path(out)


def _common_grid(chipset: ChipSet, chips: Sequence[Chip], group: str) -> tuple[Grid, list[tuple[int, int]]]:
    """Return the grid of the mosaic and the first row and column of each chip in it. Raises DataError."""
    where = f"{chipset.root}, group {group}"
    systems = sorted({str(c.crs) for c in chips})
    if any(c.crs is None or c.transform is None for c in chips):
        raise DataError(where, f"chips without georeference (layout {chipset.layout})", "georeferenced chips")
    if len(systems) > 1:
        raise DataError(where, f"chips in {', '.join(systems)}", "one CRS", "mosaic the part of one CRS")
    first = chips[0].transform
    for c in chips:
        if (c.transform.a, c.transform.e) != (first.a, first.e):
            found = f"pixels of {c.transform.a:g} map units"
            raise DataError(f"{where}, chip {c.name}", found, f"{first.a:g} as {chips[0].name}")
    offsets = [~first @ (c.transform.c, c.transform.f) for c in chips]
    places = np.array([(round(row), round(col)) for col, row in offsets])
    top, left = places.min(axis=0).tolist()
    height, width = (places + [(c.height, c.width) for c in chips] - (top, left)).max(axis=0).tolist()
    grid = Grid(CRS.from_user_input(systems[0]), first @ Affine.translation(left, top), height, width)
    return grid, [(r - top, c - left) for r, c in places.tolist()]


def _mosaic(files: Sequence[Path], places: Sequence[tuple[int, int]], grid: Grid, target: Path) -> None:
    """Copy one source of all chips into one GeoTIFF; the first valid pixel stays."""
    keys = ("descriptions", "units", "scales", "offsets", "dtypes", "nodatavals")
    pixels = known = first = None
    for path, (row, col) in zip(files, places, strict=True):
        with open_raster(path) as d:
            tags, values, valid = {k: getattr(d, k) for k in keys}, d.read(), d.read_masks() > 0
        first = first or tags
        differ = [k for k in keys if tags[k] != first[k]]
        if differ:
            raise DataError(path, f"{differ[0]} {tags[differ[0]]}", f"{first[differ[0]]} as in {files[0]}")
        if pixels is None:
            empty = [0 if n is None else n for n in first["nodatavals"]]
            shape = (len(values), grid.height, grid.width)
            pixels = np.broadcast_to(np.array(empty, values.dtype)[:, None, None], shape).copy()
            known = np.zeros(shape, dtype=bool)
        part = np.s_[:, row : row + values.shape[1], col : col + values.shape[2]]
        new = valid & ~known[part]
        pixels[part][new] = values[new]
        known[part] |= new
    if first["nodatavals"][0] is None and not known.all():
        raise DataError(files[0], "no nodata value", "one", "the chips leave gaps that have to be marked")
    profile = {"driver": "GTiff", "crs": grid.crs, "transform": grid.transform, "height": grid.height,
               "width": grid.width, "count": len(pixels), "dtype": pixels.dtype,
               "nodata": first["nodatavals"][0], "compress": "deflate", "tiled": True}  # fmt: skip
    with whole(target) as part, rasterio.open(part, "w", **profile) as d:
        d.write(pixels)
        for k in ("descriptions", "units", "scales", "offsets"):
            setattr(d, k, first[k])


def _write_truth(
    chipset: ChipSet, chips: Sequence[Chip], places: Sequence[tuple[int, int]], grid: Grid, target: Path
) -> None:
    """Write the instances as polygons; where chips overlap, the first one's labels hold."""
    labels, free = (np.full((grid.height, grid.width), v) for v in (False, True))
    for chip, (row, col) in zip(chips, places, strict=True):
        part = np.s_[row : row + chip.height, col : col + chip.width]
        for instance in chipset.instances.get(chip.id, ()):
            labels[part] |= masks.decode(instance.rle) & free[part]
        free[part] = False
    parts, _ = masks.label_instances(labels)
    shapes = [masks.mask_to_polygon(m, grid.transform) for m in parts]
    frame = gpd.GeoDataFrame({"id": range(1, len(shapes) + 1)}, geometry=shapes, crs=grid.crs)
    with whole(target) as part:
        frame.to_file(part, layer=TRUTH_LAYER, driver="GPKG", promote_to_multi=True)
