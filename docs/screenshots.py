"""The screenshots in `docs/pictures/`: the map page of record, the home page of the documentation, a results page.

They show the synthetic landscape alone. Needs Chromium and a built site: `make pictures`.
"""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
#: Picture -> (page, height of the window in px).
PICTURES = {
    "map_page": ("results/quick/map.html", 800), "docs_home": ("site/index.html", 1400),
    "docs_results": ("site/results/landscape.html", 1400),
}  # fmt: skip
FLAGS = ["--headless=new", "--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader"]


def main() -> None:
    """Take all pictures, 1400 px wide."""
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, (page, height) in PICTURES.items():
            tab = browser.new_page(viewport={"width": 1400, "height": height})
            tab.goto((ROOT / page).as_uri())
            tab.wait_for_load_state("networkidle")
            tab.wait_for_timeout(3000)  # tiles of a map are drawn after they are loaded
            picture = ROOT / "docs" / "pictures" / f"{name}.png"
            tab.screenshot(path=picture)
            shutil.copy(picture, ROOT / "site" / "pictures")  # the home page, taken next, shows the map
        browser.close()


if __name__ == "__main__":
    main()
