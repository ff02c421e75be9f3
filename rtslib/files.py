"""Files: where the checkout is, writing whole or not at all, hashes, and paths that stay inside a folder."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtslib.errors import DataError, OutputError, one_line

if TYPE_CHECKING:
    import pandas as pd

#: Root of the checkout: what relative paths in notebooks are relative to.
ROOT = Path(__file__).resolve().parents[1]
#: Modules whose errors are GDAL's, which are no OSErrors.
_GDAL = ("pyogrio", "rasterio")


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on failure.

    The temporary name keeps the suffix, since many writers choose the format by it.

    Raises:
        OutputError: the folder cannot be made or written; also where it was GDAL that wrote.
    """
    path = Path(path)
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}: choose a writable place with room") from e
    except Exception as e:
        if not type(e).__module__.startswith(_GDAL):
            raise
        raise OutputError(f"cannot write {path}: {one_line(e)[:200]}: choose a writable place with room") from e
    finally:
        with suppress(OSError):  # gone by renaming, or its folder could not be made
            part.unlink()


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`; rename it to `out` on success, delete it on failure.

    Raises:
        OutputError: `out` is a file, a folder that holds something, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already: choose a new or empty folder")
    whole = out.resolve()
    part = whole.with_name(f".part-{os.getpid()}-{whole.name}")
    try:
        part.mkdir(parents=True)
        yield part
        os.replace(part, whole)
    except OSError as e:
        raise OutputError(f"cannot write {out}: {e.strerror or e}: choose a writable place with room") from e
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text whole or not at all. Raises OutputError."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON (indented, keys in the given order) whole or not at all. Raises OutputError."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def save_table(table: "pd.DataFrame", path: str | Path) -> "pd.DataFrame":
    """Write a table as CSV, whole or not at all, six digits; return it. Raises OutputError."""
    with whole(path) as part:
        table.to_csv(part, index=False, float_format="%.6g")
    return table


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: it is missing, not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "no such file", "a JSON file") from None
    except (OSError, ValueError, RecursionError) as e:  # bad UTF-8, bad JSON, endless numbers are ValueErrors
        raise DataError(path, f"no readable JSON: {e}", "a JSON file") from e


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits. Raises DataError if unreadable."""
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise DataError(path, e.strerror or str(e), "a readable file") from e


def inside(root: str | Path, name: str) -> Path:
    """Join a file name from an annotation file to `root`, refusing one that leaves the folder.

    Raises:
        DataError: `name` is absolute, empty, or climbs out with `..`.
    """
    path = Path(root) / name
    if not name or Path(name).is_absolute() or not path.resolve().is_relative_to(Path(root).resolve()):
        raise DataError(root, f"file name {name!r}", "a relative path that stays inside the folder")
    return path
