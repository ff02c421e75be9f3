"""Layout (d): RGB images without annotations, to predict on.

    images/*.jpg, *.jpeg, *.png    RGB chips of any size, or folders of them, as layout (b) has them

As layout (b) without its annotation file. Chips have the ids 1, 2, ... in the order of their file names. Images with
an EXIF orientation are turned, since nothing was drawn on them.
"""

from pathlib import Path

import numpy as np

from rtslib.data.chips import Chip, ChipSet, source_of
from rtslib.data.images import SUFFIXES, Header, read_header, read_rgb
from rtslib.data.layouts.coco import BANDS, check_bits, images_in
from rtslib.data.layouts.sites import names_in
from rtslib.errors import DataError


def open_plain(root: Path) -> ChipSet:
    """Open a folder with images/ alone; `rtslib.data.opening.open_chips` calls this.

    Raises:
        DataError: no image is there, two have one name, or one is none of `rtslib.data.images`, of other bits than the
            first.
    """
    folder = root / "images"
    files = images_in(folder)
    if not files:
        tiffs = any(p.suffix.lower() in (".tif", ".tiff") for p in folder.rglob("*"))
        fix = "GeoTIFFs need chips.csv beside one folder a source: layout geotiff" if tiffs else ""
        raise DataError(folder, "no image", f"files that end in {', '.join(SUFFIXES)}", fix)
    headers: dict[Path, Header] = {}
    names: dict[str, Path] = {}
    for path, name in zip(files, names_in(folder, files)):
        if name in names:
            raise DataError(path, f"the same name as {names[name].name}", "each name once, whatever the ending")
        names[name], headers[path] = path, read_header(path)
    check_bits(headers)
    chips = [
        Chip(number, name, (path,), *headers[path].turned, source_of(path.stem), "test", labelled=False)
        for number, (name, path) in enumerate(names.items(), start=1)
    ]
    notes = ["images/ has no instances.json beside it: there are no labels, and image ids are the order of file names."]
    if others := sorted(p.name for p in root.glob("*.json")):
        notes.append(f"{others[0]} is not read: a COCO file of these images is named instances.json.")
    if turned := sum(h.orientation > 1 for h in headers.values()):
        notes.append(f"{turned} images are turned by their EXIF orientation.")
    return ChipSet(
        root=root, layout="plain", bands=BANDS, chips=tuple(chips), instances={}, dropped_instances=0,
        notes=tuple(notes), has_groups=False, reader=read_tagged, listings=(),
    )  # fmt: skip


def read_tagged(chip: Chip) -> np.ndarray:
    """Read an image as its orientation has it: float32 (3, H, W) counts.

    Raises:
        DataError: as `rtslib.data.images.read_rgb`, or the size is another than when the folder was opened.
    """
    pixels = read_rgb(chip.files[0], None)
    if pixels.shape[1:] != (chip.height, chip.width):
        found = f"{pixels.shape[1]} x {pixels.shape[2]} px (height x width)"
        raise DataError(chip.files[0], found, f"{chip.height} x {chip.width} px as when it was opened")
    return pixels
