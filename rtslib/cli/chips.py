"""Commands on chips: `synth`, `chips`, `info`, `split`, `validate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rtslib.cli.app import (
    AoiLayer,
    Category,
    Crs,
    Data,
    Json,
    Nodata,
    Offset,
    PixelSize,
    Scale,
    Sources,
    app,
    fail,
    note,
    progress_on_stderr,
    quiet_stdout,
)
from rtslib.errors import ConfigError

if TYPE_CHECKING:
    from rtslib.data.chips import ChipSet
    from rtslib.data.cutting.request import Request


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
def chips(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the chip set, new or empty.")],
    truth: Annotated[Path, typer.Option(metavar="FILE", help="Polygons of all known slumps.")],
    source: Sources = None,
    crs: Crs = "",
    pixel_size: PixelSize = None,
    scale: Scale = None,
    offset: Offset = None,
    nodata: Nodata = None,
    aoi: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Polygons where slumps were looked for; chips have no data outside.")] = None,
    aoi_layer: AoiLayer = None,
    layer: Annotated[str | None, typer.Option(help="Of the truth's file, if it has several.")] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help='Slumps to take, such as "year = 2023".')] = None,
    size: Annotated[int | None, typer.Option(
        min=16, max=4096, help="Side of a chip, px; default: of 256 and less the largest that makes 8 site groups."
    )] = None,
    overlap: Annotated[int, typer.Option(min=0, help="Overlap of neighbouring chips, px.")] = 0,
    keep_empty: Annotated[float, typer.Option(
        min=0, max=1, help="Share of the chips without slumps that is kept, beside slumps and away from them.")] = 0.2,
    group_by: Annotated[str, typer.Option(
        metavar="KM|FIELD|source", help="Site groups: squares of so many km, a field of the truth, or the image;"
        " default: squares of four chips a side.")] = "",
    layout: Annotated[Literal["geotiff", "challenge"], typer.Option(help="Of the folder.")] = "geotiff",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a cut that was stopped.")] = False,
) -> None:  # fmt: skip
    """Cut rasters and known slumps into chips to train on."""
    from rtslib.cli.maps import area_of, as_told
    from rtslib.data.cutting.cutter import cut_chips
    from rtslib.data.cutting.request import Options, Request, read_known
    from rtslib.data.cutting.sizes import SIZES, with_size
    from rtslib.data.region import open_region
    from rtslib.figures.cut import cut_figure
    from rtslib.files import whole

    if not source:
        raise ConfigError("give one or more --source")
    region = as_told(open_region(source, crs=crs or None, pixel_size=pixel_size), scale, offset, nodata)
    area = None if aoi is None else area_of(aoi, region.crs, aoi_layer)
    known = read_known(str(truth), region.crs, layer, where)
    options = Options(size or max(SIZES), overlap, keep_empty, group_by, layout)
    request = Request(region, known, options, area)
    _say_odd(request)
    request = request if size else with_size(request)
    counts = cut_chips(request, out, resume, progress_on_stderr)
    with whole(out / "chips.png") as part:
        cut_figure(out / "chips.gpkg", known, area).savefig(part)
    _say_cut(out, request.options.size, counts)


@app.command()
def info(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of chips, any layout.")],
    category: Category = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Open a data set, check its structure and describe it."""
    from rtslib.data.opening import open_chips

    with quiet_stdout(as_json):
        found = _describe(open_chips(data, category))
    if as_json:
        return print(json.dumps(found, indent=1))
    parts = ", ".join(f"{m} ({' '.join(bands)})" for m, bands in found["modalities"].items())
    print(f"layout      {found['layout']}")
    print(f"chips       {found['chips']}, {found['labelled']} labelled, in {found['groups']} groups")
    print(f"instances   {found['instances']}, {found['dropped_instances']} more dropped")
    print(f"bands       {' '.join(found['bands'])}")
    print(f"modalities  {parts or 'none of the default ones'}")
    for odd in found["notes"]:
        print(f"note        {odd}")


