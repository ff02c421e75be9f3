"""The mapping step of the workbook: which scene to map, and what to write down about the map.

A scene has to be ground that no run of the study was trained on. For the embedded landscape it is a new one;
for georeferenced chips it is the mosaic of a site that the split holds out for testing. Chips without
georeference make no map.
"""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rtslib.data.scenes import Scene, mosaic_group, open_scene
from rtslib.errors import DataError
from rtslib.evaluation.polygons import match_polygons
from rtslib.files import whole
from rtslib.mapping.polygons import PROVENANCE
from rtslib.study import study

if TYPE_CHECKING:
    import geopandas as gpd

    from rtslib.data.chips import ChipSet


def why_no_scene(chipset: "ChipSet", data: str) -> str:
    """Return in one sentence why there is no scene to map; empty where there is one."""
    if not data or all(c.crs for c in chipset.chips):
        return ""
    return (
        f"The chips of this data set (layout {chipset.layout}) have no georeference: nobody knows where they "
        "lie, and there is no scene that its models fit, so the map is skipped. It is made for the embedded "
        "landscape, for georeferenced chips, and by `python -m rtslib map` for any scene of yours."
    )


def hold_out_site(chipset: "ChipSet", split: pd.DataFrame) -> pd.DataFrame:
    """Put the largest georeferenced site on the test side of a split, so that it can be mapped.

    The other test sites stay, so that scores do not judge one place only.

    Args:
        chipset, split: as from `rtslib.data.splits.split_by_group`.

    Returns:
        A changed copy; an equal one where no site lies in one CRS, or the largest is on the test side.
    """
    sites = {c.group: set() for c in chipset.chips}
    for c in chipset.chips:
        sites[c.group].add(c.crs)
    sizes = split["group"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    mappable = [g for g in sizes.index if len(sites[g]) == 1 and None not in sites[g]]
    out = split.copy()
    if mappable:
        out.loc[out["group"] == mappable[0], "side"] = "test"
    return out


def held_out_group(chipset: "ChipSet", split: pd.DataFrame) -> str:
    """Return the site with most chips, all of one CRS, among those on the test side of a split.

    Raises:
        DataError: every site on the test side lies in several CRSs, or there is none.
    """
    best, most = "", 0
    for group in sorted(set(split.loc[split["side"] == "test", "group"])):
        chips = [c for c in chipset.chips if c.group == group]
        if len({c.crs for c in chips}) == 1 and len(chips) > most:
            best, most = group, len(chips)
    if not best:
        raise DataError(chipset.root, "no site of one CRS on the test side", "at least one")
    return best


def study_scene(chipset: "ChipSet", split: pd.DataFrame, data: str, profile: str, seed: int) -> tuple[Scene, str]:
    """Make the scene that a study maps, afresh, in `scratch/scenes`.

    Args:
        chipset, split: as from `rtslib.study.study.prepare`.
        data, profile, seed: the notebook's parameters; with an empty `data` the scene is synthetic.

    Returns:
        The scene, and its name for titles.

    Raises:
        DataError: see `held_out_group` and `rtslib.data.scenes.mosaic_group`.
        OutputError: `scratch/` cannot be written.
    """
    from rtslib.synthetic.scene import write_scene

    name = f"{chipset.root.name}-{profile}" if data else f"synthetic-{profile}-seed{seed}"
    folder = Path(
        os.path.relpath(study.ROOT / "scratch" / "scenes" / name)
    )  # no manifest should name this machine's paths
    shutil.rmtree(folder, ignore_errors=True)
    if data:
        group = held_out_group(chipset, split)
        return open_scene(mosaic_group(chipset, group, folder)), f"{chipset.root.name}, group {group}"
    write_scene(folder, study.settings(profile)["scene"], seed)
    return open_scene(folder), f"synthetic landscape, seed {seed}"


def window_of(chipset: "ChipSet") -> int:
    """Return the window to map with, px: the longest side of a chip as a multiple of 32, from 256 to 512.

    Larger windows than the chips trained on do no harm (context helps), smaller ones cut more slumps.
    """
    side = max(max(c.height, c.width) for c in chipset.chips)
    return min(max(-(-side // 32) * 32, 256), 512)


def provenance(run: str | Path, image_date: str = "") -> dict[str, str]:
    """Return what tells the polygons of this run's model from others (`rtslib.mapping.polygons.PROVENANCE`). Raises DataError."""
    from rtslib.files import sha256
    from rtslib.training.runs import read_run

    key = read_run(run).get("key", "")
    return {"run_id": key[:12], "model_sha256": sha256(Path(run) / "model.pt"), "image_date": image_date}


def map_table(detections: "gpd.GeoDataFrame", scene: Scene, iou: float = 0.5) -> pd.DataFrame:
    """Return the map as a table, one row a detection.

    Returns:
        Columns of `rtslib.mapping.polygons.to_polygons` but the provenance, which is one for all rows, `lon` and `lat` of a point inside (degrees, WGS 84) and,
        where the truth is known, `matches`: id (or row number from 1) of the known slump it matches, if any.
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
