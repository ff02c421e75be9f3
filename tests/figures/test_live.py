"""The map in notebooks: live in JupyterLab, both as a page and as a leafmap map, and in the executed notebook."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import nbformat
import pytest
from pyproj import Transformer

from helpers.pages import PATIENCE, browser, detections, drawn, listening, on_ground, pixel_of, scene, settle  # noqa: F401
from rtslib.figures import leafmap_map, write_webmap

EVIL = "<img src=x onerror='window.hacked=1'>"
CELLS = (
    "from rtslib.figures import inline\ninline('map.html')",
    "import geopandas as gpd\nfrom rtslib.data.scenes import open_scene\nfrom rtslib.figures import leafmap_map\n"
    "m = leafmap_map(open_scene('scene'), gpd.read_file('found.gpkg'))\nm",
    "m.add_geojson(gpd.read_file('own.gpkg').to_crs(4326).__geo_interface__, name='own', fit_bounds=False)\n"
    "m.to_html('live.html')",
)

#: Of the scene, in EPSG:3857.
BOUNDS = Transformer.from_crs("EPSG:32608", "EPSG:3857", always_xy=True).transform_bounds(
    500_000, 7_698_000, 502_000, 7_700_000, densify_pts=21
)


def clicked(page, box, shape):
    """Click on a slump in a map that shows the whole scene within 20 px; return the text of the pop-up."""
    to_web = Transformer.from_crs("EPSG:32608", "EPSG:3857", always_xy=True)
    west, south, east, north = BOUNDS
    x, y = to_web.transform(*shape.centroid.coords[0])
    scale = min((box["width"] - 40) / (east - west), (box["height"] - 40) / (north - south))
    page.mouse.click(box["x"] + box["width"] / 2 + (x - (west + east) / 2) * scale,
                     box["y"] + box["height"] / 2 - (y - (south + north) / 2) * scale)  # fmt: skip
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


@contextmanager
def lab(folder):
    """A JupyterLab of its own over a folder, on a free port; yields its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    private = {f"JUPYTER_{k}_DIR": str(folder / ".jupyter" / k) for k in ("CONFIG", "DATA", "RUNTIME")}
    private |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".jupyter" / "settings"),
        "IPYTHONDIR": str(folder / ".ipython"),
    }
    toast = folder / ".jupyter" / "settings" / "@jupyterlab" / "apputils-extension"
    toast.mkdir(parents=True)
    (toast / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}",
               "--ServerApp.token=t", f"--ServerApp.root_dir={folder}",
               "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(command, env=os.environ | private, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=t", timeout=5)
                break
            except OSError:
                assert process.poll() is None, (folder / "lab.log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/map.ipynb?token=t"
    finally:
        process.terminate()
        process.wait(30)


def wait_until(true):
    """Wait for something to become true on this side."""
    until = time.monotonic() + PATIENCE / 1000
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.5)


def map_frame(tab):
    """The frame of a tab that holds the map page, once it is there."""
    tab.locator("iframe[title=map]").wait_for()
    frame = tab.locator("iframe[title=map]").element_handle().content_frame()
    frame.wait_for_function("window.rtsMap !== undefined")
    settle(frame)
    return frame


def check_frame(tab, detections):
    """All slumps are drawn in the frame, and a click opens the right one."""
    tab.locator("iframe[title=map]").scroll_into_view_if_needed()
    frame = map_frame(tab)
    assert drawn(frame, "detections-fill") == ["1", "2", "3"]
    x, y = pixel_of(frame, detections.geometry[1])
    box = tab.locator("iframe[title=map]").bounding_box()
    tab.mouse.click(box["x"] + x, box["y"] + y)
    assert frame.locator("#rts-popup h2").inner_text() == "Detection 2"


def test_live_in_jupyterlab(browser, scene, detections, tmp_path):
    """The notebook is saved with the page in it, in a frame whose drawing `test_page` checks."""
    write_webmap(scene, detections, tmp_path / "map.html")
    (tmp_path / "scene").symlink_to(scene.folder)
    detections.to_file(tmp_path / "found.gpkg")
    detections[:1].set_geometry([on_ground(110, 150, 130, 190)]).to_file(tmp_path / "own.gpkg")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(book, tmp_path / "map.ipynb")
    with lab(tmp_path) as address:
        tab = browser.new_page(viewport={"width": 1500, "height": 1000})
        tab.set_default_timeout(3 * PATIENCE)
        away, errors = listening(tab)
        tab.goto(address)
        tab.wait_for_function("""() => {
          const panel = window.jupyterapp?.shell.currentWidget;  // the mark of an idle kernel comes before its session
          return panel?.context?.isReady && panel.content?.widgets?.length === 3
            && panel.sessionContext?.isReady && panel.sessionContext.session?.kernel?.status === "idle";
        }""")
        tab.evaluate(
            "() => { jupyterapp.commands.execute('notebook:run-all-cells'); }"
        )  # its promise is not waited for
        tab.wait_for_function("jupyterapp.shell.currentWidget.content.widgets[2].model.executionCount === 3")
        check_frame(tab, detections)
        widget = tab.locator(".jp-OutputArea .maplibregl-map")
        widget.wait_for()
        widget.scroll_into_view_if_needed()
        tab.wait_for_timeout(4000)
        texts = [clicked(tab, widget.bounding_box(), shape) for shape in detections.geometry]
        assert all(f"Detection {k}\nscore" in text for k, text in enumerate(texts, 1))
        assert clicked(tab, widget.bounding_box(), on_ground(110, 150, 130, 190))  # added live, by the third cell
        tab.evaluate("() => { jupyterapp.commands.execute('docmanager:save'); }")
        wait_until(lambda: "srcdoc" in (tmp_path / "map.ipynb").read_text())
        assert away == [] and errors == [], (away, errors)
        tab.close()
    assert (tmp_path / "live.html").exists()