@app.command()
def split(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of chips, any layout.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV to write: chip, name, group, side.")],
    lookalikes: Annotated[
        bool, typer.Option("--lookalikes", help="Keep chips together that show the same ground, by their pixels.")
    ] = False,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --lookalikes: also write which chips show the same.")
    ] = None,
    val: Annotated[float, typer.Option(help="Share of chips that validate.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share of chips that test.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same split.")] = 0,
    category: Category = "",
) -> None:
    """Share out chips among train, val and test by group."""
    from rtslib.data.lookalikes import lookalike_pairs, with_groups
    from rtslib.data.lookalikes import lookalikes as groups_by_look
    from rtslib.data.opening import open_chips
    from rtslib.data.splits import SIDES, save_split, split_by_group
    from rtslib.files import save_table

    if pairs is not None and not lookalikes:
        raise ConfigError("--pairs goes with --lookalikes")
    chipset = open_chips(data, category)
    if lookalikes:
        found = lookalike_pairs(chipset)
        chipset = with_groups(chipset, groups_by_look(chipset, found))
        if pairs is not None:
            save_table(found, pairs)
    table = split_by_group(chipset, val, test, seed)
    save_split(table, out)
    for side, rows in table.groupby("side"):
        if not any(chipset.instances[chip] for chip in rows["chip"]):
            note(f"the {side} side has no slump")
    sides = ", ".join(f"{(table['side'] == side).sum()} {side}" for side in SIDES)
    print(f"{out}: {len(table)} chips in {table['group'].nunique()} groups: {sides}")


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file of COCO results.")],
    data: Data,
    category: Category = "",
) -> None:
    """Check a results file against the challenge's rules."""
    from rtslib.data.opening import open_chips
    from rtslib.evaluation.submission import validate as check
    from rtslib.files import read_json

    found = check(file, open_chips(data, category))
    for line in found:
        fail(line)
    if found:
        raise typer.Exit(2)
    print(f"{file}: valid, {len(read_json(file))} instances")


def _say_odd(request: "Request") -> None:
    """Note what looks odd in what is to be cut, before work."""
    from rtslib.data.borders import border_notes
    from rtslib.data.counts import count_notes
    from rtslib.data.cutting.request import SOURCE

    known, region, by = request.truth, request.region, request.options.group_by
    for odd in (*known.attrs["notes"], *border_notes(region), *count_notes(region)):
        note(odd)
    if by in known and request.options.field is None:
        what = "images" if by == SOURCE else "squares of so many km"
        note(f"--group-by {by} makes groups of {what}, though the truth has a field of that name: rename it")


def _say_cut(out: Path, size: int, counts: dict[str, int]) -> None:
    """Print what a cut gave, and note what has to be known about it."""
    from rtslib.data.cutting.cutter import SAID

    for reason, text in SAID.items():
        if counts.get(reason):
            note(f"places {text}, which became no chips: {counts[reason]}")
    if counts["off_chips"]:
        note(f"slumps of the truth that are on no chip: {counts['off_chips']}")
    if counts["groups"] < 3:
        note(f"site groups: {counts['groups']}, and training splits by group into three sides: a smaller --size or "
             "--group-by KM makes more")  # fmt: skip
    print("{0}: {chips} chips of {1} px, {with_slumps} with slumps, {beside} beside, {away} away from them, in "
          "{groups} groups; {slumps} slumps on them, {cut} of these cut".format(out, size, **counts))  # fmt: skip


def _describe(chipset: "ChipSet") -> dict[str, Any]:
    """Describe a data set in JSON's types."""
    return {
        "layout": chipset.layout, "chips": len(chipset.chips), "labelled": sum(c.labelled for c in chipset.chips),
        "instances": sum(len(i) for i in chipset.instances.values()), "dropped_instances": chipset.dropped_instances,
        "bands": list(chipset.bands), "modalities": {m: list(bands) for m, bands in chipset.modalities().items()},
        "groups": len({c.group for c in chipset.chips}), "notes": list(chipset.notes),
    }  # fmt: skip
