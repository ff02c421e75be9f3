"""The challenge's release made ready: unpacked, checked to the last pixel, and split by ground.

Its chips have lost their place, and several may show one ground, so a split by chips would test on what was trained
on. They are grouped by their pixels (`rtslib.data.lookalikes`), which reads, and so checks, every chip.
"""

import shutil
import zipfile
from pathlib import Path

import pandas as pd

from rtslib.data.lookalikes import lookalike_pairs, lookalikes, with_groups
from rtslib.data.opening import open_chips
from rtslib.data.splits import save_split, split_by_group
from rtslib.errors import DataError, OutputError, one_line
from rtslib.files import new_folder, save_table

#: In the folder that is made: the chips of a ZIP, the split, and which chips show the same ground.
DATA, SPLIT, PAIRS = "data", "split.csv", "lookalikes.csv"
_MARK = "metadata/band_names.json"


def prepare(
    release: str | Path, out: str | Path, val: float = 0.15, test: float = 0.2, seed: int = 0, category: str = ""
) -> tuple[Path, pd.DataFrame, int]:
    """Check a release and write its split into a new folder, whole or not at all.

    Args:
        release: the ZIP, or a folder; either may hold the release in a folder of its own.
        out: folder to make; it must not exist, or be empty.
        val, test, seed: as for `rtslib.data.splits.split_by_group`; category: as for `rtslib.data.opening.open_chips`.

    Returns:
        The folder of the chips; the split; how many test chips of the release show ground of training chips.

    Raises:
        ConfigError: a share is out of range, or there is no such category.
        DataError: the release is none, or is damaged anywhere, or all its chips show one ground.
        OutputError: `out` holds something, cannot be written, or has not the room.
    """
    release, out = Path(release), Path(out)
    with new_folder(out) as part:
        unpacked = release.is_file()
        if unpacked:
            _unpack(release, part / DATA)
        root = _root(part / DATA if unpacked else release, release)
        chipset = open_chips(root, category)
        pairs = lookalike_pairs(chipset)
        split = split_by_group(with_groups(chipset, lookalikes(chipset, pairs)), val, test, seed)
        save_split(split, part / SPLIT)
        save_table(pairs, part / PAIRS)
        place = out / root.relative_to(part) if unpacked else root
    hidden = {c.id for c in chipset.chips if not c.labelled}
    shared = {a if a in hidden else b for a, b in zip(pairs["a"], pairs["b"]) if (a in hidden) != (b in hidden)}
    return place, split, len(shared)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a ZIP. Raises DataError, OutputError."""
    try:
        with zipfile.ZipFile(archive) as content:
            size, room = sum(i.file_size for i in content.infolist()), shutil.disk_usage(folder.parent).free
            if size > room:
                raise OutputError(f"{archive} unpacks to {size / 1e9:.1f} GB, {room / 1e9:.1f} GB are free: make room")
            content.extractall(folder)  # leaves out what would climb out of the folder
    except (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, NotImplementedError, EOFError) as e:
        raise DataError(archive, f"no readable ZIP ({one_line(e)})", "the release", "download it again") from e


def _root(folder: Path, said: Path) -> Path:
    """Return the folder that holds the release, itself or one inside. Raises DataError."""
    found = [m.parents[1] for m in sorted(folder.rglob(_MARK)) if "__MACOSX" not in m.parts]
    if len(found) != 1:
        what = f"{len(found)} releases" if found else "no such folder" if not said.exists() else f"no {_MARK}"
        raise DataError(said, what, "the challenge's release, as ZIP or folder")
    return found[0]
