"""ARTS: mapped slumps as a contribution to the data set of Arctic retrogressive thaw slumps.

ARTS is a collection of digitised slumps with one set of columns, in EPSG:3413 (NSIDC polar stereographic north, m).
`to_arts` gives a map these columns, in their order. What it cannot know stays an empty text: how a slump relates to
those already in ARTS (`MergedRTS`, `SplitRTS`, `NewRTS`, `StabilizedRTS`, `UnknownRelationship`), which its curators'
script asks a person about, and `ContributionDate`, the day it joins the main file. `TrainClass` "Positive" means a
genuine slump: give what a person has accepted (`rtslib.mapping.review.apply_review`), not a raw map.

Source: Yang et al. 2025, "A collaborative and scalable geospatial data set for Arctic retrogressive thaw slumps with
data standards", Scientific Data 12, 18. Columns, meaning and order: github.com/whrc/ARTS,
`input_data/Metadata_Format_Summary.csv` at a6611b3, those of ARTS v6.0.0 (the order also in
`Tutorial/minor_dataset_edits.R`; the table in README.md is older and lacks six). CRS, UID, rounding and checks:
`src/ARTS/dataformatting.py` (`preprocessing`, `seed_gen`, `check_*`) and `Tutorial/data_formatting.ipynb` there.
"""

import re
import uuid
from datetime import date

import geopandas as gpd
import numpy as np

from rtslib.data.ground import measure
from rtslib.data.projecting import project
from rtslib.errors import ConfigError, DataError

ARTS_CRS = "EPSG:3413"
#: Fields that ARTS requires, of which the UID is made.
REQUIRED = ("CentroidLat", "CentroidLon", "RegionName", "CreatorLab", "BaseMapDate", "BaseMapSource",
            "BaseMapResolution", "TrainClass", "LabelType")  # fmt: skip
#: Fields that compare a slump with those in ARTS; a map leaves them empty.
RELATIONS = ("MergedRTS", "SplitRTS", "NewRTS", "StabilizedRTS", "UnknownRelationship")
COLUMNS = (*REQUIRED, *RELATIONS, "ContributionDate", "UID", "BaseMapID", "Area", "Notes")


def to_arts(
    detections: gpd.GeoDataFrame, region: str, creator: str, base_map_date: str, base_map_source: str,
    base_map_resolution: float, base_map_id: str = "", notes: str = "", contribution_date: str = "",
) -> gpd.GeoDataFrame:  # fmt: skip
    """Give mapped slumps the columns of ARTS.

    Args:
        detections: polygons in any CRS; `score` and `run_id`, where there, go into `Notes`.
        region: name of the region, as "Banks Island, Inuvik Region, Canada".
        creator: who made it and their organisation, as "TLantz, University of Victoria".
        base_map_date: of the images, YYYY-MM-DD, or two with a comma between for a range.
        base_map_source: satellite sensor, as "PlanetScope".
        base_map_resolution: pixel size of the images, m.
        base_map_id: id of the image, if it was one; notes: further words, the same for all.
        contribution_date: YYYY-MM-DD; empty until it joins the main file.

    Returns:
        `COLUMNS` and geometry, in EPSG:3413, index from 0. `CentroidLat`, `CentroidLon`: float64, degrees (WGS 84),
        five decimals; `BaseMapResolution`: float64, m; `Area`: float64, m2 on the ground (EPSG:3413 has none), one
        decimal; `UID`: UUID 5 (DNS name space) of all required fields in one string, so that two slumps whose
        centroids are less than about a metre apart share one; the rest str.

    Raises:
        ConfigError: a required text is empty, a date is none, or the resolution is not above 0.
        DataError: `detections` has no CRS.
    """
    said = {"RegionName": region, "CreatorLab": creator, "BaseMapDate": base_map_date, "BaseMapSource": base_map_source}
    _check(detections, said, base_map_resolution, contribution_date)
    frame = project(detections, ARTS_CRS, "map").reset_index(drop=True)
    centre = frame.geometry.centroid.to_crs(
        "EPSG:4326"
    )  # taken in metres: degrees fail where a slump meets 180 degrees
    values = {
        **dict.fromkeys(COLUMNS, ""), **said,
        "CentroidLat": centre.y.round(5).to_numpy(), "CentroidLon": centre.x.round(5).to_numpy(),
        "BaseMapResolution": float(base_map_resolution), "TrainClass": "Positive", "LabelType": "Polygon",
        "ContributionDate": contribution_date, "BaseMapID": base_map_id,
        "Area": np.round(measure(detections)[0], 1), "Notes": _notes(detections, notes),
    }  # fmt: skip
    out = frame[["geometry"]].assign(**values)
    out["UID"] = np.array([_uid(row) for row in out[list(REQUIRED)].itertuples(index=False)], dtype=object)
    return out[[*COLUMNS, "geometry"]]


def _uid(required: tuple) -> str:
    """Return the UID of one slump; a whole resolution is written without decimals, as ARTS does."""
    values = dict(zip(REQUIRED, required, strict=True))
    size = values["BaseMapResolution"]
    values["BaseMapResolution"] = int(size) if size == int(size) else size
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "".join(map(str, values.values()))))


def _notes(detections: gpd.GeoDataFrame, notes: str) -> list[str]:
    """Return for each slump that a model mapped it, how sure it was, which run it was, and the notes."""
    rows = [["mapped by a model (rtslib)"] for _ in range(len(detections))]
    if "score" in detections:
        rows = [[*row, f"score {s:.3f}"] for row, s in zip(rows, detections["score"], strict=True)]
    if "run_id" in detections:
        rows = [[*row, f"run {r}"] if r else row for row, r in zip(rows, detections["run_id"], strict=True)]
    return ["; ".join([*row, notes] if notes else row) for row in rows]


def _check(detections: gpd.GeoDataFrame, said: dict[str, str], resolution: float, contributed: str) -> None:
    """Refuse what ARTS would. Raises DataError, ConfigError."""
    if detections.crs is None:
        raise DataError("map", "no CRS", "polygons with a CRS")
    empty = [name for name, text in said.items() if not text.strip()]
    if empty:
        raise ConfigError(f"{', '.join(empty)} is empty: ARTS requires it")
    days = said["BaseMapDate"].split(",")
    for name, text in [
        *(("BaseMapDate", d) for d in days),
        *([("ContributionDate", contributed)] if contributed else []),
    ]:
        if not _is_day(text):
            raise ConfigError(
                f"{name} {text!r}: write YYYY-MM-DD, a range of base map dates as two with a comma between"
            )
    if len(days) > 2 or sorted(days) != days:
        raise ConfigError(f"BaseMapDate {said['BaseMapDate']!r}: give one date, or first and last with a comma between")
    if not 0 < resolution < np.inf:
        raise ConfigError(f"BaseMapResolution {resolution}: give the pixel size in metres, above 0")


def _is_day(text: str) -> bool:
    """Whether a text is a day of the calendar, as YYYY-MM-DD and nothing else."""
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False
