"""A raster file: size, CRS, pixels, bands and how they are known, values, voids, date, and what is odd about them.

Bands are known by their descriptions alone (`rtslib.bands.BANDS`). What another description or a band's colour
suggests is said as a guess, for the user to name on the command line; nothing is read by it.
"""

import math
import re
import shlex
from pathlib import Path

import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds

from rtslib.bands import BANDS
from rtslib.data.borders import border_note
from rtslib.data.counts import NUMBERS, is_counted, kind
from rtslib.data.diagnosis.findings import Findings, place
from rtslib.data.diagnosis.numbers import Numbers, look, raw_layers
from rtslib.data.grids import check_bands, north_up, open_raster
from rtslib.errors import DataError, one_line

#: What others call bands, in lower case without what is no letter or digit.
ALIASES = {
    "b02": "blue", "b2": "blue", "b03": "green", "b3": "green", "b04": "red", "b4": "red", "b08": "nir", "b8": "nir",
    "r": "red", "g": "green", "b": "blue", "nearinfrared": "nir", "nir1": "nir", "infrared": "nir", "dem": "elevation",
    "dsm": "elevation", "dtm": "elevation", "height": "elevation", "elev": "elevation", "z": "elevation",
    "hillshade": "shaded_relief", "relativeelevation": "relative_elevation", "shadedrelief": "shaded_relief",
}  # fmt: skip
_COLOURS = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}
_DATE = re.compile(r"(?:19|20)\d\d[-:/]?\d\d[-:/]?\d\d")
_COMMANDS = "map --run RUN, or chips --truth FILE, with"
#: Pixels from which on slumps, of some tens to hundreds of metres, are a few pixels at best; m.
COARSE = 30.0


def diagnose_raster(path: Path) -> Findings:
    """Look at a raster; of a large one, at some of its pixels.

    Raises:
        DataError: it cannot be opened.
    """
    found = Findings(path)
    with open_raster(path) as file:
        check_bands(file)
        kinds = ", ".join(sorted(set(file.dtypes)))
        size = f"{file.height} x {file.width} px (height x width)"
        found.facts.append(f"a raster ({file.driver}): {size}, bands: {file.count} of {kinds}")
        _grid(file, found)
        try:
            layers = raw_layers(file, path)
            numbers = look(file, layers)
            real = [la for la in layers if not (numbers[la.index - 1].mask or "complex" in file.dtypes[la.index - 1])]
            border = border_note(file, path, real)
        except (RasterioError, DataError) as e:
            fault = e if isinstance(e, DataError) else DataError(path, f"unreadable pixels: {one_line(e)}", "a raster")
            found.faults.append(str(fault))
            return found
        names = [_name(file, k, band) for k, band in zip(file.indexes, numbers)]
        for k, band in zip(file.indexes, numbers):
            _band(file, k, names[k - 1], band, found)
        _voids(file, numbers, found)
        if border and not numbers[0].labels:
            found.odd.append(border)
        found.facts.append(_date(file, path))
        if numbers[0].step > 1:
            found.facts.append(f"values and voids are of one in {numbers[0].step ** 2} pixels")
        _uses(file, names, numbers, found)
    return found


def _grid(file: rasterio.DatasetReader, found: Findings) -> None:
    """Say CRS, pixel size and place."""
    t, crs = file.transform, file.crs
    if crs is None:
        found.facts.append("no CRS: it lies nowhere")
        if file.gcps[0]:
            found.odd.append("ground control points in place of a grid: warp it with gdalwarp")
        else:
            found.odd.append("no CRS: give it one, gdal_edit.py -a_srs EPSG:..., if it has a place at all")
        return
    if not north_up(t):
        found.odd.append("not north up: warp it with gdalwarp")
    across, down = math.hypot(t.a, t.d), math.hypot(t.b, t.e)
    known = crs.is_projected or crs.is_geographic
    unit, factor = crs.linear_units_factor if crs.is_projected else ("degree", 111_320.0)
    said = f"CRS {_crs_name(crs)}, pixels of {across:g} x {down:g} {unit if known else 'units'}"
    box = _degrees(file) if known else None
    if box:
        said += f", around {place(box)}"
    found.facts.append(said)
    if not known:
        found.odd.append("its CRS has no place on Earth: reproject or georeference it")
    elif crs.is_geographic:
        found.odd.append("CRS in degrees, in which pixels are no squares: map with --crs and --pixel-size in metres")
    if known and not box:
        found.odd.append("its extent has no place in longitude and latitude: is the CRS the right one?")
    elif box and box[0] > box[2]:
        found.odd.append("it lies across 180 degrees of longitude")
    if known and max(across, down) * factor > COARSE:
        found.odd.append(f"pixels of about {max(across, down) * factor:.0f} m: a slump is a few of them at best")


def _crs_name(crs: CRS) -> str:
    code, name = crs.to_epsg(), re.match(r'\w+\["([^"]+)"', crs.to_wkt())
    return f"EPSG:{code}" + (f" ({name[1]})" if name else "") if code else (name[1] if name else "without a name")


def _degrees(file: rasterio.DatasetReader) -> tuple[float, float, float, float] | None:
    """Return west, south, east, north; None where they cannot be told."""
    try:
        box = transform_bounds(file.crs, "EPSG:4326", *array_bounds(file.height, file.width, file.transform))
    except Exception:  # of rasterio or, unwrapped, of GDAL
        return None
    return box if all(map(math.isfinite, box)) and max(map(abs, box[1::2])) <= 90.001 else None


