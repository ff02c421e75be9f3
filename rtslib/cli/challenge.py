"""Commands of the challenge: train its frozen recipe, make its release ready to train on, make a submission."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from rtslib.cli.app import Category, Data, RunFolder, app, note
from rtslib.errors import DataError


@app.command()
def challenge(
    data: Data,
    new: Annotated[Path, typer.Option(metavar="DIR", help="Folder of chips to predict, any layout; images/ will do.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the run and results.json.")],
    category: Category = "",
    gpu: Annotated[bool, typer.Option("--gpu", help="The recipe for a GPU: wider heads, eight chips a step.")] = False,
) -> None:
    """Train the frozen recipe, then predict new chips."""
    from rtslib.data.opening import open_chips
    from rtslib.study.challenge import RESULTS, predict_challenge, train_challenge

    chips = open_chips(new)
    run = train_challenge(open_chips(data, category), chips, out, gpu)
    results = predict_challenge(run, chips, out)
    hit = len({r["image_id"] for r in results})
    print(f"{out / RESULTS}: {len(results)} instances on {hit} chips, valid")


@app.command("prepare-challenge")
def prepare_challenge(
    release: Annotated[Path, typer.Argument(metavar="ZIP|DIR", help="The release, as it was downloaded or unpacked.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the split; and for the chips of a ZIP.")],
    val: Annotated[float, typer.Option(help="Share of chips that validate.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share of chips that test.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same split.")] = 0,
    category: Category = "",
) -> None:
    """Check the challenge's release and split it by ground."""
    from rtslib.data.splits import SIDES
    from rtslib.study.release import SPLIT, prepare

    data, split, shared = prepare(release, out, val, test, seed, category)
    if shared:
        note(f"{shared} test chips of the release show ground of its training chips: their scores will flatter")
    sides = ", ".join(f"{(split['side'] == side).sum()} {side}" for side in SIDES)
    print(f"{out / SPLIT}: {len(split)} chips in {split['group'].nunique()} groups of ground: {sides}")
    named = ["--category", category] if category else []
    command = ["rtslib", "train", "--data", str(data), "--split", str(out / SPLIT), *named, "--out", "RUN"]
    print(f"next: {shlex.join(command)}")


@app.command()
def submit(
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder that gets the file.")],
    category: Category = "",
) -> None:
    """Predict the test chips, check and name the file."""
    from rtslib.data.opening import open_chips
    from rtslib.study.challenge import predict_challenge, submission_name
    from rtslib.training.runs import Run

    chips, made = open_chips(data, category), Run(run)
    hidden = [c for c in chips.chips if c.part == "test" and not c.labelled]
    if not hidden:
        raise DataError(data, "no unlabelled test chips", "a release with its test part")
    name = submission_name(made)
    results = predict_challenge(made, chips, out, name)
    hit = len({r["image_id"] for r in results})
    print(f"{out / name}: {len(results)} instances on {hit} of {len(hidden)} chips, valid")
