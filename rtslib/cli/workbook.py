"""Commands on the workbook: `workbook run`, `figures`."""

from typing import Annotated

import typer

from rtslib.cli.app import app

workbook = typer.Typer(rich_markup_mode=None, callback=lambda: None)  # without one, a single command loses its name
app.add_typer(workbook, name="workbook", help="Run the numbered notebooks without a browser.")


@workbook.command("run")
def run(
    profile: Annotated[str, typer.Option(help="Sizes and knobs: smoke, quick, overnight or gpu.")] = "quick",
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder of chips; empty: embedded landscape.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for results; empty: runs/SET-PROFILE.")] = "",
    only: Annotated[str, typer.Option(metavar="NN", help="Numbers of notebooks to run, such as 03 or 3,5.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="name=value", help="Notebook parameter.")] = None,
) -> None:
    """Run the notebooks in order; write tables, figures, the map and manifest.json."""
    from rtslib.config import parse_pairs
    from rtslib.study.workbook import run as run_notebooks

    run_notebooks(profile, data=data, seed=seed, out=out, only=only, extra=parse_pairs(set_ or []))


@app.command()
def figures() -> None:
    """Draw the charts and the tables of README and docs anew."""
    from rtslib.study.redraw import redraw_results

    redraw_results()
