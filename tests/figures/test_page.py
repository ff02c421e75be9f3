"""The map page: overlay and outlines lie where they should, and it works without a network, wherever it is opened."""

import json
import re
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from shapely.geometry import box

from helpers.pages import (  # noqa: F401
    CORNER,
    PATIENCE,
    SIZE,
    browser,
    colours,
    data_of,
    detections,
    drawn,
    listening,
    on_ground,
    opened,
    pixel_of,
    scene,
    settle,
)
from rtslib.errors import OutputError
from rtslib.figures import overview
from rtslib.figures.web import page as webmap
from rtslib.figures.web.overlays import KINDS, make_overlay
from rtslib.figures.web.slumps import detections_as_features, truth_as_features
from rtslib.files import write_json
from rtslib.mapping.decisions import decide
from rtslib.mapping.review import save_review, write_review
from rtslib.mapping.totals import totals

RGB = ("red", "green", "blue")
EVIL = "</script><script>window.hacked = 1</script><!--<script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def page(scene, detections, tmp_path_factory):
    area = box(*on_ground(10, 10, 190, 190).bounds)
    return webmap.write_webmap(
        scene, detections, tmp_path_factory.mktemp("web") / "map.html", "A <test> map", area=area
    )


@pytest.fixture(scope="module")
def evil_page(scene, detections, tmp_path_factory):
    """A page whose every text that a user's file can bring tries to end the script or to be HTML."""
    truth = scene.truth.assign(id=[EVIL, "2"])
    found = detections.assign(id=[f"{i} {EVIL}" for i in detections["id"]], modalities=EVIL, run_id=EVIL)
    found = found.rename(columns={"valid_rgb": f"valid_{EVIL}"})
    out = tmp_path_factory.mktemp("evil") / "map.html"
    return webmap.write_webmap(replace(scene, truth=truth), found, out, f"{EVIL} of mine")


def test_overlay_corners_enclose_the_scene_and_no_more():
    """Its pixels stay within one pixel of where the projection puts them."""
    values = np.full((1, 100, 150), 0.5, dtype=np.float32)
    values[0, 40:60, 70:80] = 1
    t = Affine(10, 0, *CORNER[:1], 0, -10, CORNER[1])
    o = make_overlay(values, t, "EPSG:32608")
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
    o = make_overlay(*overview.read_overview(scene.stack, RGB), scene.stack.crs)
    features = truth_as_features(scene.truth, detections)["features"]
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
    values, transform = overview.read_overview(scene.stack, RGB, longest=50)
    assert values.shape == (3, 50, 50) and transform.a == 40
    assert np.isnan(values[:, :, :5]).all() and np.isfinite(values[:, :, 5:]).all()
    assert values[0, 15:25, 20:35] == pytest.approx(190)
    o = make_overlay(values, transform, scene.stack.crs, longest=40)
    assert max(o.rgba.shape[:2]) <= 40
    assert (o.rgba[5:-5, 1, 3] == 0).all() and (o.rgba[5:-5, 20, 3] == 255).all()
    assert overview.limits(np.full(3, np.nan)) == (0, 1)


