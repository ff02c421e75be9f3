"""The command line's part on maps: `map`, `review`, `arts`, and what `evaluate --map` does."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtslib.cli.app import (
    Aoi,
    AoiLayer,
    Crs,
    Nodata,
    Offset,
    PixelSize,
    RunFolder,
    Scale,
    Sources,
    Tta,
    app,
    note,
    note_turned,
    progress_on_stderr,
)
from rtslib.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd
    import shapely

    from rtslib.config import Config
    from rtslib.data.rasters import Stack
    from rtslib.data.scenes import Scene
    from rtslib.mapping.plan import Options
    from rtslib.training.runs import Run

# fmt: off
Score = Annotated[float | None, typer.Option(
    min=0, max=1, help="Least score of a polygon on the map; else the run's own (validation's best F1).")]
Ledger = Annotated[Path | None, typer.Option(
    metavar="FILE", help="For the totals: what `evaluate --map --ledger` wrote of known ground.")]
Probability = Annotated[bool, typer.Option("--probability", help="Also write a COG of mask probability.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a map that was stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a map that is there.")]
MapFolder = Annotated[Path, typer.Argument(metavar="MAP", help="Folder of a finished map.")]
# fmt: on


@app.command(name="map")
def map_(
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for polygons, figure and map.")],
    scene: Annotated[Path | None, typer.Option(metavar="DIR", help="GeoTIFFs on one grid; or --source.")] = None,
    source: Sources = None,
    crs: Crs = "",
    pixel_size: PixelSize = None,
    scale: Scale = None,
    offset: Offset = None,
    nodata: Nodata = None,
    aoi: Aoi = None,
    aoi_layer: AoiLayer = None,
    window: Annotated[int, typer.Option(min=1, help="Side of a window, px.")] = 256,
    overlap: Annotated[int, typer.Option(min=0, help="Overlap of neighbouring windows, px: a large slump.")] = 64,
    score: Score = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows a batch.")] = 4,
    block: Annotated[int, typer.Option(min=1, help="Windows a side of a block, the unit of work.")] = 8,
    tta: Tta = False,
    probability: Probability = False,
    ledger: Ledger = None,
    image_date: Annotated[str, typer.Option(help="Date of the images, written to every polygon.")] = "",
    workers: Annotated[int, typer.Option(min=0, help="Processes of a local Dask cluster; 0: this process.")] = 0,
    scheduler: Annotated[str, typer.Option(metavar="ADDRESS", help="Dask scheduler to use instead.")] = "",
    pictures: Annotated[bool, typer.Option(help="Also draw map.png and map.html.")] = True,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Map a scene or a region into polygons and a web map.

    \b
    rtslib map --run run/ --source rgb.tif=red,green,blue --source dem.tif=elevation --out map/
    """
    from rtslib.mapping.maps import map_region
    from rtslib.mapping.plan import Options
    from rtslib.training.runs import Run

    made = Run(run)
    config = made.config
    if tta:
        note_turned(config)
        config = config.updated(tta=True)
    place = _place(scene, source or [], crs, pixel_size, (scale, offset, nodata))
    area = None if aoi is None else area_of(aoi, place.stack.crs, aoi_layer)
    _check_bands(place, config, refuse=bool(source))
    least, known = _evidence(made, score, ledger)
    options = Options(window, overlap, least, batch_size=batch_size, block=block, probability=probability)
    _say_doubts(config, place, options, area)
    found = map_region(
        _model(made, tta, workers, scheduler), config, place.stack, out, options=options, area=area, ledger=known,
        overwrite=overwrite, resume=resume, progress=progress_on_stderr,
        provenance={**made.provenance, "image_date": image_date},
    )  # fmt: skip
    if pictures:
        _draw(place, found, out, least, area)
    print(f"{out}: {len(found)} slumps in detections.gpkg; {_totals(out)}")


