"""Layout (b): RGB images and one COCO annotation file.

    images/*.jpg, *.jpeg, *.png    RGB chips of any size, all of 8 or all of 16 bits (`rtslib.data.images`)
    images/SITE/*                  or in folders, one a site (`rtslib.data.layouts.sites`)
    instances.json                 COCO, one category; polygons or RLE (`rtslib.data.annotations`)

Such is the Cyber2A teaching set of 756 Maxar chips (Yang et al. 2023, doi 10.1016/j.rse.2023.113495). The
bands are red, green and blue as counts, all pixels valid. Instances stay as drawn; one that
covers no pixel is left out and counted.
"""

from pathlib import Path

import numpy as np

from rtslib.data.annotations import decode_instances, read_annotations
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.imagepaths import image_path
from rtslib.data.images import SUFFIXES, Header, is_turned, read_header, read_rgb
from rtslib.data.layouts.sites import names_in, site_groups
from rtslib.errors import DataError

BANDS = ("red", "green", "blue")


def open_coco(root: Path, category: str = "") -> ChipSet:
    """Open a folder with images/ and instances.json; `rtslib.data.opening.open_chips` calls this.

    Raises:
        DataError: the annotation file breaks a rule of `rtslib.data.annotations`, or an image is missing, listed
            twice, none of `rtslib.data.images`, of another size than listed, of other bits than the first, or in no
            site's folder where others are.
    """
    folder = root / "images"
    annotations = read_annotations(root / "instances.json", category)
    files: dict[Path, Header] = {}
    turned = as_stored = 0
    for number, entry in sorted(annotations.images.items()):
        where = f"{annotations.path}, image {number}"
        path = image_path(folder, entry.file_name, where, "images/")
        if path in files:
            raise DataError(where, f"file_name {entry.file_name!r} a second time", "each file listed once")
        header = files[path] = read_header(path)
        turns = is_turned(path, header, (entry.height, entry.width))
        turned += turns
        as_stored += header.orientation > 1 and not turns
    check_bits(files)
    names = names_in(folder, list(files))
    groups, known, notes = site_groups(folder, names)
    chips = [
        Chip(number, name, (path,), entry.height, entry.width, group, "train", labelled=True)
        for (number, entry), path, name, group in zip(sorted(annotations.images.items()), files, names, groups)
    ]
    instances, dropped = decode_instances(annotations)
    notes = [*annotations.notes, *notes]
    if turned:
        notes.append(f"{turned} images are turned by their EXIF orientation: so they have the listed size.")
    if as_stored:
        notes.append(
            f"{as_stored} images are not turned by their EXIF orientation: unturned they have the listed size."
        )
    if dropped:
        notes.append(f"{dropped} annotations cover no pixel and are left out.")
    if extra := set(images_in(folder)) - set(files):
        notes.append(f"{len(extra)} images in images/ are not in instances.json and are left out.")
    return ChipSet(
        root=root, layout="coco", bands=BANDS, chips=tuple(chips), instances=instances,
        dropped_instances=dropped, notes=tuple(notes), has_groups=known, reader=read_listed,
        listings=(annotations.path,), category=annotations.category,
    )  # fmt: skip


def read_listed(chip: Chip) -> np.ndarray:
    """Read an image of a listed size: float32 (3, H, W) counts. Raises DataError as `rtslib.data.images.read_rgb`."""
    return read_rgb(chip.files[0], (chip.height, chip.width))


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and the folders in it, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def check_bits(files: dict[Path, Header]) -> None:
    """Raise DataError unless all images have the bits a band of the first: 8-bit counts are none of 16 bits."""
    first = next(iter(files))
    for path, header in files.items():
        if header.bits != files[first].bits:
            raise DataError(
                path, f"{header.bits} bits a band", f"{files[first].bits} as {first.name}", "save all alike"
            )