def test_a_ramp_has_its_colours_at_its_ends_and_zero_in_its_middle():
    """Relative elevation from -1 to 3 m: blue and red are 3 m below and above."""
    kind = next(k for k in KINDS if k.name == "Relative elevation")
    values = np.full((1, 60, 60), 0, dtype=np.float32)
    values[0, :20], values[0, 40:] = -1, 3
    o = make_overlay(values, Affine(10, 0, *CORNER[:1], 0, -10, CORNER[1]), "EPSG:32608", kind=kind)
    assert (o.low, o.high) == (-3, 3)
    low, middle, high = (
        o.rgba[round(f * o.rgba.shape[0]), o.rgba.shape[1] // 2, :3].tolist() for f in (0.15, 0.5, 0.85)
    )
    assert high == [0xB2, 0x18, 0x2B] and min(middle) > 240 and low[2] > low[0] + 30


def test_features_say_all_that_is_known(detections, scene):
    first, second, third = (f["properties"] for f in detections_as_features(detections, scene.truth)["features"])
    assert (first["n"], first["id"], first["score"]) == (0, "1", 0.91)
    assert first["area"] == pytest.approx(240_200, rel=1e-3)  # 2,400 px x 100 m2 of UTM, on the ground
    assert second["edge"] and not first["edge"] and second["valid"] == [["rgb", 0.52]] and second["seen"] == 1
    assert [p["verdict"] for p in (first, second, third)] == ["hit", "false alarm", "false alarm"]
    assert first["match"].startswith("known slump 1, IoU 0.8")
    found, missed = (f["properties"] for f in truth_as_features(scene.truth, detections)["features"])
    assert found["verdict"] == "found" and found["match"].startswith("detection 1, IoU 0.8")
    assert missed["verdict"] == "missed" and missed["area"] == pytest.approx(60_050, rel=1e-3)
    assert detections_as_features(detections)["features"][0]["properties"]["verdict"] == ""


def test_an_existing_map_is_kept(scene, detections, page):
    with pytest.raises(OutputError, match="exists"):
        webmap.write_webmap(scene, detections, page)


def test_the_page_holds_everything(page, scene):
    text = page.read_text()
    assert "<title>A &lt;test&gt; map</title>" in text
    assert not re.search(r'<(script|img|link|iframe)[^>]+(src|href)="?(?!data:)', text)
    data = data_of(page)
    assert [p["name"] for p in data["pictures"]] == ["True colour"]
    assert data["pictures"][0]["url"].startswith("data:image/webp;base64,")
    assert len(data["detections"]["features"]) == 3 and len(data["truth"]["features"]) == 2
    assert (data["least"], data["best"]) == (0.3, 0.91)  # the ramp ends at the best score
    o = make_overlay(*overview.read_overview(scene.stack, RGB), scene.stack.crs)
    assert data["pictures"][0]["coordinates"] == o.corners()


def test_a_map_folder_adds_totals_probability_and_decisions(scene, detections, tmp_path):
    found = detections.assign(run_id="abc", image_date="2024-07-15")
    write_json(tmp_path / "totals.json", totals(found["score"].to_numpy(), found["area_m2"].to_numpy()))
    probability = np.zeros((SIZE, SIZE), dtype=np.uint8)
    probability[60:100, 80:140] = 255
    place = {"crs": "EPSG:32608", "transform": Affine(10, 0, *CORNER[:1], 0, -10, CORNER[1])}
    shape = {"height": SIZE, "width": SIZE, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "probability.tif", "w", driver="GTiff", **shape, **place) as d:
        d.write(probability, 1)
    review = write_review(found, tmp_path / "review.gpkg")
    review.loc[review["id"] == 2, "accepted"] = False
    save_review(review, tmp_path / "review.gpkg")
    data = data_of(webmap.write_webmap(scene, found, tmp_path / "map.html", folder=tmp_path))
    assert data["about"][0] == "model abc, images of 2024-07-15"
    assert data["about"][1].startswith("3 slumps on the map; by their scores alone") and "95 %" in data["about"][1]
    assert [p["name"] for p in data["pictures"]] == ["True colour", "Mask probability"]
    assert data["pictures"][1]["ramp"][0] == "#440154" and data["pictures"][1]["high"] == "1"
    assert data["decisions"] == {"2": {"accepted": False, "comment": "", "reviewer": ""}}


def test_texts_of_files_stay_texts(page, evil_page):
    def scripts(path):
        return re.findall(r"<script|</script|<!--", path.read_text(encoding="utf-8"))

    assert scripts(evil_page) == scripts(page)
    assert evil_page.read_text(encoding="utf-8").count("window.hacked") >= 5


def test_a_map_in_a_browser(browser, page, detections, scene, tmp_path):
    """Everything is drawn; a click opens the right slump; the pop-up goes by its button, by Esc and with its slump."""
    tab, away, errors = opened(browser, page)
    assert tab.locator("#rts-panel h1").inner_text() == "A <test> map"
    assert drawn(tab, "detections-fill") == ["1", "2", "3"] and drawn(tab, "truth-line") == ["1", "2"]
    assert drawn(tab, "area-line") and tab.locator("#rts-count").inner_text() == "3 of 3 detections shown"
    grass, bare = colours(tab)
    assert grass > 0.3 and bare > 0.02

    popup = tab.locator("#rts-popup")
    tab.mouse.click(*pixel_of(tab, detections.geometry[0]))
    text = popup.inner_text()
    assert "Detection 1" in text and "0.91" in text and "24.02 ha" in text and "known slump 1, IoU 0.8" in text
    tab.wait_for_function("document.querySelectorAll('canvas[data-drawn]').length === 1")
    tab.keyboard.press("Escape")
    assert popup.count() == 0
    tab.mouse.click(*pixel_of(tab, detections.geometry[1]))
    assert "Detection 2" in popup.inner_text() and "rgb 52 %" in popup.inner_text()
    tab.locator(".maplibregl-popup-close-button").click()
    assert popup.count() == 0
    tab.mouse.click(*pixel_of(tab, scene.truth.geometry[1]))
    assert "Known slump 2" in popup.inner_text() and "missed" in popup.inner_text()
    tab.mouse.click(*pixel_of(tab, on_ground(5, 180, 9, 184)))  # beside all slumps
    assert popup.count() == 0
    tab.mouse.click(*pixel_of(tab, detections.geometry[2]))
    tab.locator("#rts-score").fill("0.5")
    settle(tab)
    assert popup.count() == 0 and drawn(tab, "detections-line") == ["1", "2"]
    assert tab.locator("#rts-count").inner_text() == "2 of 3 detections shown"
    tab.mouse.click(*pixel_of(tab, detections.geometry[0]))
    tab.locator("#rts-detections").uncheck()
    tab.locator("#rts-truth").uncheck()
    settle(tab)
    assert popup.count() == 0 and drawn(tab, "detections-line") == [] and drawn(tab, "truth-line") == []

    tab.locator("#rts-detections").check()
    tab.locator("#rts-truth").check()
    tab.locator("#rts-score").fill("0.3")
    tab.locator("#rts-colour").select_option("verdict")
    settle(tab)
    assert drawn(tab, "detections-line") == ["1"] and drawn(tab, "false-line") == ["2", "3"]
    assert drawn(tab, "missed-line") == ["2"] and drawn(tab, "truth-line") == []
    looks = tab.evaluate("() => ['detections-line', 'false-line', 'missed-line'].map(id => JSON.stringify("
                         "['line-color', 'line-dasharray'].map(p => rtsMap.getPaintProperty(id, p))))")  # fmt: skip
    for k in (0, 1):
        assert len({str(json.loads(each)[k]) for each in looks}) == 3
    assert away == [] and errors == []
    tab.close()


def inside(tab):
    """Whether the whole head of the pop-up is on the map and nothing lies over it."""
    return tab.evaluate("""() => {
      const b = document.querySelector("#rts-popup h2").getBoundingClientRect();
      const m = document.querySelector("#rts-map").getBoundingClientRect();
      const p = document.querySelector("#rts-popup").getBoundingClientRect();
      const over = document.elementFromPoint(b.left + 5, b.top + 5);
      return p.top >= 0 && p.bottom <= innerHeight && p.left >= m.left && p.right <= m.right + 1
        && over.closest("#rts-popup") !== null;
    }""")


def test_a_popup_has_its_head_on_the_screen_wherever_the_slump_lies(browser, page, detections):
    middle = Transformer.from_crs("EPSG:32608", "EPSG:4326", always_xy=True).transform(
        *detections.geometry[0].centroid.coords[0]
    )
    for size in ((1400, 800), (390, 760)):
        tab, _, errors = opened(browser, page, size)
        if size[0] < 700:
            assert not tab.evaluate("document.querySelector('#rts-panel').open")
            covered = tab.evaluate("(() => { const b = document.querySelector('#rts-panel').getBoundingClientRect();"
                                   "return b.width * b.height / innerWidth / innerHeight })()")  # fmt: skip
            assert covered < 0.1
        w, h = tab.evaluate("[rtsMap.getContainer().clientWidth, rtsMap.getContainer().clientHeight]")
        for x, y in ((w / 2, 15), (w / 2, h - 15), (w - 60, h / 2), (300 if w > 700 else 40, h / 2)):
            tab.evaluate(f"rtsMap.jumpTo({{zoom: 8, center: {list(middle)}}})")
            tab.evaluate(f"rtsMap.panBy([{w / 2 - x}, {h / 2 - y}], {{animate: false}})")
            tab.evaluate("rtsApp.choose(0)")
            assert inside(tab), (size, x, y)
            tab.keyboard.press("Escape")
        assert errors == []
        tab.close()


def test_table_keys_search_and_link(browser, page):
    tab, away, errors = opened(browser, page.as_uri() + "#id=2")
    title = tab.locator("#rts-popup h2")
    title.wait_for()
    assert title.inner_text() == "Detection 2"
    rows = "[...document.querySelectorAll('#rts-rows .row')].map(r => r.firstChild.textContent)"
    assert tab.evaluate(rows) == ["2", "3", "1"]  # 0.62, 0.35, 0.91: the most uncertain first
    view = tab.evaluate("rtsMap.getCenter().toArray()")
    tab.keyboard.press("j")
    tab.wait_for_function("document.querySelector('#rts-popup h2')?.textContent === 'Detection 3'")
    assert tab.url.endswith("#id=3")
    tab.keyboard.press("b")
    tab.wait_for_function("c => Math.abs(rtsMap.getCenter().lng - c[0]) < 1e-9 && !rtsMap.isMoving()", arg=view)
    tab.keyboard.press("k")
    tab.wait_for_function("document.querySelector('#rts-popup h2')?.textContent === 'Detection 2'")
    tab.locator(".head button[name=score]").click()
    assert tab.evaluate(rows) == ["1", "2", "3"]
    tab.locator("#rts-rows .row").last.click()
    tab.wait_for_function("document.querySelector('#rts-popup h2')?.textContent === 'Detection 3'")
    tab.locator("#rts-search").fill("1")
    tab.locator("#rts-search").press("Enter")
    tab.wait_for_function("document.querySelector('#rts-popup h2')?.textContent === 'Detection 1'")
    tab.locator("#rts-size").fill("100")
    assert tab.evaluate(rows) == ["1"]
    assert away == [] and errors == []
    tab.close()


def test_a_review_in_the_page_is_read_back(browser, page, detections, tmp_path):
    tab, away, errors = opened(browser, page.as_uri() + "#id=2")
    tab.locator("#rts-popup h2").wait_for()
    tab.locator("#rts-reviewer").fill("N. N.")
    tab.locator("#rts-reviewer").blur()
    tab.keyboard.press("r")
    tab.keyboard.press("n")
    tab.keyboard.type("a bare river bank")
    tab.keyboard.press("Enter")
    tab.keyboard.press("j")
    tab.wait_for_function("document.querySelector('#rts-popup h2')?.textContent === 'Detection 3'")
    tab.locator("#rts-popup button.reject").click()
    tab.keyboard.press("a")
    assert tab.locator("#rts-progress").inner_text() == "2 of 3 reviewed: 1 accepted, 1 rejected"
    tab.keyboard.press("u")
    assert tab.locator("#rts-progress").inner_text() == "2 of 3 reviewed: 0 accepted, 2 rejected"
    tab.keyboard.press("u")
    tab.reload()
    tab.wait_for_function("window.rtsMap !== undefined")
    assert tab.locator("#rts-progress").inner_text() == "1 of 3 reviewed: 0 accepted, 1 rejected"
    with tab.expect_download() as download:
        tab.locator("#rts-save").click()
    download.value.save_as(tmp_path / "decisions.json")
    assert away == [] and errors == []
    tab.close()
    said = decide(write_review(detections, tmp_path / "review.gpkg"), tmp_path / "decisions.json").set_index("id")
    assert said["accepted"].isna().tolist() == [False, True, True] and not said.loc[2, "accepted"]
    assert (said.loc[2, "comment"], said.loc[2, "reviewer"]) == ("a bare river bank", "N. N.")


def test_texts_of_files_stay_texts_in_a_browser(browser, evil_page):
    tab, away, errors = opened(browser, evil_page)
    assert tab.locator("#rts-panel h1").inner_text() == f"{EVIL} of mine"
    assert EVIL in drawn(tab, "truth-line")
    tab.evaluate("rtsApp.choose(0)")
    assert EVIL in tab.locator("#rts-popup").inner_text() and EVIL in tab.locator("#rts-rows").inner_text()
    assert tab.evaluate("() => window.hacked") is None and away == [] and errors == []
    tab.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A folder, and its address on this machine."""
    folder = tmp_path_factory.mktemp("site")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()


def framed(browser, server, page, detections, patience=PATIENCE):
    """Ids drawn in a page that embeds the map as a notebook does, and the pop-up of the second detection."""
    folder, address = server
    (folder / "cell.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{webmap.inline(page).data}")
    tab = browser.new_page(viewport={"width": 1300, "height": 700})
    tab.set_default_timeout(PATIENCE)
    away, errors = listening(tab)
    tab.goto(f"{address}/cell.html")
    tab.locator("iframe").wait_for()
    frame = tab.frames[1]
    frame.wait_for_function("window.rtsMap !== undefined")
    with suppress(pytest.importorskip("playwright.sync_api").TimeoutError):
        some = "rtsMap.queryRenderedFeatures({layers: ['detections-fill']}).length"
        frame.wait_for_function(some, timeout=patience)
    found = drawn(frame, "detections-fill")
    title = None
    if found:
        settle(frame)
        x, y = pixel_of(frame, detections.geometry[1])
        box = tab.locator("iframe").bounding_box()
        tab.mouse.click(box["x"] + x, box["y"] + y)
        title = frame.locator("#rts-popup h2").inner_text()
    tab.close()
    return found, title, away, [e for e in errors if "favicon" not in e and "404" not in e]


def test_a_page_that_embeds_the_map_draws_slumps(browser, server, page, detections):
    assert framed(browser, server, page, detections) == (["1", "2", "3"], "Detection 2", [], [])


def test_the_browser_tests_notice_what_is_broken(browser, server, page, scene, detections, tmp_path):
    """Negative controls: MapLibre as it comes in a frame, a truncated image, polygons elsewhere, a request."""
    text = page.read_text()
    (tmp_path / "asitcomes.html").write_text(text.replace("self.origin", "location.origin"))
    assert framed(browser, server, tmp_path / "asitcomes.html", detections, 15_000)[0] == []
    start = text.index("data:image/webp;base64,") + 400
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


def test_a_map_without_detections_is_a_map(browser, scene, detections, tmp_path):
    out = webmap.write_webmap(scene, detections.iloc[:0], tmp_path / "m.html")
    tab, away, errors = opened(browser, out)
    assert drawn(tab, "detections-fill") == [] and drawn(tab, "truth-line") == ["1", "2"]
    assert tab.locator("#rts-count").inner_text() == "0 of 0 detections shown" and away == [] and errors == []
    tab.close()


def test_twenty_thousand_slumps_are_usable(browser, scene, detections, tmp_path):
    """Loaded, panned, filtered and walked through; the limits are far above what this takes on two cores."""
    n, rng = 20_000, np.random.default_rng(0)
    rows, cols = rng.uniform(0, SIZE - 1, (2, n))
    shapes = [on_ground(r, c, r + 0.6, c + 0.6).buffer(1, quad_segs=4) for r, c in zip(rows, cols, strict=True)]
    many = gpd.GeoDataFrame({"id": range(1, n + 1), "score": rng.uniform(0.3, 1, n), "area_m2": 40.0},
                            geometry=shapes, crs=detections.crs)  # fmt: skip
    out = webmap.write_webmap(replace(scene, truth=None), many, tmp_path / "m.html")
    tab, away, errors = opened(browser, out)
    assert len(drawn(tab, "detections-fill")) > 15_000  # of the rest, some lie under others in a pixel
    took = tab.evaluate("""async () => {
      const idle = () => new Promise(done => { rtsMap.once('idle', done); rtsMap.triggerRepaint(); });
      const timed = async f => { const t = performance.now(); await f(); return performance.now() - t; };
      const slider = document.querySelector("#rts-score");
      return {
        filter: await timed(() => { slider.value = 0.9; slider.dispatchEvent(new Event("input")); }),
        drawn: await timed(idle),
        sort: await timed(() => document.querySelector(".head button[name=area]").click()),
        pan: await timed(async () => { rtsMap.panBy([200, 0], {animate: false}); await idle(); }),
        choose: await timed(() => rtsApp.choose(10)),
      };
    }""")
    print({k: round(v) for k, v in took.items()}, f"{out.stat().st_size / 1e6:.1f} MB")
    assert max(took[k] for k in ("filter", "sort", "choose")) < 5000
    assert tab.locator("#rts-rows .row").count() < 100 and away == [] and errors == []
    tab.close()
