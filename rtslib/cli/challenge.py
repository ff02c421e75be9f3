"""The command `challenge`: train the frozen recipe, predict a folder of new chips."""

from pathlib import Path
from typing import Annotated

import typer

from rtslib.cli.app import Category, Data, app


@app.command()
def challenge(
    data: Data,
    new: Annotated[Path, typer.Option(metavar="DIR", help="Folder of chips to predict, any layout; images/ will do.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the run and results.json.")],
    category: Category = "",
) -> None:
    """Train the frozen recipe, then predict new chips."""
    from rtslib.data.opening import open_chips
    from rtslib.study.challenge import RESULTS, predict_challenge, train_challenge

    chips = open_chips(new)
    run = train_challenge(open_chips(data, category), chips, out)
    results = predict_challenge(run, chips, out)
    hit = len({r["image_id"] for r in results})
    print(f"{out / RESULTS}: {len(results)} instances on {hit} chips, valid")
