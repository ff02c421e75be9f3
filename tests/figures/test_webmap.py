"""The maps for people: overlay and outlines lie where they should, and the page works without a network."""

import json
import re
import shutil
import tracemalloc
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from shapely.geometry import box

from rtslib.data.scenes import open_scene
from rtslib.errors import OutputError
from rtslib.figures import overview
from rtslib.figures.scenes import ground_metres, map_figure, round_down, true_north, zooms
from rtslib.figures.web import page as webmap

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SIZE, CORNER, PIXEL = 200, (500_000.0, 7_700_000.0), 10.0


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
    shapes = [on_ground(62, 82, 102, 142), on_ground(150, 160, 170, 190), on_ground(20, 100, 40, 120)]
    values = {"id": [1, 2, 3], "score": [0.91, 0.62, 0.35], "touches_edge": [False, True, False]}
    return gpd.GeoDataFrame(values, geometry=shapes, crs="EPSG:32608")


@pytest.fixture(scope="module")
def page(scene, detections, tmp_path_factory):
    return webmap.write_webmap(scene, detections, tmp_path_factory.mktemp("web") / "map.html", "A <test> map")


def data_of(page):
    """What the page hands to MapLibre: (method, arguments) calls, from its own script."""
    text = page.read_text()
    start = text.rindex("var data = ") + len("var data = ")
    end = text.index("pymaplibregl(data);", start)
    calls = text[start:end].rstrip().rstrip(";")
    calls = re.sub(r'\["once", \["render", .*?\]\]\]\}$', "]}", calls, flags=re.S)
    return json.loads(calls.replace(", ]}", "]}"))


def test_overlay_corners_enclose_the_scene_and_no_more():
    """Its pixels stay within one pixel of where the projection puts them."""
    values = np.full((1, 100, 150), 0.5, dtype=np.float32)
    values[0, 40:60, 70:80] = 1
    t = Affine(10, 0, *CORNER[:1], 0, -10, CORNER[1])
    o = webmap.make_overlay(values, t, "EPSG:32608")
    to_web = Transformer.from_crs("EPSG:32608", "EPSG:3857", always_xy=True)
    edge = box(CORNER[0], CORNER[1] - 1000, CORNER[0] + 1500, CORNER[1]).segmentize(10)
    xs, ys = to_web.transform(*edge.exterior.xy)
    h, w = o.rgba.shape[:2]
    left, top = o.transform @ (0, 0)
    right, bottom = o.transform @ (w, h)
    pixel = o.transform.a
    for got, want in ((left, min(xs)), (right, max(xs)), (bottom, min(ys)), (top, max(ys))):
        assert abs(got - want) < 2 * pixel
    rows, cols = np.nonzero(o.rgba[..., 0] > 128)
    mark = box(CORNER[0] + 700, CORNER[1] - 600, CORNER[0] + 800, CORNER[1] - 400)
    x, y = o.transform @ (cols.mean() + 0.5, rows.mean() + 0.5)
    want = to_web.transform(mark.centroid.x, mark.centroid.y)
    assert abs(x - want[0]) < pixel / 2 and abs(y - want[1]) < pixel / 2
    (lon, lat), (east, _), (_, south), _ = o.corners()
    back = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    assert back.transform(lon, lat) == pytest.approx((left, top), abs=1e-3)
    assert back.transform(east, south) == pytest.approx((right, bottom), abs=1e-3)


def test_vectors_and_raster_meet(scene, detections):
    """A corner of the first known slump, in EPSG:4326, is where the bare patch begins in the overlay."""
    o = webmap.make_overlay(*overview.read_overview(scene.stack, ("red", "green", "blue")), scene.stack.crs)
    features = webmap.geojson(scene.truth, "Known slump")["features"]
    ring = np.array(features[0]["geometry"]["coordinates"][0])
    ring = ring[0] if ring.ndim == 3 else ring
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(*ring.T)
    cols, rows = ~o.transform @ (x, y)
    bare = o.rgba[..., 0] > 200
    got_rows, got_cols = np.nonzero(bare)
    assert abs(cols.min() - got_cols.min()) < 2 and abs(cols.max() - got_cols.max() - 1) < 2
    assert abs(rows.min() - got_rows.min()) < 2 and abs(rows.max() - got_rows.max() - 1) < 2
    lon, lat = Transformer.from_crs("EPSG:32608", "EPSG:4326", always_xy=True).transform(500_800, 7_699_400)
    assert np.hypot(ring[:, 0] - lon, ring[:, 1] - lat).min() < 2e-6


