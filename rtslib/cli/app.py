"""The command line's frame: the app that commands join, common options, and how they speak.

Commands do what their library functions do and no more; `rtslib.cli.main` turns errors into one line. With
`--json`, standard output holds the JSON and nothing else; notes and progress go to stderr. Library
modules are imported where they are used, so that `--help` is quick.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtslib import __version__

if TYPE_CHECKING:
    from rtslib.config import Config

#: Seconds that other processes give the first one to say an error that all meet; torchrun then ends them.
PATIENCE = 30.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of chips, any layout.")]
Category = Annotated[str, typer.Option("--category", metavar="NAME", help="Class of its COCO file, if there are more.")]
# fmt: off
Sources = Annotated[list[str] | None, typer.Option(
    "--source", metavar="FILE[=BAND,...]", help="Rasters, each on its own grid; that of the first one is used.")]
Scale = Annotated[list[str] | None, typer.Option(
    "--scale", metavar="BAND=NUMBER", help="What a band's numbers are multiplied by, in place of what its file says.")]
Offset = Annotated[list[str] | None, typer.Option(
    "--offset", metavar="BAND=NUMBER", help="What is then added to them, likewise.")]
Nodata = Annotated[list[str] | None, typer.Option(
    "--nodata", metavar="[FILE=]NUMBER", help="What means nothing in a raster, or in all, beside what its tags say.")]
Crs = Annotated[str, typer.Option(help="With --pixel-size: a grid of its own, such as EPSG:3413.")]
PixelSize = Annotated[float | None, typer.Option(help="In map units of --crs.")]
Aoi = Annotated[Path | None, typer.Option("--aoi", metavar="FILE", help="Polygons of the area of interest.")]
AoiLayer = Annotated[str | None, typer.Option("--aoi-layer", metavar="NAME", help="Of --aoi, if it has several.")]
# fmt: on
RunFolder = Annotated[Path, typer.Option("--run", metavar="DIR", help="Folder of a trained run.")]
Tta = Annotated[bool, typer.Option("--tta", help="See each chip or window turned and mirrored, too: 8 times the time.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _print_version(wanted: bool) -> None:
    """Print the version and leave, where `--version` asks for it."""
    if wanted:
        print(f"rtslib {__version__}")
        raise typer.Exit


@app.callback()
def frame(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and leave.")
    ] = False,
) -> None:
    """Map retrogressive thaw slumps from several satellite modalities at once.

    The way to a map: `train` learns from a folder of labelled chips (`synth` writes one to try, `info` describes
    yours), `map` reads rasters with the trained run and writes polygons, and `evaluate` says how good they are.
    Each command explains itself: rtslib COMMAND --help.
    """


def speaks() -> bool:
    """Tell whether this is the first of the processes that torchrun, Lightning or Slurm started, or alone.

    Lightning looks at the same variables in this order; to ask it takes seconds, even before an error.
    """
    found = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return int(next(filter(None, found), 0)) == 0


def fail(message: str) -> int:
    """Print one line `error: ...` on stderr and return exit code 2.

    Of several processes the first one is given time: most errors are theirs, too, and its end is that of all.
    """
    if not speaks():
        time.sleep(PATIENCE)
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    return 2


def note(message: str) -> None:
    """Print a note on stderr."""
    print(f"note: {message}", file=sys.stderr)


def note_turned(config: "Config") -> None:
    """Note what `--tta` leaves behind of a run that was trained without it."""
    if not config.tta:
        fitted = "what calibrates its scores, threshold and totals was fitted without turning"
        note(f"this run was not trained with tta=true: {fitted}")


@contextlib.contextmanager
def quiet_stdout(as_json: bool) -> Iterator[None]:
    """Send what libraries print to stderr while JSON is being made."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def progress_on_stderr(done: int, total: int) -> None:
    """Count on stderr if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)
