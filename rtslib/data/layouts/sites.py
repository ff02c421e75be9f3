"""Site groups of image chips: the folders that they lie in, or what their names say of a source, or nothing.

Chips of one site have to stay on one side of a split. Where images lie in folders (`images/siteA/1.jpg`), the outermost
folder that tells places apart is the site: folders that hold all chips, and those named after sides (`train/`, `val/`)
or dates (`2021/`), tell nothing. Where all lie in one folder, a name such as `train_nitze_042` gives the source at best
(`rtslib.data.chips.source_of`); no site is guessed from other names.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rtslib.data.chips import source_of
from rtslib.errors import DataError

#: Names of folders that say on which side of somebody's split chips were, not where they are.
SIDES = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "images"}

_DATE = re.compile(r"(19|20)\d\d([-_.]?\d\d){0,2}")


def names_in(folder: Path, files: Sequence[Path]) -> list[str]:
    """Return the names of chips: their paths in a folder without ending."""
    return [f.relative_to(folder).with_suffix("").as_posix() for f in files]


def site_groups(folder: Path, names: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """Return the group of each chip, whether these are sites, and what is to be noted.

    Args:
        folder: that the images lie in, for errors.
        names: of the chips: their paths in `folder`, with `/`, without ending.

    Raises:
        DataError: some images lie in folders, and some beside them.
    """
    paths = [PurePosixPath(name) for name in names]
    parts = [path.parts[:-1] for path in paths]
    while all(parts) and _tells_nothing(parts):
        parts = [p[1:] for p in parts]
    if all(parts) and parts:
        groups = [p[0] for p in parts]
        shown = ", ".join(sorted(set(groups))[:3])
        return groups, True, [f"Groups are the {len(set(groups))} folders of {folder.name}/, such as {shown}."]
    if any(parts):
        bare = [name for name, p in zip(names, parts) if not p]
        found = f"{len(bare)} of {len(names)} images in no site's folder, such as {bare[0]}"
        raise DataError(folder, found, "a folder a site for all of them, or for none")
    groups = [source_of(path.name) for path in paths]
    if len(set(groups)) < len(groups) or len(groups) < 2:
        return groups, False, []
    return groups, False, [
        "Nothing says which chips are of one site, so each is a group of its own, and neighbours may be on two sides "
        "of a split: put them into one folder a site, or use `split --lookalikes`."
    ]  # fmt: skip


def _tells_nothing(parts: Sequence[tuple[str, ...]]) -> bool:
    """Tell whether the outermost folders are sides or dates, or one folder around all sites."""
    first = {p[0] for p in parts}
    return all(f.lower() in SIDES or _DATE.fullmatch(f) for f in first) or (
        len(first) == 1 and all(len(p) > 1 for p in parts)
    )
