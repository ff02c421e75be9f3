"""Polygons: what a map says of each slump, on the ground.

Outlines run along pixel edges, holes and parts kept, in the grid's CRS. Areas and lengths are computed in an
equal-area CRS (`rtslib.data.ground`). GeoPackage is for QGIS; GeoParquet, the same table, for many millions of rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
from affine import Affine
from shapely.geometry import MultiPolygon, Polygon

from rtslib.data.grids import Grid
from rtslib.data.ground import measure
from rtslib.files import whole
from rtslib.mapping import seams
from rtslib.mapping.outlines import outlines
from rtslib.mapping.plan import Plan
from rtslib.mapping.styles import add_style

#: Files of a map, and the layer of the first.
MAP_FILE, MAP_LAYER, PARQUET_FILE = "detections.gpkg", "detections", "detections.parquet"
#: What `to_polygons` takes from the caller, the same for every row; empty where unknown.
PROVENANCE = ("run_id", "model_sha256", "image_date")


def columns(modalities: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a map, in order, but its geometry; `valid_` and a name for each modality."""
    valid = (f"valid_{m}" for m in modalities)
    return ("id", "score", "area_m2", "perimeter_m", "modalities", *valid, "windows", "touches_edge", "touches_nodata",
            *PROVENANCE)  # fmt: skip


def to_polygons(slumps: Sequence[seams.Slump], todo: Plan, provenance: Mapping[str, str]) -> gpd.GeoDataFrame:
    """Outline slumps on the ground.

    Args:
        slumps: of the whole map, best score first.
        todo: the plan that found them.
        provenance: values of `PROVENANCE`.

    Returns:
        Multipolygons in the grid's CRS, those that meet the area of interest: `id` (from 1), `score` (0-1),
        `area_m2`, `perimeter_m` (outer and inner outlines), `modalities` (those that had data under it, joined by
        `+`), for each modality of the model `valid_rgb` and so on (share of its pixels with data, 0-1), `windows`
        (number that it was joined from), `touches_edge` (of the grid) and `touches_nodata` (either way there may be
        more of it), and the provenance.
    """
    grid = todo.region.grid
    placed = [grid.transform @ Affine.translation(s.col, s.row) for s in slumps]
    shapes = [_multi(shape) for shape in outlines([s.mask for s in slumps], placed)]
    if todo.area is not None:
        meets = [todo.area.intersects(shape) for shape in shapes]
        slumps, shapes = ([x for x, ok in zip(xs, meets, strict=True) if ok] for xs in (slumps, shapes))
    area, perimeter = measure(gpd.GeoDataFrame(geometry=shapes, crs=grid.crs))
    valid = np.array([_valid(s, len(todo.modalities)) for s in slumps]).reshape(len(slumps), len(todo.modalities))
    seen = ["+".join(m for m, share in zip(todo.modalities, shares) if share) for shares in valid]
    values = {
        "id": np.arange(1, len(slumps) + 1), "score": np.array([s.score for s in slumps], dtype=float),
        "area_m2": area, "perimeter_m": perimeter,
        "modalities": np.array(seen, dtype=object), "windows": np.array([s.windows for s in slumps], dtype=int),
        "touches_edge": np.array([_touches_edge(s, grid) for s in slumps], dtype=bool),
        "touches_nodata": np.array([s.nodata for s in slumps], dtype=bool),
        **{f"valid_{m}": valid[:, k] for k, m in enumerate(todo.modalities)},
        **{name: np.array([provenance.get(name, "")] * len(slumps), dtype=object) for name in PROVENANCE},
    }  # fmt: skip
    return gpd.GeoDataFrame({c: values[c] for c in columns(todo.modalities)}, geometry=shapes, crs=grid.crs)


def write_polygons(frame: gpd.GeoDataFrame, folder: str | Path) -> list[str]:
    """Write the slumps in each format, whole or not at all; returns the files' names. Raises OutputError."""
    with whole(Path(folder) / PARQUET_FILE) as part:
        frame.to_parquet(part)
    write_geopackage(frame, Path(folder) / MAP_FILE)
    return [MAP_FILE, PARQUET_FILE]


def write_geopackage(frame: gpd.GeoDataFrame, path: str | Path) -> None:
    """Write slumps, which have a `score`, with a style for QGIS, whole or not at all. Raises OutputError."""
    with whole(path) as part:
        frame.to_file(part, layer=MAP_LAYER, driver="GPKG", geometry_type="MultiPolygon")
        add_style(part, MAP_LAYER, frame["score"].to_numpy())


def _multi(shape: Polygon | MultiPolygon) -> MultiPolygon:
    return shape if shape.geom_type == "MultiPolygon" else MultiPolygon([shape])


def _valid(slump: seams.Slump, modalities: int) -> np.ndarray:
    """Return the share of the slump's pixels that each modality has data for, float (modalities,)."""
    if slump.void is None:
        return np.ones(modalities)
    return 1 - (slump.void & slump.mask).sum(axis=(1, 2)) / slump.mask.sum()


def _touches_edge(slump: seams.Slump, grid: Grid) -> bool:
    """Whether a pixel of the slump lies in the first or last row or column of the grid."""
    rows, cols = (np.flatnonzero(slump.mask.any(axis=k)) for k in (1, 0))
    top, left = slump.row + rows[0], slump.col + cols[0]
    bottom, right = slump.row + rows[-1] + 1, slump.col + cols[-1] + 1
    return bool(top == 0 or left == 0 or bottom == grid.height or right == grid.width)
