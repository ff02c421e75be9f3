"""Commands that measure: `benchmark maps`, `benchmark grounds`, `benchmark parity`."""

from pathlib import Path
from typing import Annotated

import typer

from rtslib.cli.app import app, fail

benchmark = typer.Typer(rich_markup_mode=None)
app.add_typer(benchmark, name="benchmark", help="Measure maps, and parity with detectron2.")


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
