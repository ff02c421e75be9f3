"""Commands on runs: `train`, `predict`, `evaluate`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rtslib.cli.app import (
    AoiLayer,
    Category,
    Data,
    Json,
    RunFolder,
    Tta,
    app,
    note,
    note_turned,
    progress_on_stderr,
    quiet_stdout,
    speaks,
)
from rtslib.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

    from rtslib.config import Config
    from rtslib.data.chips import Chip, ChipSet
    from rtslib.models.model import Model

Side = Annotated[Literal["all", "train", "val", "test"], typer.Option(help="With --run: side of its split to score.")]
Ledger = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="With --map of candidates: also write what was right and missed, for `map --ledger`."
    ),
]


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run: weights, log, split.")],
    profile: Annotated[
        Literal["smoke", "quick", "overnight", "gpu"] | None,
        typer.Option(help="Ready-made knobs: quick for minutes on two cores, gpu for full size, smoke to try."),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Or a JSON file of knobs.")] = None,
    knobs: Annotated[list[str] | None, typer.Option(
        "--set", metavar="KEY=VALUE", help="Set one knob over these; may be repeated. rtslib/config.py lists all."
    )] = None,
    init: Annotated[
        list[str] | None,
        typer.Option("--init", metavar="MODALITY=RUN", help="Run to start a branch from; all=RUN for all weights."),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV of groups and sides, of `split` or your own; with --resume too."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    category: Category = "",
) -> None:  # fmt: skip
    """Train a model on a data set, keeping site groups apart.

    Chips are shared out among training, validation and test by site. The run's folder gets the weights, its knobs,
    a log with one row an epoch, the split, and the score from which `map` shows slumps.

    \b
    rtslib train --data chips/ --out run/ --profile quick
    rtslib train --data chips/ --out run/ --profile quick --resume    # goes on after a stop
    """
    from rtslib.config import parse_pairs
    from rtslib.data.lookalikes import with_groups
    from rtslib.data.opening import open_chips
    from rtslib.data.splits import load_split
    from rtslib.training.trainer import train as fit

    if profile is not None and config is not None:
        raise ConfigError("give either --profile or --config")
    chipset = open_chips(data, category)
    sides = load_split(split, chipset) if split is not None else None
    if sides is not None:
        chipset = with_groups(chipset, dict(zip(sides["chip"], sides["group"])))
    for odd in chipset.notes if sides is None and speaks() else ():
        note(odd)
    if resume and config is None and profile is None and (out / "config.json").exists():
        config = out / "config.json"
    chosen = (
        _config(config, knobs or [], chipset) if profile is None else _profiled(profile, knobs or [], chipset, sides)
    )
    start = {part: str(folder) for part, folder in parse_pairs(init or [], "--init").items()}
    fit(chipset, out, chosen, split=sides, init=start or None, resume=resume)
    print(f"{out}: trained")


@app.command()
def join(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Finished runs of one split.")],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the joined run.")],
    category: Category = "",
) -> None:
    """Put finished runs together: what both see is surer.

    The joined run is used like any other, by predict, map and evaluate. A network and `--set fusion=trees` go well
    together; train them with the same --split.

    \b
    rtslib join net/ trees/ --data chips/ --out both/
    """
    from rtslib.data.opening import open_chips
    from rtslib.data.splits import load_split
    from rtslib.training.ensembling import assemble, ensemble_recipe
    from rtslib.training.runs import Run

    start = {f"{k} {Path(run).name}": Run(run) for k, run in enumerate(runs, start=1)}
    for run in start.values():
        _ = run.config  # refused first where it is none
    chipset = open_chips(data, category)
    recipe = ensemble_recipe(start, chipset, load_split(next(iter(start.values())).folder / "split.csv", chipset))
    assemble(recipe, Run(out), resume=False)
    print(f"{out}: {len(runs)} runs joined")


@app.command()
def predict(
    run: RunFolder,
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
    tta: Tta = False,
    category: Category = "",
) -> None:
    """Predict the slumps on chips, for the challenge too.

    \b
    rtslib predict --run run/ --data chips/ --out results.json
    """
    from rtslib.data.missing import check_absent
    from rtslib.data.opening import open_chips
    from rtslib.training.prediction import write_results

    chipset = open_chips(data, category)
    if part is None:
        part = "test" if any(c.part == "test" and not c.labelled for c in chipset.chips) else "all"
    chips = [c for c in chipset.chips if part in ("all", c.part)]
    if not chips:
        raise DataError(data, f"no {part} chips", "a data set with some, or another --part")
    if part == "all" and chipset.id_offset:
        raise DataError(data, "image ids that training and test chips share", "--part train or --part test")
    offset = chipset.id_offset if part == "train" else 0  # files hold the ids of the release
    model = _load(run, tta)
    if without:
        note(check_absent(model.config, without))
    results = _predict(model, chipset, chips, {m: "all" for m in without or []})
    results = [{**r, "image_id": r["image_id"] - offset} for r in results]
    write_results(out, results)
    hit = len({r["image_id"] for r in results})
    print(f"{out}: {len(results)} instances on {hit} of {len(chips)} chips ({part})")


@app.command()
def evaluate(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of labelled chips, any layout.")] = None,
    predictions: Annotated[Path | None, typer.Option(metavar="FILE", help="COCO results to score.")] = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="Or a run, to predict with now.")] = None,
    side: Side = "all",
    tta: Tta = False,
    map_: Annotated[Path | None, typer.Option("--map", metavar="FILE", help="Instead: mapped polygons.")] = None,
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="With --map: known polygons.")] = None,
    aoi: Annotated[Path | None, typer.Option(metavar="FILE", help="With --map: the area of interest it has.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="Of --truth, if it has several.")] = None,
    aoi_layer: AoiLayer = None,
    least: Annotated[float, typer.Option(
        min=0, max=1, help="With --map: score from which it shows polygons; those below count for AP alone."
    )] = 0.0,
    ledger: Ledger = None,
    category: Category = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Score predictions, a run or a map against the truth.

    \b
    rtslib evaluate --data chips/ --run run/ --side test
    rtslib evaluate --map map/candidates.gpkg --truth slumps.gpkg
    """
    if (map_ is None) != (truth is None) or (map_ is None) == (data is None):
        raise ConfigError("give --data, or --map with --truth")
    if map_ is None and (aoi or ledger or least or layer or aoi_layer):
        raise ConfigError("--aoi, --layer, --aoi-layer, --least and --ledger go with --map")
    if tta and run is None:
        raise ConfigError("--tta needs --run: predictions and maps are there already")
    if map_ is not None:
        from rtslib.cli.maps import score_map

        return print(score_map(map_, truth, aoi, as_json, least, ledger, layer, aoi_layer))
    if (predictions is None) == (run is None):
        raise ConfigError("give either --predictions or --run")
    if run is None and side != "all":
        raise ConfigError("--side needs --run, whose split says which chips are on a side")
    from rtslib.data.opening import open_chips
    from rtslib.evaluation.coco import as_text
    from rtslib.evaluation.coco import evaluate as score
    from rtslib.training.heldout import chips_on_side

    with quiet_stdout(as_json):
        chipset = open_chips(data, category)
        if run is None:
            chips, results = chipset.labelled(), _on_labelled(predictions, chipset)
        else:
            model = _load(run, tta)
            chips, learnt = chips_on_side(run, chipset, side)
            if learnt:
                note(f"{learnt}; --side test scores the held-out ones only")
            results = _predict(model, chipset, chips)
        scores = score(chipset.coco(chips), results)
    print(json.dumps(scores, indent=1) if as_json else as_text(scores))


