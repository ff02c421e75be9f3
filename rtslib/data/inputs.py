"""Inputs of a map or of a cut, known by their content: a raster that changed, even at equal size and time, is another.

Files up to `WHOLE` are hashed whole, which takes seconds. Of larger ones, whose reading would take longer than many a
map, `PIECES` pieces spread evenly over the file are hashed, the first and last bytes among them, with its size:
a raster that was made anew differs in most of its blocks. What lies behind a URL has no content that can be had so.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtslib.data.rasters import Stack
from rtslib.errors import DataError

#: Bytes up to which a file is hashed whole; pieces of larger ones, and bytes of each.
WHOLE, PIECES, PIECE = 2**30, 256, 2**16


def content(path: str | Path) -> str | None:
    """Return what tells a raster's content from another: its size in bytes and a SHA-256; None for no local file.

    Raises:
        DataError: a local file is missing or cannot be read.
    """
    if not Path(path).exists() and ("://" in str(path) or str(path).startswith("/vsi")):
        return None
    digest = hashlib.sha256()
    try:
        size = Path(path).stat().st_size
        with open(path, "rb") as file:
            if size <= WHOLE:
                while block := file.read(2**20):
                    digest.update(block)
                return f"{size} {digest.hexdigest()}"
            for at in np.linspace(0, size - PIECE, PIECES).astype(np.int64).tolist():
                file.seek(at)
                digest.update(file.read(PIECE))
    except FileNotFoundError:
        raise DataError(path, "no such file", "the raster that was planned with") from None
    except OSError as e:
        raise DataError(path, f"unreadable: {e.strerror}", "the raster that was planned with") from e
    return f"{size} {digest.hexdigest()} of pieces"


def marks(region: Stack) -> dict[str, Any]:
    """Return what tells rasters on one grid from others, in JSON's types.

    Raises:
        DataError: an input file is gone or cannot be read.
    """
    return {
        "grid": {"crs": region.crs.to_wkt(), "transform": list(region.transform)[:6],
                 "height": region.height, "width": region.width},
        "layers": [[layer.name, str(layer.path), layer.index, layer.scale, layer.offset] for layer in region.layers],
        "files": {str(path): content(path) for path in region.files},
    }  # fmt: skip


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the names of the entries in which two requests differ, those of nested ones with a dot."""
    names = []
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            names += [f"{key}.{k}" for k in differences(a, b)]
        elif a != b:
            names.append(key)
    return names
