"""The command `distill`: weights for a small MViTv2 out of an ImageNet network, on the embedded landscape alone."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rtslib.cli.app import app

#: Chips and their side, px, and a seed that no study's landscape has.
CHIPS, SIDE, LANDSCAPE = 480, 96, 1000


@app.command()
def distill(
    out: Annotated[Path, typer.Option(metavar="FILE", help="File for the weights.")],
    size: Annotated[Literal["nano", "tiny"], typer.Option(help="Of the MViTv2.")] = "nano",
    steps: Annotated[int, typer.Option(min=1, help="Of eight chips each.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
) -> None:
    """Teach a small MViTv2 to see like an ImageNet one."""
    from rtslib.data.opening import open_chips
    from rtslib.files import ROOT
    from rtslib.synthetic.chips import kept_challenge
    from rtslib.training.distill import distill as teach

    log = teach(size, open_chips(kept_challenge(ROOT / "scratch", CHIPS, SIDE, LANDSCAPE)), out, steps, seed=seed)
    for row in log:
        print(f"step {row['step']}: loss {row['loss']:.3f}")
    print(f"{out}: weights of {size}")