def test_nodata_is_transparent_and_large_pictures_are_reduced(scene):
    values, transform = overview.read_overview(scene.stack, ("red", "green", "blue"), longest=50)
    assert values.shape == (3, 50, 50) and transform.a == 40
    assert np.isnan(values[:, :, :5]).all() and np.isfinite(values[:, :, 5:]).all()
    assert values[0, 15:25, 20:35] == pytest.approx(190)
    o = webmap.make_overlay(values, transform, scene.stack.crs, longest=40)
    assert max(o.rgba.shape[:2]) <= 40
    assert (o.rgba[5:-5, 1, 3] == 0).all() and (o.rgba[5:-5, 20, 3] == 255).all()
    assert overview.limits(np.full(3, np.nan)) == (0, 1)


def test_texts_say_score_and_area(detections, scene):
    first, second, _ = webmap.geojson(detections, "Detection")["features"]
    assert first["properties"]["title"] == "Detection 1" and first["properties"]["score"] == 0.91
    assert first["properties"]["text"].split("\n")[:2] == ["score 0.91", "area 24.02 ha"]  # 2,400 px x 100 m2
    assert second["properties"]["text"].endswith("cut by the edge of the scene")
    assert webmap.geojson(scene.truth, "Known slump")["features"][1]["properties"]["text"].startswith("area 6.00 ha")


def test_an_existing_map_is_kept(scene, detections, page):
    with pytest.raises(OutputError, match="exists"):
        webmap.write_webmap(scene, detections, page)


def test_a_map_without_detections_is_a_map(scene, detections, tmp_path):
    out = webmap.write_webmap(scene, detections.iloc[:0], tmp_path / "m.html")
    sources = {c[1][0]: c[1][1] for c in data_of(out)["calls"] if c[0] == "addSource"}
    assert sources["detections"]["data"]["features"] == [] and len(sources["truth"]["data"]["features"]) == 2


def test_the_page_holds_everything(page, scene):
    text = re.sub("<!--.*?-->", "", page.read_text(), flags=re.S)
    assert "<title>A &lt;test&gt; map</title>" in text
    assert not re.search(r'<(script|img|link|iframe)[^>]+(src|href)="?(?!data:)', text)
    sources = {c[1][0]: c[1][1] for c in data_of(page)["calls"] if c[0] == "addSource"}
    assert sources["true-colour"]["url"].startswith("data:image/webp;base64,")
    assert len(sources["detections"]["data"]["features"]) == 3
    o = webmap.make_overlay(*overview.read_overview(scene.stack, ("red", "green", "blue")), scene.stack.crs)
    assert sources["true-colour"]["coordinates"] == o.corners()


EVIL = "</script><script>window.hacked = 1</script><!--<script>"


@pytest.fixture(scope="module")
def evil_page(scene, detections, tmp_path_factory):
    """A page whose every text that a user's file can bring tries to end the script."""
    truth = scene.truth.assign(id=[EVIL, "2"])
    found = detections.assign(id=[f"{i} {EVIL}" for i in detections["id"]])
    out = tmp_path_factory.mktemp("evil") / "map.html"
    return webmap.write_webmap(replace(scene, truth=truth), found, out, f"{EVIL} of mine")


def test_texts_of_files_stay_texts(page, evil_page):
    def scripts(path):
        return re.findall(r"<script|</script|<!--", path.read_text(encoding="utf-8"))

    assert scripts(evil_page) == scripts(page)
    assert evil_page.read_text(encoding="utf-8").count("window.hacked") >= 5


