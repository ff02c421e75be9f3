"""A scene, what was found there, and a browser, for tests of maps that people look at."""

import json
import re
import shutil
from io import BytesIO

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from shapely.geometry import box

from rtslib.data.scenes import open_scene

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
#: WebGL by software, and no name but this machine's is found.
FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-background-networking",
         "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]  # fmt: skip
SIZE, CORNER, PIXEL = 200, (500_000.0, 7_700_000.0), 10.0
PATIENCE = 120_000


def on_ground(r0, c0, r1, c1):
    x, y = CORNER
    return box(x + PIXEL * c0, y - PIXEL * r1, x + PIXEL * c1, y - PIXEL * r0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Grass with one bare slump, a strip of nodata on the left, and known slumps."""
    folder = tmp_path_factory.mktemp("scene")
    rgb = np.empty((3, SIZE, SIZE), dtype=np.uint8)
    rgb[:] = np.array([70, 120, 50])[:, None, None] + np.random.default_rng(0).integers(0, 9, (SIZE, SIZE))
    rgb[:, 60:100, 80:140] = np.array([190, 160, 120])[:, None, None]
    rgb[:, :, :20] = 0
    place = {"crs": "EPSG:32608", "transform": Affine(PIXEL, 0, CORNER[0], 0, -PIXEL, CORNER[1])}
    profile = {"driver": "GTiff", "height": SIZE, "width": SIZE, "count": 3, "dtype": "uint8", "nodata": 0}
    with rasterio.open(folder / "rgb.tif", "w", **profile, **place) as d:
        d.write(rgb)
        d.descriptions = ("red", "green", "blue")
    shapes = [on_ground(60, 80, 100, 140), on_ground(150, 30, 170, 60)]
    truth = gpd.GeoDataFrame({"id": [1, 2]}, geometry=shapes, crs="EPSG:32608")
    truth.to_file(folder / "truth.gpkg", layer="truth", driver="GPKG")
    return open_scene(folder)


@pytest.fixture(scope="module")
def detections():
    """The first is right; of the known slumps, the second is missed."""
    shapes = [on_ground(62, 82, 102, 142), on_ground(150, 160, 170, 190), on_ground(20, 100, 40, 120)]
    values = {"id": [1, 2, 3], "score": [0.91, 0.62, 0.35], "area_m2": [240_000.0, 60_000.0, 40_000.0],
              "modalities": "rgb", "valid_rgb": [1.0, 0.52, 1.0], "touches_edge": [False, True, False]}  # fmt: skip
    return gpd.GeoDataFrame(values, geometry=shapes, crs="EPSG:32608")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium")
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


def data_of(page):
    """What the page's scripts read."""
    return json.loads(re.search(r'id="rts-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])


def listening(tab):
    """The requests of a tab that leave the machine, and the errors that it meets, from now on."""
    away, errors = [], []
    local = ("file:", "data:", "blob:", "http://127.0.0.1", "ws://127.0.0.1", "about:")
    tab.on("request", lambda r: away.append(r.url) if not r.url.startswith(local) else None)
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    return away, errors


def opened(browser, address, size=(1400, 800), whole=True):
    """Open a page; return it with the requests that left the machine and the errors it met."""
    tab = browser.new_page(viewport={"width": size[0], "height": size[1]})
    tab.set_default_timeout(PATIENCE)
    away, errors = listening(tab)
    tab.goto(address if isinstance(address, str) else address.as_uri())
    tab.wait_for_function("window.rtsMap !== undefined")
    settle(tab) if whole else tab.wait_for_timeout(1500)
    return tab, away, errors


def settle(frame):
    """Wait until the map of a tab or frame has drawn everything."""
    frame.evaluate("() => new Promise(done => { rtsMap.once('idle', done); rtsMap.triggerRepaint(); })")


def drawn(frame, layer):
    """Ids of the slumps that a layer shows now."""
    return frame.evaluate("id => [...new Set(rtsMap.queryRenderedFeatures({layers: [id]})"
                          ".map(f => f.properties.id))].sort()", layer)  # fmt: skip


def colours(tab, left=270):
    """Share of pixels of the map, beside its panels, that show grass and bare soil."""
    from PIL import Image

    pixels = np.asarray(Image.open(BytesIO(tab.screenshot())).convert("RGB")).astype(int)[:, left:850]
    r, g, b = np.moveaxis(pixels, -1, 0)
    return ((g > r + 20) & (g > b + 20)).mean(), ((r > 150) & (r > b + 30)).mean()


def pixel_of(frame, shape):
    x, y = Transformer.from_crs("EPSG:32608", "EPSG:4326", always_xy=True).transform(*shape.centroid.coords[0])
    p = frame.evaluate("c => rtsMap.project(c)", [x, y])
    return p["x"], p["y"]


def fitted(place, shape):
    """Where a shape lies in a map at `place` (x, y, width, height) that shows the whole scene within 20 px."""
    to_web = Transformer.from_crs("EPSG:32608", "EPSG:3857", always_xy=True)
    west, south, east, north = to_web.transform_bounds(*on_ground(0, 0, SIZE, SIZE).bounds, densify_pts=21)
    x, y = to_web.transform(*shape.centroid.coords[0])
    scale = min((place["width"] - 40) / (east - west), (place["height"] - 40) / (north - south))
    return (place["x"] + place["width"] / 2 + (x - (west + east) / 2) * scale,
            place["y"] + place["height"] / 2 - (y - (south + north) / 2) * scale)  # fmt: skip
