"""Commands that measure: `benchmark maps`, `benchmark grounds`, `benchmark polygons`, `benchmark parity`,
`benchmark speed`, `benchmark before`."""

from pathlib import Path
from typing import Annotated

import typer

from rtslib.cli.app import app, fail
from rtslib.errors import ConfigError

benchmark = typer.Typer(rich_markup_mode=None)
app.add_typer(benchmark, name="benchmark", help="Measure maps, speed, and parity with detectron2.")


@benchmark.command()
def maps(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="Large scene with truth.gpkg.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for tables and charts.")],
) -> None:
    """Measure memory, workers and quality of a large map."""
    from rtslib.benchmarks.maps import measure_all

    measure_all(run, scene, out)


@benchmark.command()
def grounds(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run trained on the embedded landscape.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for tables.")],
) -> None:
    """Map new grounds: sizes of windows, how pieces are joined, whether totals hold."""
    from rtslib.benchmarks.grounds import measure_grounds

    measure_grounds(run, out)


@benchmark.command()
def polygons(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the table.")],
    counts: Annotated[str, typer.Option(metavar="N,...", help="Numbers of slumps.")] = "1000,10000,100000",
) -> None:
    """Measure what joining, outlining and writing a map of very many slumps takes."""
    from rtslib.benchmarks.polygons import measure_polygons

    if not all(n.isdecimal() and int(n) for n in _words(counts)):
        raise ConfigError(f"--counts {counts!r}: give whole numbers above 0, with commas between")
    measure_polygons(out, [int(n) for n in _words(counts)])


@benchmark.command()
def parity(
    commit: Annotated[str, typer.Option(help="Which detectron2 it is: a commit or tag; its rows are replaced.")],
    data: Annotated[list[Path] | None, typer.Option(help="Folder of real chips; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="Table to write.")] = Path("runs/parity/parity.csv"),
) -> None:
    """Measure how far our engine and detectron2 differ on the same weights; exit code 2 if over a limit."""
    from rtslib.benchmarks.parity import write_parity

    if over := write_parity(out, commit, data or []):
        fail(f"over the limit: {', '.join(over)}")
        raise typer.Exit(2)


@benchmark.command()
def speed(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for table, manifest and chart.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(min=1, help="Times each case is timed, after warming up.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 2,
    only: Annotated[str, typer.Option(metavar="CASE,...", help="Beginnings of GROUP/CASE/PX, as `trunk/timm`.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Toy sizes, to see that all works.")] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="All cases in one process, as on a GPU.")] = False,
) -> None:
    """Measure how fast trunk, models, loader and start are, beside those of others; exit code 2 if a case fails."""
    from rtslib.benchmarks.speed import measure_speed

    if failed := measure_speed(out, device, repeats, threads, _words(only), quick, in_process):
        fail(f"{len(failed)} cases failed, first {failed[0]}")
        raise typer.Exit(2)


@benchmark.command()
def before(
    checkout: Annotated[Path, typer.Argument(metavar="CHECKOUT", help="Folder of another commit of rtslib.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the table.")],
    only: Annotated[str, typer.Option(metavar="CASE,...", help="As of `benchmark speed`.")],
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="Toy sizes, to see that all works.")] = False,
) -> None:
    """Measure by turns how fast this code is and that of another commit."""
    from rtslib.benchmarks.before import compare

    compare(checkout, out, _words(only), rounds, threads, quick)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
