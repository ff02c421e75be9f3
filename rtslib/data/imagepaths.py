"""Image paths: which file of a folder a listing means, however its tool wrote the name.

Tools write names relative to the images' folder or to the data set, with backslashes on Windows, or as whole paths of
the machine on which was drawn. Each reading has to end at a file inside the folder, else the name is refused.
"""

import re
from pathlib import Path, PurePosixPath

from rtslib.errors import DataError
from rtslib.files import inside

_DRIVE = re.compile("[A-Za-z]:")


def image_path(folder: Path, name: str, where: str, prefix: str) -> Path:
    """Return the path of a listed image that exists.

    Args:
        folder: where the images lie.
        name: as listed: relative to `folder`, with `prefix` or a path that ends in it before it, or a whole path of
            any machine, of which the longest end that is there counts. Backslashes part folders too.
        where: the listing's file and item, for errors.
        prefix: `folder` relative to the data set's root, such as `train/images/`.

    Raises:
        DataError: the name leaves the folder, or there is no such file.
    """
    plain = False
    for reading in _readings(name, prefix):
        try:
            path = inside(folder, reading)
            if ".." in path.relative_to(folder).parts:
                continue  # two names for one file
            if path.is_file():
                return path
            plain = not is_absolute(name)
        except (DataError, ValueError, OSError):  # a null byte, a name too long
            continue
    if plain:
        raise DataError(where, f"no file {name!r} in {folder}", "every listed image to exist")
    raise DataError(where, f"file name {name!r}", f"the plain name of a file inside {prefix}")


def is_absolute(name: str) -> bool:
    """Tell whether a listed name is a whole path, on Windows (`C:\\`, `\\\\server\\`) or elsewhere."""
    return name.startswith(("/", "\\")) or bool(_DRIVE.match(name))


def _readings(name: str, prefix: str) -> list[str]:
    """Return what a listed name may mean, relative to the images' folder, the likeliest first."""
    slashed = name.replace("\\", "/")
    found = [n.removeprefix("./").removeprefix(prefix) for n in (name, slashed)]
    _, before, tail = slashed.rpartition(f"/{prefix}")
    if before:
        found.append(tail)
    if is_absolute(name):
        parts = PurePosixPath(slashed).parts[1:]
        found += ["/".join(parts[k:]) for k in range(len(parts))]
    return list(dict.fromkeys(found))
