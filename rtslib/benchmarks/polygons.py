"""Polygons: what joining, outlining, counting and writing a map of very many slumps takes.

`python -m rtslib benchmark polygons --out DIR` makes the pieces of a map, not the map: discs of 2 to 12 px radius, four
a cell of 128 px on a square ground, a quarter of them seen by two windows. They are written as shards and then go the
way that `map_region` takes after its last window: read, joined (`rtslib.mapping.seams`), outlined, counted, written as
GeoPackage, GeoParquet, candidates and review. Each number of slumps is a process of its own, so that its peak memory is
its own.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import geopandas as gpd
import numpy as np
import pandas as pd
from affine import Affine
from rasterio.crs import CRS

from rtslib.benchmarks.processes import apart
from rtslib.data.grids import Grid
from rtslib.files import save_table
from rtslib.mapping.maps import CANDIDATES
from rtslib.mapping.plan import Plan
from rtslib.mapping.polygons import to_polygons, write_geopackage, write_polygons
from rtslib.mapping.review import REVIEW, write_review
from rtslib.mapping.seams import Piece, merge
from rtslib.mapping.shards import read_shard, write_shard
from rtslib.mapping.totals import totals
from rtslib.training.memory import peak_mib

CELL, IN_CELL = 128, 4  # px a side of a cell, and slumps in it
RADII, TWICE = (2, 12), 0.25  # px, least and most; share of slumps that two windows see
A_SHARD = 5000  # pieces


def measure_polygons(out: str | Path, counts: Sequence[int] = (1_000, 10_000, 100_000)) -> pd.DataFrame:
    """Measure each number of slumps and write `out/tables/polygons.csv`.

    Args:
        out: folder.
        counts: numbers of slumps; each is rounded up to whole rows of cells.

    Returns:
        Columns slumps, pieces, shards_mib (on disk), seconds of read, join, outline, count and write, seconds, and
        peak_mib of the whole process.

    Raises:
        RtsError: a process failed; says how. OutputError: the table cannot be written.
    """
    rows = []
    for count in counts:
        rows.append(apart("rtslib.benchmarks.polygons:measure_once", count))
        print(", ".join(f"{k} {v:g}" for k, v in rows[-1].items()), flush=True)
        save_table(pd.DataFrame(rows), Path(out) / "tables" / "polygons.csv")
    return pd.DataFrame(rows)


def measure_once(count: int) -> None:
    """Measure one number of slumps in this process and print its row as a line of JSON."""
    row: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = call()
        row[name] = time.perf_counter() - start
        return value

    with TemporaryDirectory() as folder:
        out = Path(folder)
        shards, todo = _write_shards(out, count)
        size = sum(f.stat().st_size for f in out.iterdir()) / 2**20
        pieces = timed("read_s", lambda: [p for k in range(shards) for p in read_shard(out, k)])
        slumps, _ = timed("join_s", lambda: merge(pieces))
        frame = timed("outline_s", lambda: to_polygons(slumps, todo, {}))
        timed("count_s", lambda: totals(frame["score"].to_numpy(), frame["area_m2"].to_numpy()))
        timed("write_s", lambda: _write_files(frame, out))
    told = {"slumps": len(frame), "pieces": len(pieces), "shards_mib": size}
    print(json.dumps({**told, **row, "seconds": sum(row.values()), "peak_mib": peak_mib()}))


def made_pieces(count: int, seed: int = 0) -> Iterator[Piece]:
    """Yield the pieces of about `count` slumps, cell by cell.

    Args:
        count: of slumps; rounded up to whole rows of cells.
        seed: of places, sizes, scores and who is seen twice.
    """
    rng, side = np.random.default_rng(seed), cells(count)
    for cell in range(side * side):
        top, left = cell // side * CELL, cell % side * CELL
        for k in range(IN_CELL):
            r = int(rng.integers(RADII[0], RADII[1] + 1))
            y, x = np.mgrid[-r : r + 1, -r : r + 1]
            row, col = top + k // 2 * CELL // 2 + 16, left + k % 2 * CELL // 2 + 16
            window = (top, left, top + CELL, left + CELL)
            first = Piece(row, col, y * y + x * x <= r * r + 1, float(rng.uniform(0.05, 1)), window)
            yield first
            if rng.random() < TWICE:
                yield replace(first, score=first.score * 0.9, window=(top, left - CELL // 2, top + CELL, left + CELL))


def cells(count: int) -> int:
    """Return the cells a side of the ground of `count` slumps."""
    return math.ceil(math.sqrt(count / IN_CELL))


def _write_files(frame: gpd.GeoDataFrame, out: Path) -> None:
    """Write what a map's folder holds of its polygons."""
    write_review(frame, out / REVIEW)
    write_polygons(frame, out)
    write_geopackage(frame, out / CANDIDATES)


def _write_shards(out: Path, count: int) -> tuple[int, Plan]:
    """Write the pieces as shards; return how many shards, and as much of a plan as polygons need."""
    held: list[Piece] = []
    shards = 0
    for piece in made_pieces(count):
        held.append(piece)
        if len(held) == A_SHARD:
            write_shard(out, shards, held, {})
            held, shards = [], shards + 1
    write_shard(out, shards, held, {})
    side = cells(count) * CELL
    grid = Grid(CRS.from_epsg(3413), Affine(4, 0, -2_000_000, 0, -4, 1_000_000), side, side)
    todo = SimpleNamespace(region=SimpleNamespace(grid=grid), area=None, modalities={"rgb": ("red", "green", "blue")})
    return shards + 1, cast(Plan, todo)
