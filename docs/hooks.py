"""What `make docs` brings in from elsewhere in the repository, and where its links lead.

A *page* is a Markdown file in `docs/`, or made here: the home page is README.md, an executed notebook becomes Markdown
by nbconvert, and each folder of `rtslib` gets one page, filled from docstrings by mkdocstrings. Links and pictures are
written as they work on the repository's own pages, from file to file; here each is turned into one that works on the
site: to a page, to a module's place in the reference, or to a copy of the file under `files/`. A link to what is not
there is left as it is, so that `mkdocs build --strict` names it. Formulas become MathML, which browsers draw by
themselves. Nothing is fetched. Source: MkDocs' hooks, https://www.mkdocs.org/user-guide/plugins/#events
"""

import html
import os
import posixpath
import re
from pathlib import Path

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
#: File of the repository -> the page that it becomes.
PAGES = {
    "README.md": "index.md", "ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md", "results/corrections.md": "corrections.md",
}  # fmt: skip
#: Where a link leads in Markdown, or in HTML; what is in a code span or block is none.
LINK = re.compile(r"(?P<code>```.*?```|`[^`\n]*`)|(?P<before>\]\(|\b(?:src|href)=\")(?P<to>[^)\"\s#]+)", re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FRAME = re.compile(r'srcdoc="([^"]*)"')


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for path in sorted((ROOT / "results").glob("*/notebooks/*.ipynb")):
        for made in _notebook(path, config):
            files.append(made)
    for folder, text in reference().items():
        files.append(File.generated(config, f"reference/{folder}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links of the site."""
    if page.file.src_uri.startswith("reference/"):
        return markdown
    sources = {page: path for path, page in PAGES.items()}
    folder = posixpath.dirname(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def turned(found: re.Match) -> str:
        if found["code"] or re.match(r"[a-z]+:|/", found["to"]):
            return found[0]
        there = posixpath.normpath(posixpath.join(folder, found["to"]))
        place = _place(there, files, config)
        if place is None:
            return found[0]
        uri, _, anchor = place.partition("#")
        if found["before"] == "](":
            relative = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        else:  # HTML is left alone by MkDocs, so it gets addresses instead of sources
            relative = get_relative_url(files.get_file_from_path(uri).url, page.file.url)
        return found["before"] + relative + (f"#{anchor}" if anchor else "")

    return LINK.sub(turned, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn formulas into MathML."""

    def drawn(found: re.Match) -> str:
        return latex2mathml.converter.convert(_plain(found[2]), display="block" if found[1] == "div" else "inline")

    return FORMULA.sub(drawn, html)


def reference() -> dict[str, str]:
    """Return folder of `rtslib` -> its page; `rtslib` itself is the page of the modules in no folder."""
    package = ROOT / "rtslib"
    pages = {"rtslib": "# rtslib\n\nThe words everyone uses.\n\n" + _directives(["rtslib"], False)}
    alone = [f"rtslib.{p.stem}" for p in sorted(package.glob("[a-z]*.py"))]
    pages["rtslib"] += _directives(alone, True)
    for init in sorted(package.glob("*/__init__.py")):
        pages[init.parent.name] = f"# {init.parent.name}\n\n" + _directives([f"rtslib.{init.parent.name}"], True)
    return pages


def _directives(names: list[str], submodules: bool) -> str:
    options = f"    options:\n      show_submodules: {str(submodules).lower()}\n"
    return "\n".join(f"::: {name}\n{options}" for name in names)


def _notebook(path: Path, config: MkDocsConfig) -> list[File]:
    """Return an executed notebook as a page, with its pictures, and the maps in it as files of their own."""
    folder = f"notebooks/{path.parent.parent.name}"
    exporter = MarkdownExporter()
    text, resources = exporter.from_filename(str(path), {"output_files_dir": f"{path.stem}_files"})
    made = [File.generated(config, f"{folder}/{name}", content=data) for name, data in resources["outputs"].items()]

    def framed(found: re.Match) -> str:
        name = f"{path.stem}_files/frame{len(made)}.html"
        made.append(File.generated(config, f"{folder}/{name}", content=html.unescape(found[1])))
        return f'src="{name}"'

    text = FRAME.sub(framed, text)
    return [File.generated(config, f"{folder}/{path.stem}.md", content=text), *made]


def _place(there: str, files: Files, config: MkDocsConfig) -> str | None:
    """Return the place on the site of a file of the repository; None if there is no such file."""
    if there in PAGES:
        return PAGES[there]
    if there.startswith("docs/"):
        name = there.removeprefix("docs/")
        return name if files.get_file_from_path(name) else None
    if found := re.fullmatch(r"results/(\w+)/notebooks/(\w+)\.ipynb", there):
        return f"notebooks/{found[1]}/{found[2]}.md"
    if found := re.fullmatch(r"rtslib/(?:(\w+)/)?(\w+/)?(\w+)\.py", there):
        module = there.removesuffix(".py").replace("/", ".")
        return f"reference/{found[1] or 'rtslib'}.md#{module}"
    if not (ROOT / there).is_file() or there.startswith(".."):
        return None
    copy = f"files/{there}" if os.path.splitext(there)[1] not in ("", ".md") else f"files/{there}.txt"
    if not files.get_file_from_path(copy):
        files.append(File.generated(config, copy, abs_src_path=str(ROOT / there)))
    return copy


def _plain(formula: str) -> str:
    """Return a formula as it was typed, in the words that latex2mathml knows."""
    return html.unescape(formula).strip().replace("{aligned}", "{split}")
