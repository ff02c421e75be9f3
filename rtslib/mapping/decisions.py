"""Decisions: what a reviewer said in the map page (`map.html`), as the file that the page saves.

    {"map": "1f0c...", "decisions": [{"id": "8", "accepted": true, "comment": "", "reviewer": ""}, ...]}

`map` is the *digest* of the detections that the page showed: decisions count for their map only, as another one numbers
its slumps anew. `accepted` is true, false, or null where there is a comment only.
"""

import hashlib
from pathlib import Path
from typing import Literal

import geopandas as gpd
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from rtslib.errors import DataError


class Decision(BaseModel):
    """What was said of one detection."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str
    accepted: Literal[True, False] | None
    comment: str
    reviewer: str


class Decisions(BaseModel):
    """What was said of the detections of one map."""

    model_config = ConfigDict(extra="forbid", strict=True)
    map: str
    decisions: list[Decision]


def digest(detections: gpd.GeoDataFrame) -> str:
    """Return what tells one map from another: 16 hex digits of the SHA-256 of ids, scores and areas (m2).

    Args:
        detections: rows with `score`, and `id` and `area_m2` if known, in any order.
    """
    columns = [detections[c].astype(str) for c in ("id",) if c in detections]
    columns += [detections[c].map("{:.6g}".format) for c in ("score", "area_m2") if c in detections]
    rows = sorted(" ".join(row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def read_decisions(path: str | Path) -> Decisions:
    """Read a file of decisions. Raises DataError: it cannot be read, or is none."""
    try:
        return Decisions.model_validate_json(Path(path).read_bytes())
    except OSError as e:
        raise DataError(path, f"unreadable: {e.strerror}", "decisions, as the map page saves them") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"]))
        found = f"{where}: {first['msg']}" if where else first["msg"]
        raise DataError(path, found, "decisions, as the map page saves them") from e


def decide(review: gpd.GeoDataFrame, path: str | Path) -> gpd.GeoDataFrame:
    """Return a review with the decisions of a file; it wins where both say something.

    Args:
        review: as from `rtslib.mapping.review.read_review`.
        path: of the file.

    Raises:
        DataError: the file cannot be read, is of another map, or decides of a slump twice or of none.
    """
    said = read_decisions(path)
    of_map = review[review["id"].notna()]  # what a reviewer drew was not in the page
    if said.map != digest(of_map):
        raise DataError(path, f"decisions of another map ({said.map})", f"of this one ({digest(of_map)})")
    ids = [d.id for d in said.decisions]
    rows = dict(zip(of_map["id"].astype(str), of_map.index))
    wrong = [i for k, i in enumerate(ids) if i not in rows or i in ids[:k]]
    if wrong:
        raise DataError(path, f"detection {wrong[0]!r} twice, or not in this map", "each detection once")
    out, at = review.copy(), [rows[i] for i in ids]
    out.loc[at, "accepted"] = pd.array([d.accepted for d in said.decisions], dtype="boolean")
    for name in ("comment", "reviewer"):
        out.loc[at, name] = [getattr(d, name) for d in said.decisions]
    return out
