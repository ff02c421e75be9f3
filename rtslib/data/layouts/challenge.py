"""Layout (a): the release of the 2026 GeoAI Arctic Challenge.

    metadata/band_names.json                       the eight band names, in array order
    metadata/train_manifest.csv, test_manifest.csv image_id, file_name, height, width[, group, ...]
    train/images/*.npz                             one array `image`, H x W x 8 (HWC); folders as in layout (b)
    train/annotations/instances_train.json         COCO, compressed RLE, category rts (`rtslib.data.categories`)
    test/images/*.npz                              the same without labels; the test part may be missing

Type and shape of every chip are checked when the folder is opened, values when a chip is read (`rtslib.data.npz`).
Labels are taken as listed: the organisers already made them 8-connected components of at least 10 px.

Training and test images may both be numbered from 1. Ids are unique in a chip set and a submission needs
the test ids as they are, so then a round number is added to the training ids (`ChipSet.id_offset`).

Source: https://cyber2a.github.io/challenge/dataset.html and submission.html (2026).
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from rtslib.bands import CHALLENGE_BANDS
from rtslib.data.annotations import Annotations, decode_instances, read_annotations
from rtslib.data.chips import Chip, ChipSet, Instance
from rtslib.data.imagepaths import image_path
from rtslib.data.layouts.sites import names_in, site_groups
from rtslib.data.npz import check_npz, read_npz
from rtslib.errors import DataError, one_line
from rtslib.files import read_json

_COLUMNS = ("image_id", "file_name", "height", "width")


@dataclass(frozen=True)
class _Part:
    """The train or test half of a release: its chips in manifest order, and peculiarities."""

    chips: list[Chip]
    has_groups: bool
    listings: list[Path]
    notes: list[str]


def open_challenge(root: Path, category: str = "") -> ChipSet:
    """Open a release folder; `rtslib.data.opening.open_chips` calls this.

    Raises:
        DataError: other bands or another order than the release has, a damaged manifest, a listed file
            that is missing, damaged or of another shape, or annotations that do not fit the manifest.
    """
    root = Path(root)
    band_file = root / "metadata" / "band_names.json"
    _check_band_names(band_file)
    train = _read_part(root, "train")
    annotations = read_annotations(root / "train" / "annotations" / "instances_train.json", category)
    _check_against_manifest(annotations, train, root / "train" / "images")
    instances, dropped = decode_instances(annotations)
    has_test = (root / "metadata" / "test_manifest.csv").exists() or (root / "test").exists()
    test = _read_part(root, "test") if has_test else _Part([], False, [], ["The folder has no test part."])
    train, instances, offset, notes = _unique_ids(train, test, instances)
    notes += annotations.notes
    if dropped:
        notes.append(f"{dropped} annotations cover no pixel and are left out.")
    return ChipSet(
        root=root, layout="challenge", bands=CHALLENGE_BANDS,
        chips=tuple(sorted(train.chips + test.chips, key=lambda c: c.id)),
        instances=instances, dropped_instances=dropped, has_groups=train.has_groups,
        notes=tuple(train.notes + test.notes + notes), reader=read_npz,
        listings=(band_file, annotations.path, *train.listings, *test.listings), id_offset=offset,
        category=annotations.category,
    )  # fmt: skip


def _check_band_names(path: Path) -> None:
    """Check that band_names.json lists the release's bands in its order.

    Read as a list, as an object with the list under `bands` or `band_names`, or as index -> name.
    """
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("bands", content.get("band_names", content))
    if isinstance(content, dict) and all(k.isdecimal() for k in content):
        content = [content[k] for k in sorted(content, key=int)]
    if content != list(CHALLENGE_BANDS):
        raw = isinstance(content, list) and "elevation" in content
        fix = (
            "npz chips have no pixel size to derive relative elevation by: take GeoTIFFs, layout geotiff" if raw else ""
        )
        raise DataError(path, f"bands {content!r}", f"{list(CHALLENGE_BANDS)} in this order", fix)


def _read_part(root: Path, part: str) -> _Part:
    """Read one manifest and check the files it lists."""
    manifest, folder = root / "metadata" / f"{part}_manifest.csv", root / part / "images"
    rows, columns = _read_manifest(manifest)
    chips: dict[int, Chip] = {}
    files: set[Path] = set()
    given = "group" in columns
    for line, row in rows:
        where = f"{manifest}, line {line}"
        number, height, width = (_integer(where, row, key) for key in ("image_id", "height", "width"))
        path = image_path(folder, row["file_name"], where, f"{part}/images/")
        if number in chips or path in files:
            found = f"image_id {number}" if number in chips else f"file_name {row['file_name']!r}"
            raise DataError(where, f"{found} a second time", "each image listed once")
        check_npz(path, height, width)
        group = row["group"].strip() if given else ""
        if given and not group:
            raise DataError(where, "no group", "a group for every image, or no column of that name")
        files.add(path)
        (name,) = names_in(folder, [path])
        chips[number] = Chip(number, name, (path,), height, width, group, part, labelled=part == "train")
    if part == "train" and not chips:
        raise DataError(manifest, "no rows", "at least one training image")
    extra = len(set(folder.rglob("*.npz")) - files)
    notes = [f"{extra} npz files in {part}/images are not in the manifest and are left out."] if extra else []
    if not given:
        groups, given, said = site_groups(folder, [c.name for c in chips.values()])
        chips = {c.id: replace(c, group=group) for c, group in zip(chips.values(), groups)}
        notes += said if part == "train" else []
    return _Part(list(chips.values()), given, [manifest], notes)


def _read_manifest(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Return the rows of a CSV file with their line numbers, and its columns."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise DataError(path, "no such file", f"a CSV file with columns {', '.join(_COLUMNS)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise DataError(path, f"no readable CSV ({one_line(e)})", "a UTF-8 CSV file") from e
    if not set(_COLUMNS) <= set(columns) or len(set(columns)) != len(columns):
        raise DataError(path, f"columns {columns}", f"at least {list(_COLUMNS)}, each once")
    for line, row in rows:
        if None in row or None in row.values():
            raise DataError(f"{path}, line {line}", "more or fewer values", f"{len(columns)}, one a column")
    return rows, columns


def _integer(where: str, row: dict[str, str], key: str) -> int:
    """Return a manifest value that must be a whole number, sizes positive."""
    text = row[key].strip()
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else -1
    if value < (0 if key == "image_id" else 1):
        expected = "a whole number" if key == "image_id" else "a size in px"
        raise DataError(where, f"{key} {row[key]!r}", expected)
    return value


def _check_against_manifest(annotations: Annotations, train: _Part, folder: Path) -> None:
    """Check that annotation file and training manifest list the same images."""
    chips = {c.id: c for c in train.chips}
    for number, entry in annotations.images.items():
        where = f"{annotations.path}, image {number}"
        path = image_path(folder, entry.file_name, where, "train/images/")
        if number not in chips:
            raise DataError(where, "an image that train_manifest.csv lacks", "the same images in both")
        chip = chips[number]
        found = (entry.height, entry.width, path.relative_to(folder).as_posix())
        expected = (chip.height, chip.width, chip.files[0].relative_to(folder).as_posix())
        if found != expected:
            raise DataError(where, f"height, width, file {found}", f"{expected} as in train_manifest.csv")
    missing = sorted(set(chips) - set(annotations.images))
    if missing:
        found = f"no image with id {missing[0]} ({len(missing)} missing)"
        raise DataError(annotations.path, found, "every image of train_manifest.csv")


def _unique_ids(
    train: _Part, test: _Part, instances: dict[int, tuple[Instance, ...]]
) -> tuple[_Part, dict[int, tuple[Instance, ...]], int, list[str]]:
    """Add a round number to the training ids where some are test ids too; see the module's text."""
    ids = {c.id for c in train.chips} & {c.id for c in test.chips}
    if not ids:
        return train, instances, 0, []
    offset = 10 ** len(str(max(c.id for c in train.chips + test.chips)))
    chips = [replace(c, id=c.id + offset) for c in train.chips]
    note = f"{len(ids)} image ids are in both manifests: training chips have their id + {offset} here."
    return replace(train, chips=chips), {i + offset: v for i, v in instances.items()}, offset, [note]
