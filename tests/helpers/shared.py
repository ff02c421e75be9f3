"""What takes long to make and is only read: made once for all tests, also where several processes run them.

A fixture that a module imports is a fixture of that module, whatever its scope says: so what is shared lies in a folder
beside those of the tests, and whoever comes first makes it, behind a lock.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def shared(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """The folder `name` as `make` filled it; AssertionError at the end if a file of it changed meanwhile."""
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "shared"
    place.mkdir(exist_ok=True)
    folder = place / name
    with open(place / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / f"{name}.made").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a test process that ended halfway
            make(folder)
            (place / f"{name}.made").touch()
    before = _files(folder)
    yield folder
    assert _files(folder) == before, f"{name} is shared by tests and was changed by one: copy it first"


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file."""
    return {p: (s.st_size, s.st_mtime_ns) for p in folder.rglob("*") if p.is_file() and (s := p.stat())}
