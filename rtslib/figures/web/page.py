"""The interactive map: one HTML file that works from disk, in a notebook and in a frame, without server or network.

The page holds MapLibre's script and style, taken from the installed `maplibre` package, this folder's own (`PARTS`),
and one block of JSON with pictures (`rtslib.figures.web.overlays`) and slumps (`rtslib.figures.web.slumps`). There is
no base map, since that would be a request. It needs WebGL in the browser, and says so where there is none.

A notebook shows the page in a frame that holds it whole (`srcdoc`). Such a frame has no address; MapLibre's worker,
which does have one, tells friend from foe by address and would draw no polygon. What both do have is the origin of the
page around them (`self.origin`), so the script compares that instead.
"""

import html
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from rtslib.data.projecting import about, project
from rtslib.data.scenes import Scene
from rtslib.errors import OutputError
from rtslib.figures.mercator import LON_LAT
from rtslib.figures.scenes import TRUTH_COLOUR
from rtslib.figures.style import FALSE_ALARM, HIT, MISSED
from rtslib.figures.web.overlays import pictures
from rtslib.figures.web.slumps import detections_as_features, truth_as_features
from rtslib.files import read_json, write_text
from rtslib.mapping.decisions import digest
from rtslib.mapping.probability import PROBABILITY_FILE
from rtslib.mapping.review import REVIEW, read_review
from rtslib.mapping.styles import SCORE_RAMP
from rtslib.mapping.totals import TOTALS, as_text

#: Scripts of the page in the order in which they run.
PARTS = ("tools.js", "pictures.js", "slumps.js", "popup.js", "review.js", "table.js", "furniture.js", "main.js")
#: Colours of verdicts, those of the figures. Their lines differ as well.
VERDICTS = {"hit": HIT[0], "false alarm": FALSE_ALARM[0], "missed": MISSED[0]}


def write_webmap(
    scene: Scene, detections: gpd.GeoDataFrame, path: str | Path, title: str = "Thaw slumps", least: float = 0.3,
    overwrite: bool = False, *, area: shapely.Geometry | None = None, folder: str | Path | None = None,
) -> Path:  # fmt: skip
    """Write the interactive map of a mapped scene, whole or not at all.

    Args:
        scene: the opened scene; its truth is shown if known.
        detections: what `rtslib.mapping.maps.map_region` returned.
        path: HTML file to write.
        title: heading of the panel.
        least: lower end of the score ramp and of the filter; the upper end is the best score.
        overwrite: replace an existing file.
        area: area of interest in the scene's CRS, to be outlined.
        folder: of the finished map; its totals, its mask probability and its reviewer's decisions are shown, too.

    Returns:
        `path`. The file makes no request when opened.

    Raises:
        OutputError: it exists, or cannot be written.
        DataError: the scene's pixels, or a file of `folder`, cannot be read; or the scene reaches nearer to a pole than
            a web map does.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: choose another name, or allow overwriting")
    spec = describe(scene, detections, least, area, folder)
    write_text(path, _page({"title": title, **spec}))
    return path


def inline(path: str | Path, height: int = 620) -> Any:
    """Return a saved map for display in a notebook, in a frame that holds the whole page.

    Nothing is loaded from beside the notebook, so it may be moved. A notebook that JupyterLab does not
    trust shows an empty frame: keep a static figure next to it.
    """
    from IPython.display import HTML

    page = html.escape(Path(path).read_text(encoding="utf-8"), quote=True)
    style = f"width:100%;height:{height}px;border:1px solid #cfd8dc;border-radius:6px"
    return HTML(f'<div><iframe style="{style}" title="map" allow="fullscreen" srcdoc="{page}"></iframe></div>')


def describe(
    scene: Scene, detections: gpd.GeoDataFrame, least: float, area: shapely.Geometry | None = None,
    folder: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what a map shows, as JSON can hold it: pictures, slumps, colours. Arguments as in `write_webmap`."""
    folder = None if folder is None else Path(folder)
    detections = detections.reset_index(drop=True)
    probability = folder / PROBABILITY_FILE if folder is not None and (folder / PROBABILITY_FILE).exists() else None
    overlays, truth = pictures(scene.stack, probability), scene.truth
    (west, north), _, (east, south), _ = overlays[0]["coordinates"]
    best = float(detections["score"].max()) if len(detections) else 1.0
    modalities = {m for text in detections.get("modalities", ()) for m in str(text).split("+") if m}
    middle = (west + east) / 2
    shape = None
    if area is not None:
        there = project(gpd.GeoDataFrame(geometry=[area], crs=scene.stack.crs), LON_LAT)
        shape = about(there, middle).geometry.iloc[0]
    return {
        "about": _about(detections, folder), "bounds": [west, south, east, north], "pictures": overlays,
        "detections": detections_as_features(detections, truth, middle),
        "truth": None if truth is None else truth_as_features(truth, detections, middle),
        "area": None if shape is None else shape.__geo_interface__,
        "least": least, "best": max(round(best, 4), least + 0.01), "ramp": SCORE_RAMP, "truth_colour": TRUTH_COLOUR,
        "verdicts": VERDICTS,
        "modalities": max(len(modalities), sum(c.startswith("valid_") for c in detections.columns)),
        "digest": digest(detections), "decisions": _decided(folder),
    }  # fmt: skip


def _about(detections: gpd.GeoDataFrame, folder: Path | None) -> list[str]:
    """Return lines on the map: model, date, totals."""
    said = [str(detections[c].iloc[0]) if c in detections and len(detections) else "" for c in ("run_id", "image_date")]
    made = [f"{what} {value}" for what, value in zip(("model", "images of"), said) if value]
    counted = [as_text(read_json(folder / TOTALS))] if folder is not None and (folder / TOTALS).exists() else []
    count = f"{len(detections)} slumps on the map"
    return [*([", ".join(made)] if made else []), "; ".join([count, *counted])]


def _decided(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Return the decisions that a map's `review.gpkg` holds, by id."""
    if folder is None or not (folder / REVIEW).exists():
        return {}
    rows = read_review(folder / REVIEW)
    rows = rows[rows["id"].notna() & (rows["accepted"].notna() | (rows["comment"] != ""))]
    return {
        str(r.id): {"accepted": None if pd.isna(r.accepted) else bool(r.accepted), "comment": r.comment,
                    "reviewer": r.reviewer}
        for r in rows.itertuples()
    }  # fmt: skip


def _page(spec: dict[str, Any]) -> str:
    """Return the whole HTML page."""
    own = Path(__file__).parent
    theirs = Path(find_spec("maplibre").origin).parent / "srcjs"  # found, not imported: that would take its time
    library = (theirs / "maplibre-gl.js").read_text("utf-8")
    if "location.origin" not in library:
        raise OutputError("MapLibre's script has another form than the map needs: install the locked version")
    library = library.replace("location.origin", "self.origin")
    styles = "\n".join([(theirs / "maplibre-gl.css").read_text("utf-8"), (own / "page.css").read_text("utf-8")])
    scripts = "\n".join((own / name).read_text("utf-8") for name in PARTS)
    data = json.dumps(spec, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")  # no text ends a script
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(spec["title"])}</title>
<style>
{styles}
</style>
</head>
<body>
<script type="application/json" id="rts-data">{data}</script>
<script>
{library}
</script>
<script>
{scripts}
</script>
</body>
</html>
"""