def _config(file: Path | None, knobs: list[str], chipset: "ChipSet") -> "Config":
    """Read the knobs; modalities that nobody chose are those the data has."""
    from rtslib.config import Config

    config = Config.load(file) if file is not None else Config()
    keys = {knob.partition("=")[0].strip() for knob in knobs} | config.model_fields_set
    config = config.with_overrides(knobs)
    return config if "modalities" in keys else config.updated(modalities=_found(chipset))


def _profiled(profile: str, knobs: list[str], chipset: "ChipSet", sides: "pd.DataFrame | None") -> "Config":
    """Return a profile's knobs for one training from start to end on these chips, its steps as epochs."""
    from rtslib.config import Config, parse_pairs
    from rtslib.data.splits import split_by_group
    from rtslib.study.profiles import for_slumps, in_epochs, settings

    given, own = settings(profile), parse_pairs(knobs)
    values = {**given["transfer"], **for_slumps(given["layouts"].get(chipset.layout, {}), chipset), **own}
    values.setdefault("modalities", _found(chipset))
    if "epochs" in own:
        values.pop("steps", None)
    plain = Config.make({k: v for k, v in values.items() if k != "steps"})
    if sides is None:
        sides = split_by_group(chipset, plain.val_fraction, plain.test_fraction, plain.seed)
    return in_epochs(values, int((sides["side"] == "train").sum()))


def _found(chipset: "ChipSet") -> dict[str, list[str]]:
    """Return the modalities that the data has in full. Raises ConfigError if there is none."""
    found = {m: list(bands) for m, bands in chipset.modalities().items()}
    if not found:
        raise ConfigError(f"no default modality fits bands {list(chipset.bands)}: --set modalities=...")
    return found


def _load(run: Path, tta: bool) -> "Model":
    """Rebuild a run's model; with `tta` it sees chips turned, also where the run's config does not say so."""
    from rtslib.models.tta import turned
    from rtslib.training.runs import Run
    from rtslib.training.weights import load_onto_device

    model = load_onto_device(Run(run))
    if tta:
        note_turned(model.config)
    return turned(model) if tta else model


def _predict(
    model: "Model", chipset: "ChipSet", chips: "Sequence[Chip]", hidden: dict[str, str] | None = None
) -> list[dict]:
    """Predict, counting chips on stderr."""
    from rtslib.training.prediction import predict as run_model

    return run_model(model, chipset, chips, progress=progress_on_stderr, hidden=hidden)


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