@app.command()
def review(
    folder: MapFolder,
    decisions: Annotated[Path | None, typer.Option(
        metavar="FILE", help="What map.html saved; it goes into review.gpkg first.")] = None,
) -> None:  # fmt: skip
    """Apply a reviewer's decisions to a map, and count them."""
    from rtslib.evaluation.maps import read_map
    from rtslib.mapping.decisions import decide
    from rtslib.mapping.maps import REVIEW, REVIEWED
    from rtslib.mapping.polygons import MAP_FILE, write_geopackage
    from rtslib.mapping.review import apply_review, precision_so_far, read_review, save_review

    decided, found = read_review(folder / REVIEW), read_map(folder / MAP_FILE)
    if decisions is not None:
        decided = decide(decided, decisions)
        save_review(decided, folder / REVIEW)
    kept = apply_review(found, decided)
    write_geopackage(kept, folder / REVIEWED)
    said = precision_so_far(decided)
    print(f"{folder / REVIEW}: {said['reviewed']} of {len(decided)} reviewed, {said['accepted']} of these accepted")
    if said["precision"] is not None:
        print("precision of those reviewed: {precision:.2f} (95 %: {low:.2f} to {high:.2f})".format(**said))
    print(f"{folder / REVIEWED}: {len(kept)} slumps")


@app.command()
def arts(
    folder: MapFolder,
    region: Annotated[str, typer.Option(help='Such as "Banks Island, Inuvik Region, Canada".')],
    creator: Annotated[str, typer.Option(help="Who made it, and their organisation.")],
    date: Annotated[str, typer.Option(help="Of the images, YYYY-MM-DD; a range as two with a comma between.")],
    sensor: Annotated[str, typer.Option(help="Such as PlanetScope.")],
    resolution: Annotated[float, typer.Option(help="Pixel size of the images, m.")],
) -> None:
    """Write a map, reviewed if it was, in ARTS' columns."""
    from rtslib.evaluation.maps import read_map
    from rtslib.files import whole
    from rtslib.mapping.arts import to_arts
    from rtslib.mapping.maps import ARTS, REVIEWED
    from rtslib.mapping.polygons import MAP_FILE

    source = folder / REVIEWED if (folder / REVIEWED).exists() else folder / MAP_FILE
    frame = to_arts(read_map(source), region, creator, date, sensor, resolution)
    with whole(folder / ARTS) as part:
        frame.to_file(part, layer="arts", driver="GPKG")
    print(f"{folder / ARTS}: {len(frame)} slumps of {source.name}")


def score_map(
    found: Path, truth: Path, aoi: Path | None, as_json: bool, least: float = 0.0, ledger: Path | None = None,
    layer: str | None = None, aoi_layer: str | None = None,
) -> str:  # fmt: skip
    """Compare mapped polygons with known ones, of both those that meet the area of interest, as a map has them.

    `layer` and `aoi_layer` name those of files that have several; `ledger` is where to write what was right and what
    was missed (`rtslib.mapping.ground.map_ledger`). Returns what `evaluate --map` prints. Raises DataError: a file
    cannot be read, or has other columns.
    """
    from rtslib.data.projecting import about
    from rtslib.data.vectors import read_truth
    from rtslib.evaluation.maps import as_text, evaluate_map, read_map

    pred = read_map(found)
    known = about(read_truth(truth, pred.crs, layer), float(pred.total_bounds[[0, 2]].mean()) if len(pred) else 0.0)
    for said in known.attrs["notes"]:
        note(said)
    ours, theirs = pred.total_bounds, known.total_bounds  # NaN of an empty one
    if (ours[:2] > theirs[2:]).any() or (theirs[:2] > ours[2:]).any():
        note(f"no slump of {truth} lies near the map's: is it of this ground?")
    if aoi is not None:
        area = area_of(aoi, pred.crs, aoi_layer)
        pred, known = (frame[frame.intersects(area)].reset_index(drop=True) for frame in (pred, known))
    scores = evaluate_map(pred, known, least=least)
    if ledger is not None:
        from rtslib.files import save_table
        from rtslib.mapping.ground import map_ledger

        save_table(map_ledger(pred, known), ledger)
    return json.dumps(scores, indent=1) if as_json else as_text(scores)


def _evidence(made: "Run", score: float | None, ledger: Path | None) -> "tuple[float, pd.DataFrame | None]":
    """Return the score from which a map shows polygons, and what the model is known to find and miss."""
    from rtslib.mapping.ground import read_ledger
    from rtslib.training.evidence import calibrated_ledger, shown_from

    known = calibrated_ledger(made) if ledger is None else read_ledger(ledger)
    if score is None:
        score, why = shown_from(made)
        note(why)
    return score, known