def _name(file: rasterio.DatasetReader, k: int, band: Numbers) -> tuple[str, str]:
    """Return what a band is and by what that is known ("" and "": unknown); a guess has a name that ends in "?"."""
    description, colour = file.descriptions[k - 1] or "", file.colorinterp[k - 1]
    if description in BANDS:
        return description, "by its description"
    plain = "".join(filter(str.isalnum, description)).lower()
    if guess := ALIASES.get(plain, plain if plain in BANDS else ""):
        return f"{guess}?", f"described as {description!r}"
    if description:
        return "", f"described as {description!r}"
    if colour in _COLOURS:
        return f"{_COLOURS[colour]}?", "by its colour tag, without a description"
    if colour == ColorInterp.alpha:
        return "" if band.mask else "nir?", "tagged alpha, without a description"
    return "", "without a description"


def _band(file: rasterio.DatasetReader, k: int, name: tuple[str, str], band: Numbers, found: Findings) -> None:
    """Say name, values and unit of one band, and what does not fit them."""
    what, why = name
    scale, offset, unit = file.scales[k - 1], file.offsets[k - 1], file.units[k - 1]
    said = f"band {k}: {what or 'not known'}, {why}"
    if band.low is None:
        found.facts.append(f"{said}; all void")
        found.odd.append(f"band {k} has no valid value")
        return
    low, high = sorted((band.low * scale + offset, band.high * scale + offset))
    said += f"; {low:g} to {high:g}" + (f" {unit}" if unit else "")
    if (scale, offset) != (1, 0):
        said += f" (stored numbers x {scale:g} + {offset:g})"
    known = BANDS.get(what.rstrip("?"))
    if is_counted(what.rstrip("?")):
        most = kind(band.most * scale + offset)
        said += f": {most}" + (", such as reflectance x 10,000 (a scale of 1e-4)" if most == NUMBERS else "")
    found.facts.append(said)
    if known and (low < known.low or high > known.high):
        possible = f"{known.low:g} to {known.high:g}"
        found.odd.append(f"band {k}, {known.name}, has {low:g} to {high:g}; possible are {possible}")
    if low == high:
        found.odd.append(f"band {k} has one value, {low:g}, everywhere")


def _voids(file: rasterio.DatasetReader, numbers: list[Numbers], found: Findings) -> None:
    """Say how much is void and by what tag, and what looks void without one."""
    tags = sorted({f"nodata {v:g}" for v in file.nodatavals if v is not None})
    alphas = [k for k, c in zip(file.indexes, file.colorinterp) if c == ColorInterp.alpha]
    void = ", ".join(dict.fromkeys(f"{100 * b.void:.1f} %" for b in numbers))
    found.facts.append(f"void: {void}; {', '.join(tags) or 'no nodata value'}")
    for k in alphas:
        kind = "a mask of the others" if numbers[k - 1].mask else "not a mask's: it looks like data"
        found.odd.append(f"band {k} is tagged alpha; its values are {kind}")
    for k, band in zip(file.indexes, numbers):
        if band.nan:
            found.odd.append(f"band {k} has NaN ({100 * band.nan:.1f} %) that no nodata value marks")
        if band.filler:
            found.odd.append(f"band {k} has fill values such as {band.low:g} that no nodata value marks: tag them")


def _date(file: rasterio.DatasetReader, path: Path) -> str:
    """Say the date that a tag, or else the file's name, states."""
    for namespace in (None, *file.tag_namespaces()):
        for key, text in file.tags(ns=namespace).items():
            if re.search("date|time|acqui|sensed", key, re.IGNORECASE) and (match := _DATE.search(str(text))):
                return f"date {match[0]}, by its tag {key}"
    match = _DATE.search(path.stem)
    return f"date {match[0]}, by its name" if match else "no date in its tags or name"


def _uses(file: rasterio.DatasetReader, names: list[tuple[str, str]], numbers: list[Numbers], found: Findings) -> None:
    """Say which command takes it."""
    if file.crs is None:
        found.uses.append("none before it has a CRS; pictures without one are chips in images/ (layouts coco, plain)")
        return
    if not north_up(file.transform):
        found.uses.append("none before it is north up")
        return
    if any("complex" in kind for kind in file.dtypes):
        found.uses.append("none before its numbers are real")
        return
    if file.count == 1 and numbers[0].labels and not names[0][0]:
        found.uses.append("a label raster, 1 on slumps: mask/ID.tif of a chip in a folder of the geotiff layout")
        return
    guessed = [what.rstrip("?") or "-" for what, _ in names]
    named = [what for what, _ in names if what and not what.endswith("?")]
    if len(named) == file.count:
        found.uses.append(f"{_COMMANDS} --source {shlex.quote(str(found.path))}; or as a file of a scene or of a chip")
    elif set(guessed) == {"-"}:
        blanks = shlex.quote(f"{found.path}={','.join(['BAND'] * file.count)}")
        found.uses.append(f"{_COMMANDS} --source {blanks}; bands are {', '.join(BANDS)}")
    else:
        given = shlex.quote(f"{found.path}={','.join(guessed)}")
        found.uses.append(f"{_COMMANDS} --source {given} if its bands are these; - skips one")
