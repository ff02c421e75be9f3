"""The command line: `python -m rtslib COMMAND`.

Commands do what their library functions do and no more; `rtslib.__main__` turns errors into one line. With
`--json`, standard output holds the JSON and nothing else; notes and progress go to stderr. Library
modules are imported where they are used, so that `--help` is quick.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rtslib.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

    from rtslib.config import Config
    from rtslib.data.chips import Chip, ChipSet

app = typer.Typer(
    help="Map retrogressive thaw slumps from several satellite modalities at once.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of chips, any layout.")]
Run = Annotated[Path, typer.Option("--run", metavar="DIR", help="Folder of a trained run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write, new or empty.")],
    chips: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of training chips.")],
    size: Annotated[int, typer.Option(min=1, help="Side of a chip, px of 4 m.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same chips.")] = 0,
    test_chips: Annotated[int, typer.Option(min=0, max=1_000_000, help="Number of test chips.")] = 0,
) -> None:
    """Write synthetic chips in the challenge's layout."""
    from rtslib.synthetic.chips import write_challenge

    write_challenge(out, chips, size, seed, test_chips=test_chips)
    print(f"{out}: {chips} training and {test_chips} test chips of {size} x {size} px")


@app.command()
def info(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of chips, any layout.")], as_json: Json = False
) -> None:
    """Open a data set, check its structure and describe it."""
    from rtslib.data.chips import open_chips

    with _quiet_stdout(as_json):
        found = _describe(open_chips(data))
    if as_json:
        return print(json.dumps(found, indent=1))
    parts = ", ".join(f"{m} ({' '.join(bands)})" for m, bands in found["modalities"].items())
    print(f"layout      {found['layout']}")
    print(f"chips       {found['chips']}, {found['labelled']} labelled, in {found['groups']} groups")
    print(f"instances   {found['instances']}, {found['dropped_instances']} more dropped")
    print(f"bands       {' '.join(found['bands'])}")
    print(f"modalities  {parts or 'none of the default ones'}")
    for note in found["notes"]:
        print(f"note        {note}")


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run: weights, log, split.")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON file of knobs.")] = None,
    knobs: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a knob.")] = None,
    init: Annotated[
        list[str] | None,
        typer.Option("--init", metavar="MODALITY=RUN", help="Run to start a branch from; all=RUN for all weights."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
) -> None:
    """Train a model on a data set, keeping site groups apart."""
    from rtslib.config import parse_pairs
    from rtslib.data.chips import open_chips
    from rtslib.training.train import train as fit

    chipset = open_chips(data)
    if resume and config is None and (out / "config.json").exists():
        config = out / "config.json"
    start = {part: str(folder) for part, folder in parse_pairs(init or [], "--init").items()}
    fit(chipset, out, _config(config, knobs or [], chipset), init=start or None, resume=resume)
    print(f"{out}: trained")


@app.command()
def predict(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSON file to write: COCO results.")],
    part: Annotated[
        Literal["all", "train", "test"] | None,
        typer.Option(help="Which chips; default: test if there are unlabelled test chips, else all."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="MODALITY", help="Run without a modality, if the model can."),
    ] = None,
) -> None:
    """Predict instances and write a challenge submission."""
    from rtslib.data.chips import open_chips
    from rtslib.data.missing import check_absent
    from rtslib.training.predict import write_results
    from rtslib.training.runs import load_onto_device

    chipset = open_chips(data)
    if part is None:
        part = "test" if any(c.part == "test" and not c.labelled for c in chipset.chips) else "all"
    chips = [c for c in chipset.chips if part in ("all", c.part)]
    if not chips:
        raise DataError(data, f"no {part} chips", "a data set with some, or another --part")
    if part == "all" and chipset.id_offset:
        raise DataError(data, "image ids that training and test chips share", "--part train or --part test")
    offset = chipset.id_offset if part == "train" else 0  # files hold the ids of the release
    model, found = load_onto_device(run)
    if without:
        note(check_absent(found, without))
    results = _predict(model, chipset, chips, {m: "all" for m in without or []})
    results = [{**r, "image_id": r["image_id"] - offset} for r in results]
    write_results(out, results)
    hit = len({r["image_id"] for r in results})
    print(f"{out}: {len(results)} instances on {hit} of {len(chips)} chips ({part})")


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file of COCO results.")], data: Data
) -> None:
    """Check a results file against the challenge's rules."""
    from rtslib.data.chips import open_chips
    from rtslib.evaluation.submission import validate as check
    from rtslib.files import read_json

    found = check(file, open_chips(data))
    for line in found:
        fail(line)
    if found:
        raise typer.Exit(2)
    print(f"{file}: valid, {len(read_json(file))} instances")


