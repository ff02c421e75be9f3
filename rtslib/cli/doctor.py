"""The command `doctor`: what files and folders are, what takes them, and what is odd."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtslib.cli.app import Category, app, fail, progress_on_stderr

if TYPE_CHECKING:
    from rtslib.data.diagnosis.findings import Findings


@app.command()
def doctor(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Raster, vector file, chips, run or map.")],
    category: Category = "",
) -> None:
    """Say what files or folders are, and what is odd."""
    from rtslib.errors import RtsError

    sick = False
    for path in paths:
        try:
            found = _look(path, category)
        except RtsError as e:
            fail(str(e))
            sick = True
            continue
        print("\n".join(found.lines()))
        for fault in found.faults:
            fail(fault)
        sick = sick or bool(found.faults)
    if sick:
        raise typer.Exit(2)


def _look(path: Path, category: str) -> "Findings":
    """Look at one path. Raises ConfigError, DataError."""
    from rtslib.data.diagnosis.folder import diagnose_file, diagnose_folder
    from rtslib.errors import DataError

    if not path.exists():
        raise DataError(path, "no such file or folder", "a raster, a vector file, chips, a run or a map")
    if not path.is_file() and not path.is_dir():
        raise DataError(path, "neither a file nor a folder", "a raster, a vector file, chips, a run or a map")
    if path.is_file():
        return diagnose_file(path)
    from rtslib.mapping.diagnosis import diagnose_map, diagnose_run, is_map, is_run

    if is_run(path):
        return diagnose_run(path)
    return diagnose_map(path) if is_map(path) else diagnose_folder(path, category, progress_on_stderr)
