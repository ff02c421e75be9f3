"""Layout (b): RGB images and one COCO annotation file.

    images/*.jpg, *.jpeg, *.png    8-bit RGB chips of any size
    instances.json                 COCO, category rts; polygons or RLE (`rtslib.data.annotations`)

Such is the Cyber2A teaching set of 756 Maxar chips (Yang et al. 2023, doi 10.1016/j.rse.2023.113495). The
bands are red, green and blue as 8-bit counts, all pixels valid. Instances stay as drawn; one that
covers no pixel is left out and counted.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from rtslib.data.annotations import decode_instances, image_path, read_annotations
from rtslib.data.chips import Chip, ChipSet, source_of
from rtslib.errors import DataError, one_line

BANDS = ("red", "green", "blue")
SUFFIXES = (".jpg", ".jpeg", ".png")


def open_coco(root: Path) -> ChipSet:
    """Open a folder with images/ and instances.json; `rtslib.data.opening.open_chips` calls this.

    Raises:
        DataError: the annotation file breaks a rule of `rtslib.data.annotations`, or an image is missing, listed
            twice, not RGB with 8 bits, or of another size than listed.
    """
    root = Path(root)
    annotations = read_annotations(root / "instances.json")
    chips: list[Chip] = []
    files: set[Path] = set()
    for number, entry in sorted(annotations.images.items()):
        where = f"{annotations.path}, image {number}"
        path = image_path(root / "images", entry.file_name, where, "images/")
        if path in files:
            raise DataError(where, f"file_name {entry.file_name!r} a second time", "each file listed once")
        check_header(path, entry.height, entry.width)
        files.add(path)
        group = source_of(path.stem)
        chips.append(Chip(number, path.stem, (path,), entry.height, entry.width, group, "train", labelled=True))
    instances, dropped = decode_instances(annotations)
    notes = [f"{dropped} annotations cover no pixel and are left out."] if dropped else []
    extra = {p for p in (root / "images").iterdir() if p.suffix.lower() in SUFFIXES} - files
    if extra:
        notes.append(f"{len(extra)} images in images/ are not in instances.json and are left out.")
    return ChipSet(
        root=root, layout="coco", bands=BANDS, chips=tuple(chips), instances=instances,
        dropped_instances=dropped, notes=tuple(notes), has_groups=False, reader=read_image,
        listings=(annotations.path,),
    )  # fmt: skip


def read_image(chip: Chip) -> np.ndarray:
    """Read one image.

    Returns:
        float32 (3, H, W): red, green, blue counts from 0 to 255.

    Raises:
        DataError: the file is damaged or has changed since the folder was opened.
    """
    path = chip.files[0]
    check_header(path, chip.height, chip.width)
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except Exception as e:  # damaged bytes make Pillow's readers raise many kinds
        found = f"pixels that cannot be read ({one_line(e)})"
        raise DataError(path, found, "a whole image", "copy or download it again") from e
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


def check_header(path: Path, height: int, width: int) -> None:
    """Check format, mode and size (px) of an image without decoding it. Raises DataError."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            mode, size = image.mode, (image.height, image.width)
    except Exception as e:  # as in read_image
        raise DataError(path, f"no readable image ({one_line(e)})", "a JPEG or PNG file") from e
    if mode != "RGB":
        raise DataError(path, f"an image of mode {mode}", "8-bit RGB", f"convert it: {_fix(mode)}")
    if size != (height, width):
        found = f"{size[0]} x {size[1]} px (height x width)"
        raise DataError(path, found, f"{height} x {width} px as listed")


def _fix(mode: str) -> str:
    """Say how an image of another mode becomes RGB."""
    if mode in ("RGBA", "LA", "PA"):
        return "drop the alpha band, in Pillow image.convert('RGB')"
    if mode == "L" or mode.startswith(("I", "F")):
        return "one band is not colour; bring all three, scaled to 0-255"
    return "in Pillow image.convert('RGB')"