@app.command()
def evaluate(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of labelled chips, any layout.")] = None,
    predictions: Annotated[Path | None, typer.Option(metavar="FILE", help="COCO results to score.")] = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="Or a run, to predict with now.")] = None,
    side: Annotated[
        Literal["all", "train", "val", "test"], typer.Option(help="With --run: side of its split to score.")
    ] = "all",
    map_: Annotated[Path | None, typer.Option("--map", metavar="FILE", help="Instead: mapped polygons.")] = None,
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="With --map: known polygons.")] = None,
    aoi: Annotated[Path | None, typer.Option(metavar="FILE", help="With --map: the area of interest it has.")] = None,
    as_json: Json = False,
) -> None:
    """Score predictions, a run or a map against what is known."""
    if (map_ is None) != (truth is None) or (map_ is None) == (data is None):
        raise ConfigError("give --data, or --map with --truth")
    if aoi is not None and map_ is None:
        raise ConfigError("--aoi goes with --map")
    if map_ is not None:
        from rtslib.cli.maps import score_map

        return print(score_map(map_, truth, aoi, as_json))
    if (predictions is None) == (run is None):
        raise ConfigError("give either --predictions or --run")
    if run is None and side != "all":
        raise ConfigError("--side needs --run, whose split says which chips are on a side")
    from rtslib.data.chips import open_chips
    from rtslib.evaluation.coco import as_text
    from rtslib.evaluation.coco import evaluate as score
    from rtslib.training.heldout import chips_on_side
    from rtslib.training.runs import load_onto_device

    with _quiet_stdout(as_json):
        chipset = open_chips(data)
        if run is None:
            chips, results = chipset.labelled(), _on_labelled(predictions, chipset)
        else:
            model, _ = load_onto_device(run)
            chips, learnt = chips_on_side(run, chipset, side)
            if learnt:
                note(f"{learnt}; --side test scores the held-out ones only")
            results = _predict(model, chipset, chips)
        scores = score(chipset.coco(chips), results)
    print(json.dumps(scores, indent=1) if as_json else as_text(scores))


def fail(message: str) -> int:
    """Print one line `error: ...` on stderr and return exit code 2."""
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    return 2


def note(message: str) -> None:
    """Print a note on stderr."""
    print(f"note: {message}", file=sys.stderr)


@contextlib.contextmanager
def _quiet_stdout(as_json: bool) -> Iterator[None]:
    """Send what libraries print to stderr while JSON is being made."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def _describe(chipset: "ChipSet") -> dict[str, Any]:
    """Describe a data set in JSON's types."""
    return {
        "layout": chipset.layout,
        "chips": len(chipset.chips),
        "labelled": sum(c.labelled for c in chipset.chips),
        "instances": sum(len(i) for i in chipset.instances.values()),
        "dropped_instances": chipset.dropped_instances,
        "bands": list(chipset.bands),
        "modalities": {m: list(bands) for m, bands in chipset.modalities().items()},
        "groups": len({c.group for c in chipset.chips}),
        "notes": list(chipset.notes),
    }


def _config(file: Path | None, knobs: list[str], chipset: "ChipSet") -> "Config":
    """Read the knobs; modalities that nobody chose are those the data has."""
    from rtslib.config import Config

    config = Config.load(file) if file is not None else Config()
    keys = {knob.partition("=")[0].strip() for knob in knobs} | config.model_fields_set
    config = config.with_overrides(knobs)
    if "modalities" in keys:
        return config
    found = {m: list(bands) for m, bands in chipset.modalities().items()}
    if not found:
        raise ConfigError(f"no default modality fits bands {list(chipset.bands)}: --set modalities=...")
    return config.updated(modalities=found)


def _predict(
    model: "nn.Module", chipset: "ChipSet", chips: "Sequence[Chip]", hidden: dict[str, str] | None = None
) -> list[dict]:
    """Predict, counting chips on stderr."""
    from rtslib.training.predict import predict as run_model

    return run_model(model, chipset, chips, progress=progress_on_stderr, hidden=hidden)


def progress_on_stderr(done: int, total: int) -> None:
    """Count on stderr if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)


def _on_labelled(file: Path, chipset: "ChipSet") -> list[dict]:
    """Read predictions (ids as in the release), leaving out with a note those on chips without labels."""
    from rtslib.evaluation.submission import breaches
    from rtslib.files import read_json

    entries = read_json(file)
    if not isinstance(entries, list):
        raise DataError(file, f"a JSON {type(entries).__name__}", "a list of predictions")
    offset = chipset.id_offset  # where both parts count from 1, a file of scored ids means the training part
    sizes = {c.id - offset: (c.height, c.width) for c in (chipset.labelled() if offset else chipset.chips)}
    for i, entry in enumerate(entries):
        for found, expected in breaches(entry, sizes):
            raise DataError(f"{file}, entry {i}", found, expected)
    entries = [{**e, "image_id": e["image_id"] + offset} for e in entries]
    labelled = {c.id for c in chipset.labelled()}
    if not labelled:
        raise DataError(chipset.root, "no labelled chips", "some to score against")
    kept = [e for e in entries if e["image_id"] in labelled]
    if entries and not kept:
        raise DataError(file, "only predictions on chips without labels", "some on labelled chips")
    if len(kept) < len(entries):
        note(f"left out {len(entries) - len(kept)} predictions on chips without labels")
    return kept
