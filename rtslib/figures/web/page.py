"""The interactive map: one HTML file that works from disk, without a server, a kernel or a network.

leafmap (its MapLibre backend) makes the page and inlines MapLibre's script and style from the installed
`maplibre` package. Pictures of the scene are *overlays*: warped to EPSG:3857, where a browser stretches
an image linearly between its corners (in EPSG:4326 it would be off by hundreds of metres), and held in
the file as WebP with transparent nodata. Polygons are GeoJSON in EPSG:4326. There is no base map, since
that would be a request; `rtslib.figures.web.panel` adds layer control, score filter and pop-ups.

The page needs WebGL in the browser, and says so where there is none.
"""

import base64
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio.warp
from affine import Affine
from rasterio.crs import CRS

from rtslib.data.grids import Grid
from rtslib.data.ground import measure
from rtslib.data.projecting import about, project
from rtslib.data.scenes import Scene
from rtslib.errors import OutputError
from rtslib.figures import overview
from rtslib.figures.mercator import LON_LAT, lon_lat, mercator_of
from rtslib.figures.scenes import SCORE_RAMP, TRUTH_COLOUR
from rtslib.figures.web import panel as webpanel
from rtslib.files import write_text

_PANEL = "@@rtslib panel@@"
#: A file's texts get into the page's script, where a `<` could end it (`</script>`): it travels through leafmap as the
#: first and ends as the second, which JavaScript reads as `<`.
_LESS, _SAFE = "\ue000", "\\u003c"


