"""`fetch` on the command line, and that what fails says so in one line."""

import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from helpers.stac import UTM, serving
from rtslib.cli.main import main
from rtslib.data import stac

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture()
def api(tmp_path, monkeypatch):
    monkeypatch.setattr(stac, "BACKOFF", 0)
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as api:
        api.add("a", "2023-07-10")
        api.dem("d", 12)
        yield api


@pytest.fixture()
def aoi(tmp_path):
    gpd.GeoDataFrame(geometry=[shapely.box(500_100, 7_699_600, 500_400, 7_700_000)], crs=UTM).to_file(
        tmp_path / "a.gpkg"
    )
    return tmp_path / "a.gpkg"


def call(capsys, aoi, url, *more):
    capsys.readouterr()
    code = main(["fetch", "--aoi", str(aoi), "--out", str(aoi.parent / "out"), "--catalog", url, *more])
    return code, *map(str.splitlines, capsys.readouterr())


SUMMER = ("--from", "2023-07-01", "--to", "2023-08-31")


def test_files_are_named_and_said(capsys, api, aoi):
    code, out, err = call(capsys, aoi, api.url, *SUMMER, "--months", "7,8", "--max-cloud", "5")
    assert (code, err) == (0, [])
    assert out[0].endswith(
        "sentinel2.tif: red, green, blue, nir, 30 x 40 px of 10 in EPSG:32608; 1 items, 1 days (2023-07-10)"
    )
    assert out[1].endswith("copernicus_dem.tif: elevation, 30 x 40 px of 10 in EPSG:32608; 1 items")
    code, out, err = call(capsys, aoi, api.url, *SUMMER, "--months", "7,8", "--max-cloud", "5")
    assert code == 0 and all(line.endswith("there already") for line in out)


def test_a_hole_is_noted(capsys, api, aoi):
    api.items.clear()
    api.add("cloud", scl=9)
    code, out, err = call(capsys, aoi, api.url, *SUMMER, "--product", "sentinel2")
    assert code == 0 and err == [f"note: {aoi.parent / 'out' / 'sentinel2.tif'} shows nothing in 100.0% of its pixels"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--from", "2023-07-01"), "give both as YYYY-MM-DD"), (("--from", "July", "--to", "x"), "YYYY-MM-DD"),
        (("--months", "7"), "--months goes with"), ((*SUMMER, "--months", "7-8"), "such as 7,8"),
        ((*SUMMER, "--months", "13"), "1 to 12"), (("--from", "2023-07-02", "--to", "2023-07-01"), "exchange them"),
        ((*SUMMER, "--max-cloud", "-1"), "--max-cloud"), ((*SUMMER, "--catalog", "erth"), "'erth' is none of"),
        (("--crs", "EPSG:4326"), "not projected"), (("--pixel-size", "1e-5"), "take larger pixels"),
        (("--aoi", "nowhere.gpkg"), "nowhere.gpkg"), (SUMMER[:0], "needs --from and --to"),
        (("--product", "landsat"), "sentinel2, arcticdem"), (("--composite", "mean", *SUMMER), "median or clearest"),
        (("--from", "2001-07-01", "--to", "2001-07-31"), "no sentinel2 of 2001-07-01"),
        ((*SUMMER, "--catalog", "http://127.0.0.1:1"), "no usable answer"),
    ],
)  # fmt: skip
def test_what_fails_is_one_line_and_writes_nothing(capsys, api, aoi, more, said):
    code, out, err = call(capsys, aoi, api.url, *more)
    assert (code, out, len(err)) == (2, [], 1) and err[0].startswith("error: ") and said in err[0]
    assert not (aoi.parent / "out").exists()


def test_a_folder_that_cannot_be_written(capsys, api, aoi):
    (aoi.parent / "out").write_text("a file")
    code, out, err = call(capsys, aoi, api.url, *SUMMER)
    assert (code, out, len(err)) == (2, [], 1) and "cannot write" in err[0]


def test_without_network_it_is_one_line_on_stderr_of_a_process(aoi):
    """And so no library prints its own words beside it; a name that no resolver knows is what one sees offline."""
    command = [sys.executable, "-m", "rtslib", "fetch", "--aoi", str(aoi), "--out", str(aoi.parent / "out"), *SUMMER,
               "--catalog", "https://catalog.invalid/v1"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: https://catalog.invalid/v1: found no usable answer")
