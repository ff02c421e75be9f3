"""The map as a leafmap `Map`, which a notebook user goes on working with: add layers, draw, export.

It has the pictures and slumps of the map page and its colours, but no table and no review; `m.add_geojson`,
`m.add_draw_control`, `m.draw_feature_collection_all`, `m.to_html` and all else are leafmap's (its MapLibre backend).
There is no base map unless the user adds one, so it makes no request.
"""

from pathlib import Path
from typing import Any

import geopandas as gpd
import shapely
from leafmap import maplibregl

from rtslib.data.scenes import Scene
from rtslib.figures.web.page import describe

#: How Mustache, which escapes what it fills in, shows a slump in its pop-up.
_POPUP = {
    "Detections": "<b>Detection {{id}}</b><br>score {{score}}<br>{{area}} m²<br>{{verdict}} {{match}}",
    "Known slumps": "<b>Known slump {{id}}</b><br>{{area}} m²<br>{{verdict}}",
}


class SlumpMap(maplibregl.Map):
    """leafmap's map, which also exports (`to_html`) what was added after it was shown first."""

    _kept: list | None = None

    def add_call(self, method_name: str, *args: Any) -> None:
        """Call a method of the map in the browser, and remember it."""
        if self._kept is None:
            self._kept = []
        self._kept.append([method_name, args])
        super().add_call(method_name, *args)

    def to_dict(self) -> dict:
        """Return options and calls for `to_html`."""
        return {"mapOptions": self.map_options, "calls": self._kept or []}


def leafmap_map(
    scene: Scene, detections: gpd.GeoDataFrame, least: float = 0.3, *, area: shapely.Geometry | None = None,
    folder: str | Path | None = None, height: str = "600px",
) -> SlumpMap:  # fmt: skip
    """Return a mapped scene as a leafmap map.

    Args:
        scene, detections, least, area, folder: as in `rtslib.figures.web.page.write_webmap`.
        height: of the map in the notebook, CSS.

    Returns:
        The map; its layers are the pictures, of which the first is visible, `Detections`, `Known slumps` and `Area of
        interest`, each of these with its outlines in a layer of its own (`... outline`).

    Raises:
        DataError: the scene's pixels, or a file of `folder`, cannot be read.
    """
    spec = describe(scene, detections, least, area, folder)
    west, south, east, north = spec["bounds"]
    style = {"version": 8, "sources": {}, "layers": [
        {"id": "ground", "type": "background", "paint": {"background-color": "#dfe5e8"}}]}  # fmt: skip
    m = SlumpMap(
        center=((west + east) / 2, (south + north) / 2), zoom=9, style=style, height=height, add_sidebar=False,
        controls={"navigation": "top-right", "fullscreen": "top-right", "scale": "bottom-right"},
        bounds=(west, south, east, north), fit_bounds_options={"padding": 20}, attribution_control=False,
        add_floating_sidebar=False,
    )  # fmt: skip
    for k, picture in enumerate(spec["pictures"]):
        name = picture["name"]
        m.add_source(name, {"type": "image", "url": picture["url"], "coordinates": picture["coordinates"]})
        m.add_layer({"id": name, "type": "raster", "source": name}, visible=not k)
    ramp, low, high = spec["ramp"], spec["least"], spec["best"]
    stops = [v for k, c in enumerate(ramp) for v in (low + (high - low) * k / (len(ramp) - 1), c)]
    by_score = ["interpolate", ["linear"], ["get", "score"], *stops]
    looks = [("Area of interest", spec["area"], "#ffffff", 0.0, {}),
             ("Known slumps", spec["truth"], spec["truth_colour"], 0.0, {"line-dasharray": [3, 2]}),
             ("Detections", spec["detections"], by_score, 0.18, {})]  # fmt: skip
    for name, data, colour, opacity, dash in looks:
        if data is None:
            continue
        m.add_source(name, {"type": "geojson", "data": data})
        fill: dict[str, Any] = {"id": name, "type": "fill", "source": name, "paint": {"fill-color": colour}}
        if name == "Known slumps":  # one that was found is told of by its detection
            fill["filter"] = ["==", ["get", "verdict"], "missed"]
        m.add_layer(fill, opacity=opacity)
        paint: dict[str, Any] = {"line-color": colour, "line-width": 2, **dash}
        m.add_layer({"id": f"{name} outline", "type": "line", "source": name, "paint": paint})
        if name in _POPUP:
            m.add_popup(name, template=_POPUP[name])
    m.add_call("resize")  # a notebook makes the map before its cell has a size, and fits the bounds to a default
    m.fit_bounds([[west, south], [east, north]], {"padding": 20, "animate": False})
    return m
