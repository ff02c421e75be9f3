"""Opening: which layout a folder of chips keeps to, and its one face for the rest of the library.

A layout is one file in `rtslib/data/layouts/` and one entry here. They are told apart by files that only they
have; a folder that looks like none of them, or like two, is refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rtslib.data.chips import ChipSet
from rtslib.data.layouts.challenge import open_challenge
from rtslib.data.layouts.coco import open_coco
from rtslib.data.layouts.geotiff import open_geotiff
from rtslib.data.layouts.plain import open_plain
from rtslib.errors import ConfigError, DataError


class Layout(NamedTuple):
    """How a layout is known (paths that must all exist, one that must not), said to a person, and opened; a layout with
    `categories` is opened with the name of one, too."""

    marks: tuple[str, ...]
    said: str
    opener: Callable[..., ChipSet]
    unless: tuple[str, ...] = ()
    categories: bool = False


#: In a folder of chips whose cutting was stopped, until `rtslib.data.cutting` removes it.
STOPPED = "request.json"
_MARKS = ("instances.json", "chips.csv", "metadata/band_names.json")

LAYOUTS = {
    "challenge": Layout(
        ("metadata/band_names.json",), "metadata/band_names.json (challenge release)", open_challenge, categories=True
    ),
    "coco": Layout(
        ("images", "instances.json"), "images/ with instances.json (RGB and COCO)", open_coco, categories=True
    ),
    "plain": Layout(("images",), "images/ alone (RGB without labels)", open_plain, unless=_MARKS),
    "geotiff": Layout(("chips.csv",), "chips.csv (co-registered GeoTIFFs)", open_geotiff),
}


def open_chips(folder: str | Path, category: str = "") -> ChipSet:
    """Open a folder of chips, finding out its layout.

    Structure is checked here, for every chip: manifests, annotations, that files exist and have the
    size that the listings say. Nothing is skipped silently; see `ChipSet.notes`.

    Args:
        folder: the data set's root.
        category: the class of its COCO file that is the slump; needed where there are several.

    Raises:
        ConfigError: there is no such category, or the layout has none.
        DataError: the folder is of none of the layouts, looks like two, or breaks its layout's rules.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(root, "a file" if root.exists() else "no such folder", "a folder of chips")
    if (root / STOPPED).is_file():
        raise DataError(root, "chips whose cutting was stopped", "a finished set", "go on with it: chips ... --resume")
    found = [
        layout for layout in LAYOUTS.values()
        if all((root / mark).exists() for mark in layout.marks)
        and not any((root / mark).exists() for mark in layout.unless)
    ]  # fmt: skip
    if len(found) != 1:
        what = "marks of more than one layout: " + " and ".join(layout.said for layout in found)
        expected = "; ".join(layout.said for layout in LAYOUTS.values())
        raise DataError(root, what if found else "none of the known layouts", f"one of: {expected}")
    if not category:
        return found[0].opener(root)
    if not found[0].categories:
        raise ConfigError(f"{root} has no COCO file with a category {category!r}: it is {found[0].said}")
    return found[0].opener(root, category)
