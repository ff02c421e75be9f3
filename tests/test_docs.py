"""The documentation: it builds, no link in it is broken, nothing leaves the machine, no table is wider than its page.

Built once, as `make docs` does. What is looked at in a browser is opened from disk, as a reader would.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    ROOT / n for n in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/corrections.md")
]
SOURCES += sorted((ROOT / "docs").rglob("*.md"))
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
RESULTS = sorted(p.stem for p in (ROOT / "docs" / "results").glob("*.md"))


def build(config: Path, out: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "-f", str(config), "-d", str(out)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT / "mkdocs.yml", out)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


class Page(HTMLParser):
    """The places of a page that can be linked to, and what it links to."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.places, self.links = path, {"", "__top"}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places |= {given[k] for k in ("id", "name") if given.get(k)}
        self.links += [given[k] for k in ("href", "src") if given.get(k)]


def broken(site: Path) -> list[str]:
    """Links of a site, from page to page, place or file of it, that lead nowhere."""
    pages = {p: Page(p) for p in site.rglob("*.html") if "files" not in p.parts and "_files" not in str(p)}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":  # which names pages from the root of a host
                continue
            there = Path(unquote(urlsplit(urljoin(path.as_uri(), parts.path)).path)) if parts.path else path
            target = there / "index.html" if there.is_dir() else there
            anchor = unquote(parts.fragment)
            if not target.is_file() or (target in pages and anchor and anchor not in pages[target].places):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def test_no_link_of_the_site_is_broken(site):
    assert len(list(site.rglob("*.html"))) > 40
    assert not broken(site)


def test_broken_links_are_seen(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x"></a><a href="b.html#y"></a><img src="c.png"><a href="#z"></a>')
    (tmp_path / "b.html").write_text('<p id="x"><a href="https://example.org/none"></a></p>')
    assert broken(tmp_path) == ["a.html: b.html#y", "a.html: c.png", "a.html: #z"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_work_between_the_files_of_the_repository(path):
    """As a host of the repository shows them, where no site is built."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s#]+)|\b(?:src|href)=\"([^\"#]+)", text)
    local = [a or b for a, b in links if not re.match(r"[a-z]+:", a or b)]
    assert not [link for link in local if not (path.parent / link).is_file()]


def test_every_folder_has_a_page_of_reference_with_all_its_modules(site):
    for init in sorted((ROOT / "rtslib").glob("*/__init__.py")):
        page = Page(site / "reference" / f"{init.parent.name}.html")
        modules = {f"rtslib.{init.parent.name}.{p.stem}" for p in init.parent.glob("[a-z]*.py")}
        assert modules <= page.places, init.parent.name
    assert {"rtslib.config.Config", "rtslib.bands"} <= Page(site / "reference" / "rtslib.html").places


def test_executed_notebooks_are_pages_with_their_pictures(site):
    for path in sorted((ROOT / "results").glob("*/notebooks/*.ipynb")):
        page = site / "notebooks" / path.parent.parent.name / f"{path.stem}.html"
        text = page.read_text(encoding="utf-8")
        assert "srcdoc" not in text and re.search(rf'<img [^>]*src="{path.stem}_files/', text), page
    assert 'src="05_map_detections_files/frame' in (site / "notebooks/quick/05_map_detections.html").read_text()


def hooks():
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make install")
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_formulas_become_mathml():
    turn = hooks().on_page_content
    rows = turn(
        '<div class="arithmatex">\\[\\begin{aligned} a &amp;= 1 \\\\ b &amp;= 2 \\end{aligned}\\]</div>',
        None,
        None,
        None,
    )
    assert rows.count("<mtr>") == 2 and 'display="block"' in rows
    drawn = turn('<p>a <span class="arithmatex">\\(x_1 &lt; 2\\)</span></p>', None, None, None)
    assert drawn.startswith("<p>a <math ") and "<msub>" in drawn and "arithmatex" not in drawn and "&amp;" not in drawn


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium")
    flags = ["--no-sandbox", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


def opened(browser, path: Path, width: int = 1400):
    """Open a page from disk; return its tab, and the requests that left the machine."""
    tab, away = browser.new_page(viewport={"width": width, "height": 900}), []
    tab.on("request", lambda r: away.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    tab.goto(path.as_uri())
    tab.wait_for_timeout(300)
    return tab, away


PAGES = ["index", "results/landscape", "notebooks/quick/05_map_detections", "reference/evaluation", "corrections"]


@pytest.mark.parametrize("name", PAGES)
def test_nothing_leaves_the_machine(site, browser, name):
    tab, away = opened(browser, site / f"{name}.html")
    assert away == [] and tab.title()
    tab.close()


def test_a_request_that_leaves_is_seen(tmp_path, browser):
    (tmp_path / "page.html").write_text('<img src="http://example.invalid/a.png">')
    tab, away = opened(browser, tmp_path / "page.html")
    assert away == ["http://example.invalid/a.png"]
    tab.close()


def test_search_works_from_disk(site, browser):
    tab, away = opened(browser, site / "index.html")
    tab.fill(".md-search__input", "lookalikes")
    tab.wait_for_selector(".md-search-result__item", timeout=20_000)
    assert "Your data" in tab.inner_text(".md-search-result") and away == []
    tab.close()


#: Tables that are wider than the page, by how many px; those that scroll in a box of their own count.
WIDER = """() => [...document.querySelectorAll('.md-content table')].map(t => {
    const box = t.closest('.md-typeset__scrollwrap') || t.parentElement;
    return Math.max(box.scrollWidth - box.clientWidth, t.scrollWidth - box.clientWidth) }).filter(px => px > 1)"""


@pytest.mark.parametrize("name", ["index", "dependencies", "notebooks", *(f"results/{r}" for r in RESULTS)])
def test_no_table_is_wider_than_its_page(site, browser, name):
    tab, _ = opened(browser, site / f"{name}.html")
    assert tab.evaluate("() => document.querySelectorAll('.md-content table').length") or name == "results/index"
    assert tab.evaluate(WIDER) == []
    tab.set_viewport_size({"width": 390, "height": 800})  # on a phone a table scrolls in its box, never the page
    assert tab.evaluate("() => document.documentElement.scrollWidth") == 390
    tab.close()


def test_a_wide_table_is_seen(tmp_path, browser):
    cells = "<td>wide</td>" * 200
    (tmp_path / "page.html").write_text(f'<div class="md-content"><table><tr>{cells}</tr></table></div>')
    tab, _ = opened(browser, tmp_path / "page.html")
    assert tab.evaluate(WIDER)[0] > 100
    tab.close()
