"""The map as a leafmap map, exported to a page; `test_lab` has it, and the page in a frame, in JupyterLab."""

from dataclasses import replace

import pytest

from helpers.pages import PATIENCE, browser, detections, fitted, listening, on_ground, scene  # noqa: F401
from rtslib.figures import leafmap_map

EVIL = "<img src=x onerror='window.hacked=1'>"


def clicked(page, box, shape):
    """Click on a slump in a map that shows the whole scene within 20 px; return the text of the pop-up."""
    page.mouse.click(*fitted(box, shape))
    page.locator(".maplibregl-popup-content").wait_for()
    text = page.locator(".maplibregl-popup-content").inner_text()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 4)  # beside the scene
    return text


def exported(browser, path):
    """Open an exported leafmap map; returns the tab, the place of the map, and what went wrong."""
    tab = browser.new_page(viewport={"width": 1000, "height": 700})
    tab.set_default_timeout(PATIENCE)
    away, errors = listening(tab)
    tab.goto(path.as_uri())
    tab.locator("canvas").wait_for()
    tab.wait_for_timeout(4000)
    return tab, tab.locator(".maplibregl-map").bounding_box(), away, errors


def test_a_leafmap_map_is_exported_with_what_was_added(browser, scene, detections, tmp_path):
    """The slumps, and a layer that was added after the map was shown; a text of a file stays a text."""
    found = detections.assign(id=["1", EVIL, "3"])
    m = leafmap_map(scene, found)
    assert {"True colour", "Detections", "Detections outline", "Known slumps"} <= set(m.get_layer_names())
    m._rendered = True  # as the browser says when it has drawn the map
    own = found[:1].set_geometry([on_ground(110, 150, 130, 190)]).to_crs("EPSG:4326").__geo_interface__
    m.add_geojson(own, name="own", fit_bounds=False)
    m.to_html(str(tmp_path / "m.html"))
    tab, box, away, errors = exported(browser, tmp_path / "m.html")
    texts = [clicked(tab, box, shape) for shape in detections.geometry]
    assert "Detection 1\nscore 0.91" in texts[0] and f"Detection {EVIL}" in texts[1] and "Detection 3" in texts[2]
    assert clicked(tab, box, on_ground(110, 150, 130, 190))
    assert tab.evaluate("() => window.hacked") is None and away == [] and errors == []
    tab.close()
    m = leafmap_map(replace(scene, truth=None), detections.set_geometry(detections.translate(200_000, 0)))
    m.to_html(str(tmp_path / "far.html"))  # a negative control
    tab, box, *_ = exported(browser, tmp_path / "far.html")
    tab.set_default_timeout(3000)
    with pytest.raises(Exception, match="Timeout"):
        clicked(tab, box, detections.geometry[0])
    tab.close()
