"""`chips`: from files of one's own to a set that `info` reads, and one line for each that will not do."""

import shutil
import warnings

import geopandas as gpd
import numpy as np
import pytest
from rasterio.errors import NotGeoreferencedWarning
from shapely import Point, box

from helpers.regions import AT, POLAR, UTM, polar_grid, write
from rtslib.cli.main import main

SIDE = (64, 64)


@pytest.fixture()
def files(tmp_path):
    """RGB in UTM, a DEM in polar stereographic, and slumps in degrees, with what is wrong with them beside."""
    draw = np.random.default_rng(0)
    rgb = {b: draw.integers(1, 255, SIDE) for b in ("red", "green", "blue")}
    write(tmp_path / "rgb.tif", rgb, dtype="uint8")
    write(tmp_path / "dem.tif", {"elevation": draw.normal(9, 1, (90, 90))}, crs=POLAR, at=polar_grid(10, (90, 90)))
    write(tmp_path / "far.tif", {"nir": rgb["red"]}, at=AT.translation(0, 900_000) @ AT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # that is what it is for
        write(tmp_path / "nowhere.tif", {"red": rgb["red"]}, crs=None, at=None)
    (tmp_path / "text.tif").write_text("no raster")
    shapes = [box(*(AT @ (c, r + 8)), *(AT @ (c + 8, r))) for r, c in ((2, 2), (28, 28), (50, 4))]
    known = gpd.GeoDataFrame({"year": [2023, 2023, 2020]}, geometry=shapes, crs=UTM)
    known.to_crs("EPSG:4326").to_file(tmp_path / "slumps.gpkg", layer="slumps", driver="GPKG")
    known[:0].to_file(tmp_path / "empty.gpkg", layer="slumps", driver="GPKG")
    known.translate(9e5, 0).to_file(tmp_path / "elsewhere.gpkg", layer="slumps", driver="GPKG")
    gpd.GeoSeries([Point(5, 5)], crs=UTM).to_file(tmp_path / "points.gpkg", driver="GPKG")
    return tmp_path


def call(capsys, files, *args):
    """Run `chips` with names of files given in full; return code, output, lines of errors."""
    capsys.readouterr()
    known = {p.name: str(p) for p in files.iterdir()}
    words = [known.get(str(a), str(a)) for a in args]
    code = main(["chips", *words, "--out", str(files / "out")])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


GOOD = ("--source", "rgb.tif", "--source", "dem.tif", "--truth", "slumps.gpkg", "--size", 16)


def test_files_of_several_crss_become_a_set(capsys, files):
    code, said, notes = call(capsys, files, *GOOD, "--where", "year = 2023", "--group-by", "0.16", "--keep-empty", 1)
    assert (code, notes) == (0, [])
    assert "16 chips of 16 px, 5 with slumps" in said and "in 13 groups; 5 slumps on them, 4 of these cut" in said
    assert main(["info", str(files / "out")]) == 0
    shown = capsys.readouterr().out
    assert "geotiff" in shown and "terrain (relative_elevation shaded_relief)" in shown and "note" not in shown
    assert (files / "out" / "chips.png").stat().st_size > 10_000
    assert gpd.read_file(files / "out" / "chips.gpkg").crs == UTM


def test_a_size_need_not_be_said(capsys, files):
    """64 px hold one chip of 64 px; borders and units are said before anything is cut."""
    code, said, notes = call(capsys, files, *GOOD[:-2])
    assert code == 0 and "1 chips of 64 px" in said and len(notes) == 1 and "site groups: 1" in notes[0]


def test_borders_and_units_are_noted(capsys, files):
    draw = np.random.default_rng(1)
    rgb = {b: draw.integers(300, 3000, SIDE) for b in ("red", "green", "blue")}
    for values in rgb.values():
        values[:, :5] = 0
    write(files / "numbers.tif", rgb, dtype="uint16")
    write(files / "nir.tif", {"nir": draw.uniform(0, 0.5, SIDE)})
    truth = ("--truth", "slumps.gpkg", "--size", 16, "--group-by", "0.16")
    code, _, notes = call(capsys, files, "--source", "numbers.tif", *truth)
    assert code == 0 and len(notes) == 2 and "a border of 0" in notes[0] and "--nodata" in notes[0]
    assert "red,green,blue look like digital numbers" in notes[1] and "--scale red=0.0001 --scale green" in notes[1]
    shutil.rmtree(files / "out")
    told = ("--nodata", "0", "--scale", "red,green,blue=1e-4")
    assert call(capsys, files, "--source", "numbers.tif", *truth, *told)[::2] == (0, [])
    shutil.rmtree(files / "out")
    code, _, notes = call(capsys, files, "--source", "numbers.tif", "--source", "nir.tif", *truth, "--nodata", "0")
    assert code == 0 and notes[0].endswith(
        "red,green,blue look like digital numbers; nir look like reflectance: NDVI and NDWI take all in one unit, "
        "such as by --scale nir=1e+04"
    )


def test_a_number_or_source_that_is_a_field_too_is_noted(capsys, files):
    known = gpd.read_file(files / "slumps.gpkg").assign(source="a", **{"2023": 1})
    known.to_file(files / "fields.gpkg")
    for by, what in (("2023", "squares of so many km"), ("source", "images")):
        args = ("--source", "rgb.tif", "--truth", "fields.gpkg", "--size", 16, "--keep-empty", 0, "--group-by", by)
        code, _, notes = call(capsys, files, *args)
        assert code == 0 and f"--group-by {by} makes groups of {what}, though the truth has a field" in notes[0]
        shutil.rmtree(files / "out")


def test_few_groups_and_slumps_off_chips_are_noted(capsys, files):
    code, _, notes = call(capsys, files, *GOOD, "--group-by", "source", "--keep-empty", 0, "--aoi", "slumps.gpkg")
    assert code == 0 and len(notes) == 1 and "site groups: 1," in notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--source": "nowhere.tif=red"}, "no CRS"),
        ({"--source": "text.tif"}, "text.tif: found no readable raster"),
        ({"--source": "none.tif"}, "no such file"),
        ({"--source": ["rgb.tif", "far.tif"]}, "no part of it on the region's grid"),
        ({"--source": None}, "give one or more --source"),
        ({"--truth": "empty.gpkg"}, "found no polygon, expected the known slumps"),
        ({"--truth": "elsewhere.gpkg"}, "none of them on the rasters"),
        ({"--truth": "text.tif"}, "no readable vector file"),
        ({"--truth": "points.gpkg"}, "row 1: found a Point"),
        ({"--layer": "lakes"}, "lakes"),
        ({"--where": "yaer = 2023"}, "yaer"),
        ({"--where": "year = 1999"}, "no polygon where year = 1999"),
        ({"--group-by": "site"}, "'site' is no field of the truth, which has year"),
        ({"--group-by": "-1"}, "above 0"),
        ({"--group-by": "nan"}, "above 0"),
        ({"--size": 3}, "--size"),
        ({"--size": 4000}, "less than a chip of 4000 px"),
        ({"--overlap": 16}, "overlap"),
        ({"--keep-empty": 2}, "--keep-empty"),
        ({"--layout": "coco"}, "--layout"),
        ({"--layout": "challenge"}, "there is no ndvi"),
        ({"--aoi": "elsewhere.gpkg"}, "no part of it on the rasters"),
        ({"--crs": "EPSG:3413"}, "make no grid"),
        ({"--crs": "EPSG:3413", "--pixel-size": 1e-5}, "windows of 256 px"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, files, change, message):
    given = {"--source": "rgb.tif", "--truth": "slumps.gpkg", "--size": 16} | change
    args = []
    for option, value in given.items():
        for each in value if isinstance(value, list) else [value]:
            args += [] if each is None else [option, files / each if "=" in str(each) and "year" not in each else each]
    code, out, errors = call(capsys, files, *args)
    assert (code, out, len(errors)) == (2, "", 1), errors
    assert errors[0].startswith("error: ") and message in errors[0]
    assert not (files / "out").exists() and not list(files.glob(".part*"))
