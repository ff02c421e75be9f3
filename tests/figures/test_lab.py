"""The map in a live JupyterLab: the page in a frame, and the leafmap map, each drawn by a cell that runs there.

A test starts a server of its own on a free port and ends within `LIMIT`, whatever hangs: all that it waits for is
awaited, so that it can be cut short. On one core of two it takes 30 s (page) and 50 s (leafmap, most of it importing).
"""

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager, suppress

import nbformat
import pytest

from helpers.pages import CHROMIUM, FLAGS, detections, fitted, listening, scene  # noqa: F401
from rtslib.figures import write_webmap

LIMIT = 300  # s
PAGE = "from rtslib.figures import inline\ninline('map.html')"
LEAFMAP = """import geopandas as gpd
from rtslib.data.scenes import open_scene
from rtslib.figures import leafmap_map
leafmap_map(open_scene('scene'), gpd.read_parquet('detections.parquet'))"""
#: Both in the page: the notebook is open and its kernel idle, with its session; its cell has run.
READY = """() => { const panel = window.jupyterapp?.shell.currentWidget, session = panel?.sessionContext;
  return panel?.context?.isReady && session?.isReady && session.session?.kernel?.status === "idle"; }"""
RAN = "jupyterapp.shell.currentWidget.content.widgets[0].model.executionCount === 1"


@pytest.fixture
def folder(scene, detections, tmp_path):  # noqa: F811
    """A folder to open in JupyterLab: a scene, what was found there, and its page."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium")
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    (tmp_path / "scene").symlink_to(scene.folder)
    detections.to_parquet(tmp_path / "detections.parquet")
    write_webmap(scene, detections, tmp_path / "map.html")
    return tmp_path


@contextmanager
def lab(folder):  # noqa: F811
    """A JupyterLab over a folder, which knows no other settings and looks for no news; yields its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{s.getsockname()[1]}"
    own = {f"JUPYTER_{k}_DIR": str(folder / ".jupyter" / k) for k in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / ".jupyter" / "settings"), "IPYTHONDIR": str(folder / ".ipython")}
    settings = folder / ".jupyter" / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.token=t",
               f"--port={address.split(':')[-1]}", f"--ServerApp.root_dir={folder}",
               "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log, cwd=folder)
    try:
        yield process, address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def live(folder, code, look):  # noqa: F811
    """Run one cell in JupyterLab; return what `look` finds in the tab, requests that left the machine, and errors."""
    from playwright.async_api import async_playwright

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(book, folder / "map.ipynb")
    with lab(folder) as (process, address):
        while True:
            try:
                urllib.request.urlopen(f"{address}/api?token=t", timeout=5)
                break
            except OSError:
                assert process.poll() is None, (folder / "lab.log").read_text()
                await asyncio.sleep(0.3)
        async with async_playwright() as p:
            browser = await p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            tab = await browser.new_page(viewport={"width": 1300, "height": 900})
            tab.set_default_timeout(1000 * LIMIT)
            away, errors = listening(tab)
            await tab.goto(f"{address}/lab/tree/map.ipynb?token=t")
            await tab.wait_for_function(READY)
            await tab.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
            await tab.wait_for_function(RAN)
            found = await look(tab)
            await browser.close()
    return found, away, errors


def within_limit(*what):
    return asyncio.run(asyncio.wait_for(live(*what), LIMIT))


def test_the_page_draws_its_slumps(folder):  # noqa: F811
    async def look(tab):
        frame = await (await tab.locator("iframe[title=map]").element_handle()).content_frame()
        ids = "[...new Set(rtsMap.queryRenderedFeatures({layers: ['detections-fill']}).map(f => f.properties.id))]"
        await frame.wait_for_function(f"window.rtsMap && {ids}.length > 0")
        return sorted(await frame.evaluate(ids))

    assert within_limit(folder, PAGE, look) == (["1", "2", "3"], [], [])


def test_the_leafmap_map_draws_its_slumps_and_fills_its_cell(folder, detections):  # noqa: F811
    """Each slump answers to a click on where it lies on a map that fits its cell."""

    from playwright.async_api import TimeoutError

    async def look(tab):
        widget, popup = tab.locator(".maplibregl-map"), tab.locator(".maplibregl-popup-content")
        await widget.scroll_into_view_if_needed()
        box, texts = await widget.bounding_box(), []
        for k, shape in enumerate(detections.geometry, 1):
            said = popup.filter(has_text=f"Detection {k}")
            while not await said.count():
                await tab.mouse.click(*fitted(box, shape))
                with suppress(TimeoutError):
                    await said.wait_for(timeout=5000)
            texts.append(await said.inner_text())
        return texts

    texts, away, errors = within_limit(folder, LEAFMAP, look)
    assert [t.split("\n")[1] for t in texts] == ["score 0.91", "score 0.62", "score 0.35"]
    assert away == [] and errors == []
