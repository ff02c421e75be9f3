"""Layout (c): chips as co-registered GeoTIFFs, one folder a source.

    chips.csv          one row a chip: `chip` (id = file name without .tif) and `group` (site), more allowed
    <source>/ID.tif    bands of one source, named by the TIFF's band descriptions; any number of sources
    mask/ID.tif        optional label raster: one integer band, 1 = RTS, 0 = not; then for every chip
    instances/ID.tif   instead of mask/: one integer band, 0 = not RTS, k = slump k of the chip

All files of a chip lie on one grid. Instances of a mask follow the challenge's label rule (`masks.label_instances`);
with `instances/` (`rtslib.data.cutting` writes it), two slumps that touch stay two. Each chip keeps its own CRS, as
chips of one set may lie in several UTM zones. The layout is that of the data set after lubka1/RTS-detection; raster
rules are in `rtslib.data.rasters`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rasterio.errors import RasterioError

from rtslib.bands import BANDS
from rtslib.data.chips import Chip, ChipSet, Instance
from rtslib.data.grids import check_same_grid, open_raster, read_grid, rename
from rtslib.data.masks import MIN_PIXELS, encode, label_instances
from rtslib.data.rasters import Stack, open_stack
from rtslib.errors import DataError, one_line
from rtslib.files import inside

#: The folders of label rasters, of which a set has one or none; every other folder that holds *.tif is a source.
LABELS, INSTANCES = "mask", "instances"


@dataclass(frozen=True)
class StackReader:
    """Reads a chip through its stack; `ChipSet.reader` of this layout. Can be pickled."""

    stacks: dict[int, Stack]

    def __call__(self, chip: Chip) -> np.ndarray:
        """Return float32 (B, H, W), NaN = nodata. Raises DataError as `Stack.read`."""
        return self.stacks[chip.id].read()


def open_geotiff(root: Path) -> ChipSet:
    """Open a folder of layout (c). Headers and label rasters are read, image pixels are not.

    Image ids count from 1 in the order of chips.csv. Rows of chips.csv that repeat an earlier one exactly count once,
    and files that it does not list are left out; both go to `notes`.

    Args:
        root: folder with chips.csv.

    Raises:
        DataError: chips.csv is unreadable or incomplete; a chip id comes twice with different content or leaves the
            folder; a listed file is missing; a raster breaks the contract of `open_stack`; a chip's bands differ from
            the first chip's; a label raster has another grid, more than one band, no integers, or values other than 0
            and 1 (in `instances/`: below 0); there are both kinds of label rasters.
    """
    table, notes = _read_table(root / "chips.csv")
    folders = _sources(root, table["chip"].iloc[0])
    label_folder = _label_folder(root)
    chips: list[Chip] = []
    stacks: dict[int, Stack] = {}
    instances: dict[int, tuple[Instance, ...]] = {}
    dropped = 0
    for number, (name, group) in enumerate(zip(table["chip"], table["group"]), start=1):
        stack = stacks[number] = open_stack([inside(folder, f"{name}.tif") for folder in folders])
        if stack.bands != stacks[1].bands:
            expected = f"{', '.join(stacks[1].bands)} as in chip {chips[0].name}"
            raise DataError(f"{root}, chip {name}", f"bands {', '.join(stack.bands)}", expected)
        if label_folder:
            masks, few = _read_instances(inside(label_folder, f"{name}.tif"), stack)
            instances[number] = tuple(Instance.from_rle(encode(m)) for m in masks)
            dropped += few
        chips.append(
            Chip(number, name, tuple(map(Path, stack.files)), stack.height, stack.width, group, "train",
                 bool(label_folder), stack.crs.to_string(), stack.transform)
        )  # fmt: skip
    labels = [label_folder / f"{c.name}.tif" for c in chips] if label_folder else []
    notes += [_left_out(folder, table["chip"]) for folder in [*folders, *([label_folder] if labels else [])]]
    if dropped:
        notes.append(f"{dropped} label components of fewer than {MIN_PIXELS} px are left out.")
    return ChipSet(
        root=root, layout="geotiff", bands=stacks[1].bands, chips=tuple(chips), instances=instances,
        dropped_instances=dropped, notes=tuple(n for n in notes if n), has_groups=True, reader=StackReader(stacks),
        listings=(root / "chips.csv", *labels), derived=stacks[1].derivations,
    )  # fmt: skip


def read_label(path: Path, stack: Stack) -> np.ndarray:
    """Read a label raster on the grid of a stack.

    Returns:
        bool (H, W), True = RTS.

    Raises:
        DataError: missing or unreadable, another grid, not one band of integers 0 and 1.
    """
    values = _read_integers(path, stack, "1 = RTS, 0 = not")
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        found = f"value {values[wrong][0]} at {int(wrong.sum())} px"
        raise DataError(path, found, "0 and 1 only: 1 = RTS, 0 = not")
    return values == 1


def _label_folder(root: Path) -> Path | None:
    """Return the folder of label rasters, if there is one. Raises DataError for two."""
    found = [root / name for name in (LABELS, INSTANCES) if (root / name).is_dir()]
    if len(found) > 1:
        raise DataError(root, f"both {LABELS}/ and {INSTANCES}/", "one of them", "remove the other")
    return found[0] if found else None


def _read_instances(path: Path, stack: Stack) -> tuple[list[np.ndarray], int]:
    """Return the instances of a chip as bool masks (H, W), and how many smaller ones are left out."""
    if path.parent.name == LABELS:
        return label_instances(read_label(path, stack))
    numbers = _read_integers(path, stack, "k = slump k, 0 = not")
    if numbers.min() < 0:
        raise DataError(path, f"value {numbers.min()}", "0 or more: k = slump k, 0 = not")
    masks = [numbers == k for k in np.unique(numbers[numbers > 0])]
    kept = [m for m in masks if m.sum() >= MIN_PIXELS]
    return kept, len(masks) - len(kept)


def _read_integers(path: Path, stack: Stack, meaning: str) -> np.ndarray:
    """Read a raster of one integer band (H, W) on the grid of a stack. Raises DataError as `read_label`."""
    with open_raster(path) as file:
        check_same_grid(path, read_grid(file), stack.files[0], stack.grid)
        if file.count != 1:
            raise DataError(path, f"{file.count} bands", f"one band: {meaning}")
        if np.dtype(file.dtypes[0]).kind not in "iu":
            raise DataError(path, f"dtype {file.dtypes[0]}", f"integers, such as uint8: {meaning}")
        try:
            return file.read(1)
        except RasterioError as e:
            raise DataError(path, f"unreadable pixels: {one_line(e)}", "a whole GeoTIFF") from e


def _read_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read chips.csv as text with unique chips, and the notes on repeated rows."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as e:
        found = f"no readable table: {' '.join(str(e).split())}"
        raise DataError(path, found, "CSV with a header line") from e
    missing = [c for c in ("chip", "group") if c not in table]
    if missing:
        raise DataError(path, f"columns {', '.join(table)}", f"also {' and '.join(missing)}")
    if table.empty:
        raise DataError(path, "no chip", "at least one row")
    for column in ("chip", "group"):
        blank = table.index[table[column].str.strip() == ""]
        if len(blank):
            where = f"{path}, line {blank[0] + 2}"
            raise DataError(where, f"an empty {column}", f"a {column} for every chip")
    repeated = table.duplicated()
    unique = table[~repeated]
    twice = unique.loc[unique["chip"].duplicated(), "chip"]
    if len(twice):
        raise DataError(f"{path}, chip {twice.iloc[0]}", "two rows with different values", "one row a chip")
    if not repeated.any():
        return unique, []
    names = ", ".join(dict.fromkeys(table.loc[repeated, "chip"]))
    return unique, [f"chips.csv repeats {int(repeated.sum())} rows exactly, which count once: {names}."]


def _sources(root: Path, first_chip: str) -> list[Path]:
    """Return the source folders, ordered by their first chip's bands so that imagery precedes terrain."""
    labels = (LABELS, INSTANCES)
    folders = [d for d in sorted(root.iterdir()) if d.is_dir() and d.name not in labels and any(d.glob("*.tif"))]
    if not folders:
        expected = "one folder a source, such as s2/ and dem/"
        found = f"no folder with *.tif besides {' and '.join(f'{n}/' for n in labels)}"
        raise DataError(root, found, expected, rename(root.glob("*/*")))

    def place(folder: Path) -> int:
        stack = open_stack([inside(folder, f"{first_chip}.tif")])
        return min(list(BANDS).index(layer.name) for layer in stack.layers)

    return sorted(folders, key=place)


def _left_out(folder: Path, listed: pd.Series) -> str:
    """Return a note on the folder's rasters that chips.csv does not list, or an empty string."""
    extra = sorted({f.stem for f in folder.glob("*.tif")} - set(listed))
    if not extra:
        return ""
    return f"{folder.name}/ has {len(extra)} rasters not in chips.csv, left out, such as {extra[0]}."