@dataclass(frozen=True)
class Overlay:
    """A picture of the scene for a web map.

    Attributes:
        rgba: uint8 (h, w, 4), north up in EPSG:3857; alpha 0 where there is no data.
        transform: pixel to EPSG:3857 coordinates.
    """

    rgba: np.ndarray
    transform: Affine

    def corners(self) -> list[list[float]]:
        """Return the outer corners as [longitude, latitude], clockwise from the upper left; on beyond 180."""
        h, w = self.rgba.shape[:2]
        places = [self.transform @ p for p in ((0, 0), (w, 0), (w, h), (0, h))]
        return [lon_lat(x, y) for x, y in places]

    def data_uri(self) -> str:
        """Return the picture as a WebP data URI (quality 85, lossless alpha)."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.rgba).save(buffer, "WEBP", quality=85, method=4)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def make_overlay(values: np.ndarray, transform: Affine, crs: object, longest: int = 2048) -> Overlay:
    """Warp a picture to EPSG:3857, whose coordinates go on beyond 180 degrees for a picture that lies across.

    Args:
        values: float32 (3, h, w) colour or (1, h, w) grey, NaN = nodata.
        transform, crs: of `values`.
        longest: px of the longer side, at most.

    Raises:
        DataError: it reaches nearer to a pole than EPSG:3857 does.
    """
    h, w = values.shape[1:]
    target, moved = mercator_of(Grid(CRS.from_user_input(crs), transform, h, w))
    (left, top), (right, bottom) = transform @ (0, 0), transform @ (w, h)
    source = CRS.from_user_input(crs)
    out, width, height = rasterio.warp.calculate_default_transform(source, target, w, h, left, bottom, right, top)
    k = max(width, height) / longest
    if k > 1:
        out, width, height = out @ Affine.scale(k), int(width / k), int(height / k)
    warped = np.full((len(values), height, width), np.nan, dtype=np.float32)
    rasterio.warp.reproject(
        values, warped, src_transform=transform, src_crs=source, src_nodata=np.nan, dst_transform=out,
        dst_crs=target, dst_nodata=np.nan, resampling=rasterio.warp.Resampling.bilinear,
    )  # fmt: skip
    return Overlay(overview.to_rgba(warped, *overview.limits(values)), moved @ out)


def write_webmap(
    scene: Scene, detections: gpd.GeoDataFrame, path: str | Path, title: str = "Thaw slumps", least: float = 0.3,
    overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write the interactive map of a mapped scene, whole or not at all.

    Args:
        scene: the opened scene; its truth is shown if known.
        detections: what `rtslib.mapping.maps.map_region` returned.
        path: HTML file to write.
        title: heading of the panel.
        least: lower end of the score ramp and of the filter; the upper end is 1.
        overwrite: replace an existing file.

    Returns:
        `path`. The file makes no request when opened.

    Raises:
        OutputError: it exists, or cannot be written.
        DataError: the scene's pixels cannot be read.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: choose another name, or allow overwriting")
    write_text(path, _page(scene, detections, title, least))
    return path


def inline(path: str | Path, height: int = 620) -> Any:
    """Return a saved map for display in a notebook, in a frame that holds the whole page.

    Nothing is loaded from beside the notebook, so it may be moved. A notebook that JupyterLab does not
    trust shows an empty frame: keep a static figure next to it.
    """
    from IPython.display import HTML

    page = html.escape(Path(path).read_text(encoding="utf-8"), quote=True)
    style = f"width:100%;height:{height}px;border:1px solid #cfd8dc;border-radius:6px"
    return HTML(f'<div><iframe style="{style}" title="map" srcdoc="{page}"></iframe></div>')


def geojson(frame: gpd.GeoDataFrame, what: str, middle: float = 0.0) -> dict:
    """Return polygons as GeoJSON in EPSG:4326 (1e-6 degrees, on beyond 180), with the texts of their pop-ups.

    Args:
        frame: polygons in any CRS; columns of `rtslib.mapping.polygons.to_polygons` are shown if there.
        what: the word before the number, such as "Detection".
        middle: longitude about which they are to lie, as the picture does.

    Returns:
        A FeatureCollection; properties `title`, `text` (lines) and, if known, `score`.
    """
    area, perimeter = measure(frame)
    shapes = about(project(frame, LON_LAT), middle).geometry.set_precision(1e-6, mode="pointwise")
    features = []
    for i, shape in enumerate(shapes):
        row = frame.iloc[i]
        lines = [f"area {_hectares(area[i])}", f"perimeter {perimeter[i]:,.0f} m"]
        properties: dict[str, Any] = {"title": f"{what} {row.get('id', i + 1)}"}
        if "score" in frame:
            properties["score"] = round(float(row["score"]), 4)
            lines.insert(0, f"score {row['score']:.2f}")
        if row.get("touches_edge", False):
            lines.append("cut by the edge of the scene")
        properties["text"] = "\n".join(lines)
        features.append({"type": "Feature", "properties": properties, "geometry": shape.__geo_interface__})
    return {"type": "FeatureCollection", "features": features}


def _hectares(square_metres: float) -> str:
    """Format an area for reading: m2 below a hectare, else ha."""
    return f"{square_metres:,.0f} m²" if square_metres < 10_000 else f"{square_metres / 10_000:,.2f} ha"


def _page(scene: Scene, detections: gpd.GeoDataFrame, title: str, least: float) -> str:
    """Return the whole HTML page."""
    from leafmap import maplibregl

    overlays = {}
    for name, bands in (overview.pictures(scene.stack) or {scene.stack.bands[0]: scene.stack.bands[:1]}).items():
        overlays[name] = make_overlay(*overview.read_overview(scene.stack, bands), scene.stack.crs)
    corners = np.array(next(iter(overlays.values())).corners())
    style = {"version": 8, "sources": {}, "layers": [
        {"id": "ground", "type": "background", "paint": {"background-color": "#dfe5e8"}}]}  # fmt: skip
    controls = {"navigation": "top-right", "fullscreen": "top-right", "scale": "bottom-right"}
    m = maplibregl.Map(
        center=corners.mean(axis=0).tolist(), zoom=9, style=style, controls=controls, use_message_queue=True,
        bounds=corners[[3, 1]].ravel().tolist(), fit_bounds_options={"padding": 20},
        attribution_control=False, add_sidebar=False, add_floating_sidebar=False,
    )  # fmt: skip
    groups = [_add_overlay(m, name, o, visible=not k) for k, (name, o) in enumerate(overlays.items())]
    groups += _add_polygons(m, scene, detections, least, float(corners[:, 0].mean()))
    spec = {
        "title": title, "groups": groups, "least": least, "ramp": SCORE_RAMP,
        "scores": [round(float(s), 4) for s in detections["score"]],
        "scored": [webpanel.FILL, webpanel.LINE],
        "clickable": [i for g in groups if not g["radio"] for i in g["layers"] if i.endswith("-fill")],
    }  # fmt: skip
    m.add_call("once", "render", _PANEL)
    return _with_panel(m.to_html(title=html.escape(title)), spec)


def _add_overlay(m: Any, name: str, overlay: Overlay, visible: bool) -> dict:
    """Add a picture; return its entry in the panel."""
    layer = name.lower().replace(" ", "-")
    m.add_source(layer, {"type": "image", "url": overlay.data_uri(), "coordinates": overlay.corners()})
    paint = {"raster-fade-duration": 0}
    m.add_layer({"id": layer, "type": "raster", "source": layer, "paint": paint}, visible=visible)
    return {"name": name, "layers": [layer], "radio": True, "visible": visible}


def _add_polygons(m: Any, scene: Scene, detections: gpd.GeoDataFrame, least: float, x: float) -> list[dict]:
    """Add detections and known slumps; return their entries in the panel."""
    middle, top = (least + 1) / 2, 1.0
    ramp = ["interpolate", ["linear"], ["get", "score"], *sum(zip((least, middle, top), SCORE_RAMP, strict=True), ())]
    groups = [("Detection", detections, (webpanel.FILL, webpanel.LINE), SCORE_RAMP[1], False)]
    if scene.truth is not None:
        groups.append(("Known slump", scene.truth, (webpanel.TRUTH_FILL, webpanel.TRUTH_LINE), TRUTH_COLOUR, True))
    entries = []
    for name, frame, (fill, line), colour, dashed in groups:
        source = fill.removesuffix("-fill")
        data = json.loads(json.dumps(geojson(frame, name, x)).replace("<", _LESS))
        m.add_source(source, {"type": "geojson", "data": data})
        shown = colour if dashed else ramp
        m.add_layer({"id": fill, "type": "fill", "source": source, "paint": {"fill-color": shown}},
                    opacity=0 if dashed else 0.18)  # fmt: skip
        paint = {"line-color": shown, "line-width": 1.6, "line-dasharray": [3, 2]}
        if not dashed:
            paint = {"line-color": shown, "line-width": 2.4}
        m.add_layer({"id": line, "type": "line", "source": source, "paint": paint})
        entries.append({"name": f"{name}s", "layers": [fill, line], "radio": False, "visible": True,
                        "colour": colour, "dashed": dashed})  # fmt: skip
    return entries


def _with_panel(page: str, spec: dict) -> str:
    """Put the panel's style and script into leafmap's page."""
    mark = json.dumps(_PANEL)
    if page.count(mark) != 1 or page.count("</head>") + page.count("<body>") < 1:
        raise OutputError("leafmap's page has another form than the map needs: install the locked versions")
    script = webpanel.SCRIPT[webpanel.SCRIPT.index("(map, spec)") :].strip()
    call = f"(e) => ({script})(e.target, {json.dumps(spec).replace('<', _SAFE)})"
    page = page.replace(json.dumps(_LESS)[1:-1], _SAFE).replace(mark, call)
    head = f"<style>\n{webpanel.STYLE}</style>\n<script>\n{webpanel.CHECK}</script>\n"
    return page.replace("<body>", f"{head}<body>", 1)