def _model(made: "Run", tta: bool, workers: int, scheduler: str) -> Any:
    """Load the model here, or say how workers do."""
    from rtslib.mapping.spreading import FromRun, Spread

    load = FromRun(str(made.folder.resolve()), made.digest, tta)
    return Spread(load, workers, scheduler) if workers or scheduler else load()


def _say_doubts(config: "Config", place: "Scene", options: "Options", area: Any) -> None:
    """Note what looks odd in the rasters, before work; refuses what cannot be mapped."""
    from rtslib.mapping.doubts import doubts
    from rtslib.mapping.plan import plan

    for said in doubts(plan(config, place.stack, options, area), config):
        note(said)


def _check_bands(place: "Scene", config: "Config", refuse: bool) -> None:
    """Note which modalities the place lacks; refuse sources that the model does not read."""
    from rtslib.data.missing import check_absent
    from rtslib.mapping.plan import absent_from

    if refuse:
        _refuse_unread(place, config)
    if absent := absent_from(config, place.stack):
        note(check_absent(config, absent))


def _place(
    scene: Path | None, sources: list[str], crs: str, pixel_size: float | None, told: tuple[list[str] | None, ...]
) -> "Scene":
    """Open what is to be mapped, whichever way it was given; `told` as `as_told` takes it."""
    from rtslib.data.region import open_region
    from rtslib.data.scenes import Scene, open_scene

    if (scene is None) == (not sources):
        raise ConfigError("give either --scene or one or more --source")
    if scene is not None:
        if crs or pixel_size is not None:
            raise ConfigError("--crs and --pixel-size go with --source: the rasters of a scene have their grid")
        place = open_scene(scene)
        return replace(place, stack=as_told(place.stack, *told))
    region = as_told(open_region(sources, crs=crs or None, pixel_size=pixel_size), *told)
    return Scene(Path(region.files[0]).parent, region, None)


def as_told(stack: "Stack", scale: list[str] | None, offset: list[str] | None, nodata: list[str] | None) -> "Stack":
    """Return the rasters with scale, offset and nodata as the command line gives them."""

    def read(option: str, pairs: list[str] | None, bare: bool = False) -> dict[str, float]:
        found: dict[str, float] = {}
        for pair in pairs or []:
            name, equals, text = pair.rpartition("=")
            try:
                found |= {key: float(text) for key in (name.split(",") if not bare else [name])}
            except ValueError:
                text = ""
            if not text or not (equals or bare):
                raise ConfigError(f"{option} {pair!r}: write {'FILE=NUMBER or NUMBER' if bare else 'BAND=NUMBER'}")
        return found

    numbers = read("--scale", scale), read("--offset", offset), read("--nodata", nodata, bare=True)
    return stack.with_numbers(*numbers) if any(numbers) else stack


def area_of(aoi: Path, crs: Any, layer: str | None = None) -> "shapely.Geometry":
    """Return the union of the polygons of a file, in a CRS, and note what was odd."""
    from rtslib.data.vectors import read_area

    area, notes = read_area(aoi, crs, layer)
    for said in notes:
        note(said)
    return area


def _refuse_unread(place: "Scene", config: Any) -> None:
    """Refuse a raster that the model reads nothing of: it was given by mistake."""
    read = place.stack.layers_of([b for bands in config.modalities.values() for b in bands if b in place.stack.bands])
    for path in place.stack.files:
        bands = [layer.name for layer in place.stack.layers if layer.path == path]
        if not set(bands) & read:
            raise ConfigError(f"{path} gives {', '.join(bands)}, but the model reads {config.modalities}: leave it out")


def _draw(place: "Scene", found: Any, out: Path, score: float, area: Any) -> None:
    """Draw the figure and the web map."""
    from rtslib.figures.scenes import map_figure
    from rtslib.figures.web.page import write_webmap
    from rtslib.files import whole

    with whole(out / "map.png") as part:
        map_figure(place, found, least=score).savefig(part)
    try:
        write_webmap(place, found, out / "map.html", least=score, overwrite=True, area=area, folder=out)
    except DataError as e:  # a web map cannot show the pole
        note(f"no map.html, but map.png is there: {e}")


def _totals(out: Path) -> str:
    """Say count and area with their intervals, as `totals.json` has them."""
    from rtslib.files import read_json
    from rtslib.mapping.totals import TOTALS, as_text

    return as_text(read_json(out / TOTALS))
