"""The mapping step of the workbook: which scene to map, and what to write down about the map.

A scene has to be ground that no run of the study was trained on. For the embedded landscape it is a new one;
for georeferenced chips it is the mosaic of a site that the split holds out for testing. Chips without
georeference make no map.
"""

import os
import shutil
from pathlib import Path

import geopandas as gpd
import pandas as pd

from rtslib import files
from rtslib.data.chips import ChipSet
from rtslib.data.scenes import Scene, mosaic_group, open_scene
from rtslib.data.splits import held_out_group
from rtslib.errors import ConfigError
from rtslib.evaluation.polygons import match_polygons
from rtslib.files import whole
from rtslib.mapping.polygons import PROVENANCE
from rtslib.study.study import Study
from rtslib.synthetic.scene import write_scene


def why_no_scene(chipset: ChipSet, data: str) -> str:
    """Return in one sentence why there is no scene to map; empty where there is one."""
    if not data or all(c.crs for c in chipset.chips):
        return ""
    return (
        f"The chips of this data set (layout {chipset.layout}) have no georeference: nobody knows where they "
        "lie, and there is no scene that its models fit, so the map is skipped. It is made for the embedded "
        "landscape, for georeferenced chips, and by `python -m rtslib map` for any scene of yours."
    )


def study_scene(study: Study) -> tuple[Scene, str]:
    """Make the scene that a study maps, afresh, in `scratch/scenes`.

    Returns:
        The scene, and its name for titles.

    Raises:
        ConfigError: there is none to map, see `why_no_scene`.
        DataError: see `rtslib.data.splits.held_out_group` and `rtslib.data.scenes.mosaic_group`.
        OutputError: `scratch/` cannot be written.
    """
    chipset, seed = study.chipset, study.seed
    if why := why_no_scene(chipset, study.data):
        raise ConfigError(why)
    name = f"{chipset.root.name}-{study.profile}" if study.data else f"synthetic-{study.profile}-seed{seed}"
    folder = Path(
        os.path.relpath(files.ROOT / "scratch" / "scenes" / name)
    )  # no manifest should name this machine's paths
    shutil.rmtree(folder, ignore_errors=True)
    if study.data:
        group = held_out_group(chipset, study.split)
        return open_scene(mosaic_group(chipset, group, folder)), f"{chipset.root.name}, group {group}"
    write_scene(folder, study.settings["scene"], seed)
    return open_scene(folder), f"synthetic landscape, seed {seed}"


def window_of(chipset: ChipSet) -> int:
    """Return the window to map with, px: the longest side of a chip as a multiple of 32, from 256 to 512.

    Larger windows than the chips trained on do no harm (context helps), smaller ones cut more slumps.
    """
    side = max(max(c.height, c.width) for c in chipset.chips)
    return min(max(-(-side // 32) * 32, 256), 512)


def map_table(detections: gpd.GeoDataFrame, scene: Scene, iou: float = 0.5) -> pd.DataFrame:
    """Return the map as a table, one row a detection.

    Returns:
        Columns of `rtslib.mapping.polygons.to_polygons` but the provenance, which is one for all rows, `lon` and `lat`
        of a point inside (degrees, WGS 84) and, where the truth is known, `matches`: id (or row number from 1) of the
        known slump it matches, if any.
    """
    points = detections.geometry.representative_point().to_crs("EPSG:4326")
    table = pd.DataFrame(detections.drop(columns=["geometry", *PROVENANCE], errors="ignore")).assign(
        lon=points.x.round(6), lat=points.y.round(6)
    )
    if scene.truth is None:
        return table
    names = scene.truth["id"].tolist() if "id" in scene.truth else list(range(1, len(scene.truth) + 1))
    found = {p: names[t] for p, t, _ in match_polygons(detections, scene.truth, iou).pairs}
    return table.assign(matches=pd.array([found.get(p) for p in range(len(table))], dtype="Int64"))


def save_map_table(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Write the table as CSV (areas and lengths to 0.1 m, scores to 1e-4), whole or not at all; return it."""
    rounded = table.round({"score": 4, "area_m2": 1, "perimeter_m": 1})
    with whole(path) as part:
        rounded.to_csv(part, index=False)
    return rounded
