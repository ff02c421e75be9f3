"""Mapping: a trained model over a whole scene, window by window, into polygons on the ground.

Each window is read, judged and forgotten; what stays are its detections, as cropped masks in scene
pixels (`rtslib.seams`). After the last window they are joined across seams and outlined along pixel edges,
holes kept, in the scene's CRS. Areas are computed in an equal-area CRS (EPSG:6931 in the north, 6932 in
the south: NSIDC EASE-Grid 2.0), since neither UTM nor polar stereographic (EPSG:3413) keeps areas, and
pixel counts are none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio.warp
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from shapely.geometry import MultiPolygon

from rtslib import masks, seams, windows
from rtslib.bands import check_modalities
from rtslib.config import Config
from rtslib.dataset import collate
from rtslib.errors import ConfigError, DataError, OutputError, WeightsError
from rtslib.files import whole
from rtslib.predict import MASK_THRESHOLD
from rtslib.rasters import Grid
from rtslib.scenes import Scene, open_scene

if TYPE_CHECKING:
    import geopandas as gpd

#: File of the mapped polygons, and its layer.
MAP_FILE, MAP_LAYER = "detections.gpkg", "detections"
COLUMNS = ("id", "score", "area_m2", "perimeter_m", "windows", "touches_edge")

Progress = Callable[[int, int], None]


@dataclass
class Counts:
    """What happened on the way.

    Attributes:
        windows: windows of the scene.
        skipped: those without any valid pixel, which the model never saw.
        pieces: detections of single windows.
        duplicates: slumps dropped because they repeat another one, or are part of it.
    """

    windows: int = 0
    skipped: int = 0
    pieces: int = 0
    duplicates: int = 0


def map_scene(
    model: torch.nn.Module,
    config: Config,
    scene: Scene | str | Path,
    out_dir: str | Path,
    window: int = 256,
    overlap: int = 64,
    score: float = 0.3,
    batch_size: int = 4,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> "gpd.GeoDataFrame":
    """Map the slumps of a scene and write `out_dir/detections.gpkg`, whole or not at all.

    Args:
        model: a detector in evaluation mode; runs on the device of its parameters.
        config: the run's config; `config.modalities` says which bands are read.
        scene: an opened scene, or its folder.
        out_dir: folder for the result.
        window, overlap: side of a window and least overlap of neighbours, px; see `rtslib.windows`.
        score: detections below are left out, 0-1.
        batch_size: windows a batch.
        overwrite: replace an existing result.
        progress: called with (windows done, windows in all) after each batch.

    Returns:
        What was written: multipolygons in the scene's CRS, best score first, with `id` (from 1), `score`
        (0-1), `area_m2`, `perimeter_m` (outer and inner outlines; both in an equal-area CRS), `windows`
        (number that it was joined from), `touches_edge` (of the scene: there may be more of it).
        `frame.attrs["counts"]` holds the `Counts` as a dict. May have no row.

    Raises:
        ConfigError: sizes or score out of range, or a band that the scene lacks.
        DataError: the scene is broken, or has no valid pixel at all.
        WeightsError: the model gives scores that are not finite.
        OutputError: the result exists, or cannot be written.
    """
    scene = scene if isinstance(scene, Scene) else open_scene(scene)
    target = Path(out_dir) / MAP_FILE
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists: choose another folder, or allow overwriting")
    if not 0 <= score <= 1 or batch_size < 1:
        raise ConfigError(
            f"score={score}, batch_size={batch_size}: take a score from 0 to 1, at least one window"
        )
    counts = Counts()
    pieces = list(_detect(model, config, scene, (window, overlap, score, batch_size), counts, progress))
    if counts.skipped == counts.windows:
        raise DataError(scene.folder, "no valid pixel in any window", "a scene with data")
    slumps, counts.duplicates = seams.merge(pieces)
    frame = to_polygons(slumps, scene.stack.grid)
    frame.attrs["counts"] = vars(counts)
    with whole(target) as part:
        frame.to_file(part, layer=MAP_LAYER, driver="GPKG", geometry_type="MultiPolygon")
    return frame


def to_polygons(slumps: list[seams.Slump], grid: Grid) -> "gpd.GeoDataFrame":
    """Outline slumps on the ground; columns and order as in `map_scene`."""
    import geopandas as gpd

    shapes = [_outline(s, grid.transform) for s in slumps]
    frame = gpd.GeoDataFrame(geometry=shapes, crs=grid.crs)
    area, perimeter = measure(frame)
    values = {
        "id": np.arange(1, len(slumps) + 1),
        "score": np.array([s.score for s in slumps], dtype=float),
        "area_m2": area,
        "perimeter_m": perimeter,
        "windows": np.array([s.windows for s in slumps], dtype=int),
        "touches_edge": np.array([_touches_edge(s, grid) for s in slumps], dtype=bool),
    }
    return gpd.GeoDataFrame({c: values[c] for c in COLUMNS}, geometry=shapes, crs=grid.crs)


def measure(frame: "gpd.GeoDataFrame") -> tuple[np.ndarray, np.ndarray]:
    """Return area (m2) and perimeter (m, inner outlines included) of polygons, in an equal-area CRS."""
    if frame.empty:
        return np.zeros(0), np.zeros(0)
    west, south, east, north = frame.total_bounds
    on_ground = frame.geometry.to_crs(equal_area_crs(frame.crs, (west + east) / 2, (south + north) / 2))
    return on_ground.area.to_numpy(), on_ground.length.to_numpy()


def equal_area_crs(crs: object, x: float, y: float) -> str:
    """Return the equal-area CRS for a place given in `crs`: EPSG:6931 north of the equator, else 6932."""
    _, (latitude,) = rasterio.warp.transform(CRS.from_user_input(crs), CRS.from_epsg(4326), [x], [y])
    return "EPSG:6931" if latitude >= 0 else "EPSG:6932"


def _detect(
    model: torch.nn.Module,
    config: Config,
    scene: Scene,
    knobs: tuple[int, int, float, int],
    counts: Counts,
    progress: Progress | None,
) -> Iterator[seams.Piece]:
    """Yield the detections of all windows, counting windows and pieces on the way."""
    window, overlap, least, batch_size = knobs
    modalities = check_modalities(config.modalities, scene.stack.bands)
    every = windows.cover(scene.stack.height, scene.stack.width, window, overlap)
    counts.windows, batch = len(every), []
    for done, w in enumerate(every, 1):
        sample = read_window(scene, modalities, w)
        if any(bool(v.any()) for v in sample["valid"].values()):
            batch.append((w, sample))
        else:
            counts.skipped += 1
        if batch and (len(batch) == batch_size or done == len(every)):
            for piece in _judge(model, batch, least):
                counts.pieces += 1
                yield piece
            batch = []
        if progress is not None and (not batch or done == len(every)):
            progress(done, len(every))


def read_window(scene: Scene, modalities: dict[str, tuple[str, ...]], window: Window) -> dict:
    """Read one window as a sample, like those of `rtslib.dataset.ChipDataset` without a target.

    Returns:
        `image_id` 0; `size` (h, w); `images` {m: float32 (C, h, w)} in physical units, 0 where invalid;
        `valid` {m: bool (h, w)}: all bands of the modality are finite.
    """
    needed = tuple(dict.fromkeys(b for bands in modalities.values() for b in bands))
    pixels = scene.stack.read(needed, window)
    images, valid = {}, {}
    for m, bands in modalities.items():
        values = pixels[[needed.index(b) for b in bands]]
        ok = np.isfinite(values).all(axis=0)
        images[m], valid[m] = torch.from_numpy(np.where(ok, values, 0)), torch.from_numpy(ok)
    return {"image_id": 0, "size": pixels.shape[1:], "images": images, "valid": valid}


def _judge(model: torch.nn.Module, batch: list[tuple[Window, dict]], least: float) -> Iterator[seams.Piece]:
    """Run the model on one batch of windows and yield what it finds."""
    stacked = collate([sample for _, sample in batch])
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for key in ("images", "valid"):
        stacked[key] = {m: t.to(device) for m, t in stacked[key].items()}
    with torch.inference_mode():
        outputs = model(stacked)
    for (window, sample), output in zip(batch, outputs, strict=True):
        scores = output["scores"].float().cpu().numpy()
        if not np.isfinite(scores).all():
            raise WeightsError("the model's scores are not finite: its weights are unusable")
        seen = torch.stack(list(sample["valid"].values())).any(dim=0).numpy()
        for k in np.flatnonzero(scores >= least):
            mask = (output["masks"][int(k)] >= MASK_THRESHOLD).cpu().numpy() & seen
            piece = seams.piece(mask, float(min(scores[k], 1)), window)
            if piece is not None:
                yield piece


def _outline(slump: seams.Slump, transform: Affine) -> MultiPolygon:
    """Outline one slump in map coordinates."""
    shape = masks.mask_to_polygon(slump.mask, transform @ Affine.translation(slump.col, slump.row))
    return shape if shape.geom_type == "MultiPolygon" else MultiPolygon([shape])


def _touches_edge(slump: seams.Slump, grid: Grid) -> bool:
    """Whether a pixel of the slump lies in the first or last row or column of the scene."""
    rows, cols = (np.flatnonzero(slump.mask.any(axis=k)) for k in (1, 0))
    top, left = slump.row + rows[0], slump.col + cols[0]
    bottom, right = slump.row + rows[-1] + 1, slump.col + cols[-1] + 1
    return bool(top == 0 or left == 0 or bottom == grid.height or right == grid.width)
