"""Chips: the small images that a detector learns from, with the slumps drawn on them.

A *chip* is one image cut around a place of interest, with all bands on one pixel grid. An *instance* is
one slump on one chip: a mask, its box, its size. A *chip set* is a folder of chips, whatever its layout
(`rtslib.data.opening`): its structure was checked when it was opened, pixels are read, and their values
checked, when a chip is read. The annotation format is COCO's: https://cocodataset.org/#format-data.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from affine import Affine

from rtslib.bands import available_modalities
from rtslib.data.masks import rle_area, rle_bbox
from rtslib.errors import DataError

#: The one category; its name and id are the challenge's.
CATEGORY = {"id": 1, "name": "rts", "supercategory": "landform"}

_NUMBERED = re.compile(r"[A-Za-z]+_(?P<source>[A-Za-z][A-Za-z0-9-]*)_\d+")


@dataclass(frozen=True)
class Chip:
    """One chip: where its pixels are and what is known of it without reading them.

    Attributes:
        id: COCO image_id, unique in the set.
        name: path in the images' folder without ending, or the chip's own id in the geotiff layout.
        files: the image files that are read for it.
        height, width: px.
        group: site group where the data has one, else the source ("nitze" of train_nitze_042), else
            the chip's own name. Chips of one group stay on one side of a split.
        part: "train" or "test", as the release says ("train" where it does not).
        labelled: whether instances are known; a labelled chip may have none.
        crs: such as "EPSG:32643"; None without georeference.
        transform: pixel (x right, y down) to map coordinates; None without georeference.
    """

    id: int
    name: str
    files: tuple[Path, ...]
    height: int
    width: int
    group: str
    part: str
    labelled: bool
    crs: str | None = None
    transform: Affine | None = None


@dataclass(frozen=True)
class Instance:
    """One slump on one chip.

    Attributes:
        rle: mask as compressed COCO RLE, {"size": [H, W], "counts": str}.
        bbox: x, y, w, h in px, along the outer edges of the mask's pixels.
        area: mask pixels; never an `area` from a file, which in some is the box's.
    """

    rle: dict
    bbox: tuple[float, float, float, float]
    area: int

    @classmethod
    def from_rle(cls, rle: dict) -> "Instance":
        """Make an instance of a compressed RLE; box and area come from the mask."""
        return cls(rle=rle, bbox=rle_bbox(rle), area=rle_area(rle))


@dataclass(frozen=True, eq=False)
class ChipSet:
    """An opened data set, the same for every layout.

    Attributes:
        root: its folder.
        layout: key of `rtslib.data.opening.LAYOUTS`.
        bands: names of the bands that every chip has, derived ones included, in array order.
        chips: all chips, ordered by id.
        instances: chip id -> instances, for labelled chips only; () means that there is no slump.
        dropped_instances: instances left out because they cover no pixel, or too few (geotiff layout).
        notes: plain sentences on peculiarities of the folder, none of them an error.
        has_groups: True when `Chip.group` is a site group that the data gives.
        reader: reads a chip, see `read`; the layout supplies it.
        listings: manifests and annotation files, whose bytes go into `fingerprint`.
        id_offset: what was added to the ids of training chips, see `rtslib.data.layouts.challenge`; mostly 0.
        derived: band computed here -> bands it is computed from; what the files hold is not in it.
        category: the class of an annotation file that was asked for, where it has several; else "".
    """

    root: Path
    layout: str
    bands: tuple[str, ...]
    chips: tuple[Chip, ...]
    instances: dict[int, tuple[Instance, ...]]
    dropped_instances: int
    notes: tuple[str, ...]
    has_groups: bool
    reader: Callable[[Chip], np.ndarray]
    listings: tuple[Path, ...]
    id_offset: int = 0
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    category: str = ""

    def read(self, chip: Chip) -> np.ndarray:
        """Read a chip's pixels.

        Returns:
            float32 (B, H, W) in physical units (see `rtslib.bands`), in the order of `bands`; NaN is
            nodata.

        Raises:
            DataError: the file cannot be read, or a value is none that its band can have.
        """
        return self.reader(chip)

    def modalities(self) -> dict[str, tuple[str, ...]]:
        """Return the default modalities all of whose bands this set has."""
        return available_modalities(self.bands)

    def labelled(self) -> tuple[Chip, ...]:
        """Return the chips whose instances are known."""
        return tuple(c for c in self.chips if c.labelled)

    def fingerprint(self) -> str:
        """Return a SHA-256 (64 hexadecimal digits) that tells this data set from a changed one.

        It covers name and size of every image file, the bytes of manifests and annotation files, and the
        category that was asked for, but no pixels, so it is quick; an image changed at equal size goes unseen.

        Raises:
            DataError: a file has gone since the set was opened.
        """
        digest = hashlib.sha256(self.category.encode())
        try:
            files = {f for chip in self.chips for f in chip.files}
            for name, file in sorted((f.relative_to(self.root).as_posix(), f) for f in files):
                digest.update(f"{name}\t{file.stat().st_size}\n".encode())
            for name, file in sorted((f.relative_to(self.root).as_posix(), f) for f in self.listings):
                digest.update(f"{name}\t".encode() + file.read_bytes())
        except OSError as e:
            raise DataError(e.filename, e.strerror or str(e), "the file that was there at opening") from e
        return digest.hexdigest()

    def coco(self, chips: Iterable[Chip] | None = None) -> dict:
        """Return the ground truth of labelled chips as a COCO dict.

        Args:
            chips: which; None means all labelled ones.

        Returns:
            `images`, `annotations` (compressed RLE, area in mask pixels, ids from 1, since pycocotools
            takes a match with id 0 for none) and `categories`, ready for JSON and for pycocotools.

        Raises:
            DataError: a chip has no labels.
        """
        out: dict = {"info": {"description": self.root.name}, "images": [], "annotations": []}
        for chip in self.labelled() if chips is None else chips:
            if not chip.labelled:
                raise DataError(chip.files[0], "a chip without labels", "chips whose instances are known")
            name = chip.name + chip.files[0].suffix
            image = {"id": chip.id, "file_name": name, "height": chip.height, "width": chip.width}
            out["images"].append(image)
            for i in self.instances[chip.id]:
                out["annotations"].append({
                    "id": len(out["annotations"]) + 1, "image_id": chip.id, "category_id": CATEGORY["id"],
                    "segmentation": dict(i.rle), "bbox": list(i.bbox), "area": i.area, "iscrowd": 0,
                })  # fmt: skip
        out["categories"] = [dict(CATEGORY)]
        return out


def source_of(name: str) -> str:
    """Return the group of a chip that has no site group, from its file stem.

    `train_nitze_042` came from the source `nitze`; a name of another form is its own group.
    """
    match = _NUMBERED.fullmatch(name)
    return match["source"] if match else name