def test_the_page_in_a_notebook_is_one_frame(page):
    html = webmap.inline(page).data
    assert html.startswith("<div><iframe") and html.count("<iframe") == 1 and "srcdoc=" in html


def test_the_figure_shows_outlines_and_true_lengths(scene, detections, tmp_path):
    figure = map_figure(scene, detections, "A map")
    axes = figure.axes[0]
    assert axes.get_xlim() == (500_000, 502_000) and axes.get_ylim() == (7_698_000, 7_700_000)
    assert [len(drawn.get_paths()) for drawn in axes.collections] == [3, 3, 2]  # rim and line, and what is known
    texts = [t.get_text() for t in axes.texts] + [t.get_text() for t in axes.get_legend().get_texts()]
    assert {"200 m", "N", "Mapped slumps (3)", "Known slumps (2)"} <= set(texts)
    figure.savefig(tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 20_000


def test_small_slumps_get_a_closer_look(scene, detections):
    assert zooms(scene, detections) == []  # large in this scene
    small = detections.set_geometry(detections.geometry.centroid.buffer(20))
    far = type(scene)(scene.folder, scene.stack, None)
    found = zooms(far, small)
    assert len(found) == 3 and {w.width for w in found} == {48}
    assert all(0 <= w.col_off <= SIZE - 48 and 0 <= w.row_off <= SIZE - 48 for w in found)
    assert zooms(far, small.iloc[:0]) == []
    assert len(map_figure(far, small).axes) == 5  # map, three places, colour bar


def test_a_hundred_thousand_slumps_are_drawn(scene, detections):
    """In linear time and memory: pairs of them, 10 GB as bools, are never made, and no line is an object of its own."""
    n, rng = 100_000, np.random.default_rng(0)
    rows, cols = rng.uniform(0, SIZE - 2, (2, n))
    shapes = [on_ground(r, c, r + 1, c + 1) for r, c in zip(rows, cols, strict=True)]
    many = gpd.GeoDataFrame({"score": rng.uniform(0.3, 1, n)}, geometry=shapes, crs=detections.crs)
    tracemalloc.start()
    figure = map_figure(scene, many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e9 and len(figure.axes) == 5 and not figure.axes[0].lines
    drawn = {c.get_linewidth()[0]: len(c.get_paths()) for c in figure.axes[0].collections}
    assert drawn[1.4] == drawn[2.4] == n


def test_north_and_lengths():
    assert true_north("EPSG:32608", 500_000, 7_700_000) == pytest.approx(90, abs=0.01)
    assert true_north("EPSG:3413", -1_988_000, -296_000) == pytest.approx(8.5, abs=0.1)  # points along the pole
    assert ground_metres("EPSG:32608", 500_000, 7_700_000, 1000) == pytest.approx(1000.4, abs=0.05)
    assert [round_down(v) for v in (1, 4.9, 5, 730, 0.03)] == [1, 2, 5, 500, 0.02]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium")
    flags = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    flags += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


def opened(browser, path, whole=True):
    """Open a page from disk; return it with the requests that left the machine and the errors it met."""
    tab = browser.new_page(viewport={"width": 900, "height": 700})
    away, errors = [], []
    tab.on("request", lambda r: away.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.goto(path.as_uri())
    tab.wait_for_function("window.rtsMap !== undefined", timeout=30_000)
    settle(tab) if whole else tab.wait_for_timeout(1500)
    return tab, away, errors


def settle(tab):
    tab.evaluate("() => new Promise(done => { rtsMap.once('idle', done); rtsMap.triggerRepaint(); })")


def drawn(tab, layer):
    return tab.evaluate("id => [...new Set(rtsMap.queryRenderedFeatures({layers: [id]})"
                        ".map(f => f.properties.title))].sort()", layer)  # fmt: skip


def colours(tab):
    """Share of pixels of the map, beside the panel, that show grass and bare soil."""
    from io import BytesIO

    from PIL import Image

    pixels = np.asarray(Image.open(BytesIO(tab.screenshot())).convert("RGB")).astype(int)[:, 270:850]
    r, g, b = np.moveaxis(pixels, -1, 0)
    return ((g > r + 20) & (g > b + 20)).mean(), ((r > 150) & (r > b + 30)).mean()


def pixel_of(tab, shape):
    x, y = Transformer.from_crs("EPSG:32608", "EPSG:4326", always_xy=True).transform(*shape.centroid.coords[0])
    p = tab.evaluate("c => rtsMap.project(c)", [x, y])
    return p["x"], p["y"]


def test_the_map_in_a_browser(browser, page, detections, scene):
    tab, away, errors = opened(browser, page)
    assert tab.locator("#rts-panel h1").inner_text() == "A <test> map"
    assert drawn(tab, "detections-fill") == ["Detection 1", "Detection 2", "Detection 3"]
    assert drawn(tab, "truth-line") == ["Known slump 1", "Known slump 2"]
    grass, bare = colours(tab)
    assert grass > 0.3 and bare > 0.02

    tab.mouse.click(*pixel_of(tab, detections.geometry[0]))
    text = tab.locator("#rts-popup").inner_text().split("\n")
    assert text[:3] == ["Detection 1", "score 0.91", "area 24.02 ha"] and "Known slump 1" in text
    tab.mouse.click(*pixel_of(tab, on_ground(120, 100, 130, 110)))
    assert tab.locator("#rts-popup").count() == 0

    tab.locator("#rts-score").fill("0.5")
    settle(tab)
    assert drawn(tab, "detections-line") == ["Detection 1", "Detection 2"]
    assert tab.locator("#rts-count").inner_text() == "2 of 3 detections, score ≥ 0.50"
    tab.get_by_text("Known slumps").click()
    tab.get_by_text("Detections", exact=True).click()
    settle(tab)
    assert drawn(tab, "detections-line") == [] and drawn(tab, "truth-line") == []
    assert away == [] and errors == []
    tab.close()


def test_texts_of_files_stay_texts_in_a_browser(browser, evil_page):
    tab, away, errors = opened(browser, evil_page)
    assert tab.locator("#rts-panel h1").inner_text() == f"{EVIL} of mine"
    assert f"Known slump {EVIL}" in drawn(tab, "truth-line")
    assert tab.evaluate("() => window.hacked") is None and away == [] and errors == []
    tab.close()


def test_the_map_in_a_notebook_cell(browser, page, tmp_path):
    """As a notebook shows it, in a frame that holds the page."""
    (tmp_path / "cell.html").write_text(f"<meta charset=utf-8>{webmap.inline(page).data}")
    tab = browser.new_page(viewport={"width": 900, "height": 700})
    away = []
    tab.on("request", lambda r: away.append(r.url) if r.url.startswith("http") else None)
    tab.goto((tmp_path / "cell.html").as_uri())
    frame = tab.frame_locator("iframe")
    frame.locator("#rts-panel").wait_for(timeout=30_000)
    assert frame.locator("#rts-count").inner_text() == "3 of 3 detections, score ≥ 0.30" and away == []
    tab.close()


def test_the_browser_test_notices_what_is_broken(browser, page, scene, detections, tmp_path):
    """Negative controls: a truncated image, polygons elsewhere, and a request that leaves the machine."""
    text = page.read_text()
    start = text.index("data:image/webp;base64,", text.rindex("var data = ")) + 400
    (tmp_path / "cut.html").write_text(text[:start] + text[text.index('"', start) :])
    tab, _, errors = opened(browser, tmp_path / "cut.html", whole=False)
    assert colours(tab)[0] < 0.01 and errors
    tab.close()
    far = detections.set_geometry(detections.translate(200_000, 0))
    moved = webmap.write_webmap(scene, far, tmp_path / "moved.html")
    moved.write_text(moved.read_text().replace("<body>", '<body><img src="https://example.org/a.png">', 1))
    tab, away, _ = opened(browser, moved)
    assert away == ["https://example.org/a.png"] and drawn(tab, "detections-fill") == []
    tab.close()
