"""`fetch`: imagery and elevations of an area from a catalog, ready for `chips` and `map`."""

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtslib.cli.app import app, note, progress_on_stderr
from rtslib.errors import ConfigError

if TYPE_CHECKING:
    from rtslib.data.fetching import Fetched
    from rtslib.data.stac import Season


@app.command()
def fetch(
    aoi: Annotated[Path, typer.Option(metavar="FILE", help="Polygons of the area of interest.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the GeoTIFFs.")],
    start: Annotated[str, typer.Option("--from", metavar="YYYY-MM-DD", help="First day of the images.")] = "",
    end: Annotated[str, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day of the images.")] = "",
    months: Annotated[str, typer.Option(metavar="7,8", help="Of these days, only those of some months.")] = "",
    max_cloud: Annotated[float, typer.Option(min=0, max=100, help="Most clouds of an image tile, %.")] = 30.0,
    composite: Annotated[str, typer.Option(
        metavar="median|clearest", help="Median of all days, or the one day that shows most.")] = "median",
    catalog: Annotated[str, typer.Option(
        metavar="URL|NAME", help="STAC API: earth-search, planetary-computer, pgc (ArcticDEM), or a URL.")
    ] = "earth-search",
    product: Annotated[list[str] | None, typer.Option(
        metavar="NAME", help="sentinel2, arcticdem or copernicus_dem; else all that the catalog has.")] = None,
    crs: Annotated[str, typer.Option(help="Projected, such as EPSG:3413; else the UTM zone of the area.")] = "",
    pixel_size: Annotated[float, typer.Option(help="In map units of the CRS.")] = 10.0,
    skip: Annotated[list[str] | None, typer.Option(metavar="ITEM", help="Id of an item to leave out.")] = None,
) -> None:  # fmt: skip
    """Fetch imagery and elevations of an area by STAC."""
    season = _season(start, end, months, max_cloud)
    from rtslib.data.aoi import grid_over
    from rtslib.data.fetching import fetch as get
    from rtslib.data.fetching import plan

    grid = grid_over(aoi, crs, pixel_size)
    for found in get(plan(grid, catalog, product or (), season, composite, skip or ()), out, progress_on_stderr):
        _say(found)


def _season(start: str, end: str, months: str, max_cloud: float) -> "Season | None":
    """Read --from, --to and --months; None without the first two. Raises ConfigError."""
    from rtslib.data.stac import Season

    if not start and not end:
        if months:
            raise ConfigError("--months goes with --from and --to")
        return None
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        raise ConfigError(f"--from {start!r} --to {end!r}: give both as YYYY-MM-DD") from None
    if not re.fullmatch(r"(\d\d?(,\d\d?)*)?", months):
        raise ConfigError(f"--months {months!r}: give numbers of months with commas between, such as 7,8")
    return Season(first, last, tuple(int(m) for m in months.split(",") if m), max_cloud)


def _say(found: "Fetched") -> None:
    """Say what was fetched, and note what it does not show."""
    grid, tags = found.wanted.grid, found.wanted.tags
    what = f"{', '.join(found.wanted.bands)}, {grid.width} x {grid.height} px of {grid.transform.a:g} in {grid.crs}"
    dates = f", {len(tags['dates'].split(','))} days ({tags['date']})" if "dates" in tags else ""
    there = "" if found.fresh else ", there already"
    print(f"{found.path}: {what}; {len(found.wanted.views)} items{dates}{there}")
    if found.empty > 0.001:
        note(f"{found.path} shows nothing in {found.empty:.1%} of its pixels")
