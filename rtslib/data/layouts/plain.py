"""Layout (d): RGB images without annotations, to predict on.

    images/*.jpg, *.jpeg, *.png    8-bit RGB chips of any size

As layout (b) without its annotation file. Chips have the ids 1, 2, ... in the order of their file names.
"""

from pathlib import Path

from PIL import Image

from rtslib.data.chips import Chip, ChipSet, source_of
from rtslib.data.layouts.coco import BANDS, SUFFIXES, check_header, read_image
from rtslib.errors import DataError, one_line


def open_plain(root: Path) -> ChipSet:
    """Open a folder with images/ alone; `rtslib.data.opening.open_chips` calls this.

    Raises:
        DataError: no image is there, two have one name, or one is not RGB with 8 bits.
    """
    root = Path(root)
    files = sorted(p for p in (root / "images").iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(root / "images", "no image", f"files that end in {', '.join(SUFFIXES)}")
    chips: list[Chip] = []
    names: dict[str, Path] = {}
    for number, path in enumerate(files, start=1):
        if path.stem in names:
            raise DataError(path, f"the same name as {names[path.stem].name}", "each name once, whatever the ending")
        names[path.stem] = path
        height, width = _size(path)
        check_header(path, height, width)
        chips.append(Chip(number, path.stem, (path,), height, width, source_of(path.stem), "test", labelled=False))
    note = "images/ has no instances.json beside it: there are no labels, and image ids are the order of file names."
    return ChipSet(
        root=root, layout="plain", bands=BANDS, chips=tuple(chips), instances={}, dropped_instances=0,
        notes=(note,), has_groups=False, reader=read_image, listings=(),
    )  # fmt: skip


def _size(path: Path) -> tuple[int, int]:
    """Return height and width in px."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as e:  # damaged bytes make Pillow's readers raise many kinds
        raise DataError(path, f"no readable image ({one_line(e)})", "a JPEG or PNG file") from e
