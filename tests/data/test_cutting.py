"""Cutting: rasters of known values and square slumps become the chips that one would draw by hand."""

import json
import resource
import signal
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window
from shapely import box

from helpers.regions import AT, UTM, write
from rtslib.data.cutting.cutter import cut_chips
from rtslib.data.cutting.request import Options, Request, read_known
from rtslib.data.cutting.sizes import with_size
from rtslib.data.masks import decode
from rtslib.data.opening import open_chips
from rtslib.data.region import open_region
from rtslib.errors import ConfigError, DataError, OutputError

SIDE = (128, 160)  # 8 x 10 chips of 16 px of 10 m
SMALL = Options(size=16)


def square(row, column, height, width):
    """A rectangle over whole pixels of the raster."""
    left, top = AT @ (column, row)
    right, bottom = AT @ (column + width, row + height)
    return box(left, bottom, right, top)


def truth(*shapes, **fields):
    return gpd.GeoDataFrame(fields, geometry=list(shapes), crs=UTM)


@pytest.fixture()
def rasters(tmp_path):
    """Random RGB and NIR on one grid, and a DEM on another that ends before the last columns."""
    draw = np.random.default_rng(0)
    rgb = {b: draw.integers(1, 255, SIDE) for b in ("red", "green", "blue")}
    dem = draw.normal(100, 3, (70, 70))
    return [
        write(tmp_path / "rgb.tif", rgb, dtype="uint8", nodata=0),
        write(tmp_path / "nir.tif", {"nir": draw.integers(1, 255, SIDE)}, dtype="uint8", nodata=0),
        write(tmp_path / "dem.tif", {"elevation": dem}, at=Affine(20, 0, 500_003, 0, -20, 7_700_007)),
    ]


def cut(rasters, known, out, options=SMALL, area=None, **more):
    return cut_chips(Request(open_region(rasters), known, options, area), out, **more)


def table(out):
    return pd.read_csv(out / "chips.csv").set_index("chip")


def test_training_and_mapping_see_the_same_pixels(rasters, tmp_path):
    cut(rasters, truth(square(4, 4, 6, 6)), tmp_path / "out", Options(size=16, keep_empty=1))
    chips, region = open_chips(tmp_path / "out"), open_region(rasters)
    assert chips.notes == () and chips.layout == "geotiff" and chips.derived == {} and len(chips.chips) == 80
    assert set(chips.bands) == set(region.bands) >= {"ndvi", "relative_elevation", "shaded_relief"}
    void = 0
    for chip in chips.chips:
        row, column = int(chip.name[1:7]), int(chip.name[8:])
        seen = region.read(chips.bands, Window(column, row, 16, 16))
        assert chips.read(chip).tobytes() == seen.tobytes()
        assert chip.transform == AT @ Affine.translation(column, row)
        void += np.isnan(seen).any()
    assert void  # the DEM does not cover all, so that nodata is compared too


def test_touching_slumps_stay_two_and_cut_ones_are_marked(rasters, tmp_path):
    known = truth(square(2, 2, 5, 5), square(2, 7, 5, 4), square(20, 10, 6, 9), square(40, 40, 3, 3))
    counts = cut(rasters, known, tmp_path / "out", Options(size=16, keep_empty=0))
    assert counts["only_small_pieces"] == 1  # 9 px
    assert counts["off_chips"] == 1 and counts["chips"] == 3 and counts["slumps"] == 4 and counts["cut"] == 2
    chips = open_chips(tmp_path / "out")
    assert chips.notes == () and chips.dropped_instances == 0
    first = chips.instances[1]
    expected = np.zeros((2, 16, 16), bool)
    expected[0, 2:7, 2:7] = expected[1, 2:7, 7:11] = True
    assert (np.array([decode(i.rle) for i in first]) == expected).all()
    found = table(tmp_path / "out")
    assert found["slumps"].tolist() == [2, 1, 1] and found["cut"].tolist() == [0, 1, 1]
    assert found["m2"].to_numpy() == pytest.approx([4500, 3600, 1800], rel=0.01)
    assert found["group"].nunique() == 1 and found["cover_rgb"].eq(1).all()
    listed = pd.read_csv(tmp_path / "out" / "instances.csv")
    assert listed["slump"].tolist() == [0, 1, 2, 2] and listed["pixels"].tolist() == [25, 20, 36, 18]


def test_the_smaller_of_two_that_overlap_lies_on_top(rasters, tmp_path):
    known = truth(square(4, 4, 4, 4), square(2, 2, 10, 10))
    cut(rasters, known, tmp_path / "out", Options(size=16, keep_empty=0))
    assert pd.read_csv(tmp_path / "out" / "instances.csv")["pixels"].tolist() == [16, 84]


def test_a_slump_where_there_is_no_data_is_cut(tmp_path):
    red = np.full(SIDE, 9)
    red[:8, :8] = 0
    rgb = write(tmp_path / "rgb.tif", {"red": red, "green": red, "blue": red}, dtype="uint8", nodata=0)
    cut([rgb], truth(square(4, 4, 8, 8), square(20, 4, 4, 4)), tmp_path / "out", Options(size=16, keep_empty=0))
    listed = pd.read_csv(tmp_path / "out" / "instances.csv")
    assert listed["pixels"].tolist() == [48, 16] and listed["cut"].tolist() == [True, False]
    assert table(tmp_path / "out")["cover_rgb"].tolist() == [0.75, 1]


def test_empty_chips_are_a_share_of_those_beside_and_of_those_away(rasters, tmp_path):
    known = truth(square(36, 36, 6, 6))  # in one chip, not at the edge: 8 beside, 71 away
    for share, beside, away in ((0, 0, 0), (0.25, 2, 18), (1, 8, 71)):
        counts = cut(rasters, known, tmp_path / str(share), Options(size=16, keep_empty=share))
        assert (counts["with_slumps"], counts["beside"], counts["away"]) == (1, beside, away)
        kinds = table(tmp_path / str(share))["kind"].value_counts()
        assert (kinds.get("beside", 0), kinds.get("away", 0)) == (beside, away)


def test_outside_the_area_is_no_data_and_no_slump(rasters, tmp_path):
    known = truth(square(2, 2, 6, 4), square(2, 10, 5, 5))
    cut(rasters, known, tmp_path / "out", Options(size=16, keep_empty=1), area=square(0, 0, 16, 8))
    chips = open_chips(tmp_path / "out")
    (chip,) = chips.chips
    values = chips.read(chip)
    assert np.isnan(values[:, :, 8:]).all() and not np.isnan(values[:3, :, :8]).any()
    assert [i.area for i in chips.instances[1]] == [24]
    assert table(tmp_path / "out")["cover_rgb"].tolist() == [0.5]


def test_sites_are_squares_fields_or_images(rasters, tmp_path):
    known = truth(square(2, 2, 5, 5), square(100, 100, 5, 5), square(2, 115, 5, 5), place=["b", "a", "b"])
    every = {"size": 16, "keep_empty": 1}
    groups = {}
    for by in ("", "0.32", "place", "source"):
        cut(rasters, known, tmp_path / f"by{by}", Options(**every, group_by=by))
        groups[by] = table(tmp_path / f"by{by}")["group"]
    assert groups[""].nunique() == 6 and groups["0.32"].nunique() == 20  # 4 and 2 chips a side
    assert groups["place"]["r000000c000000"] == groups["place"]["r000000c000112"] == "b"
    assert groups["place"]["r000096c000096"] == "a" and set(groups["place"]) == {"a", "b"}
    assert set(groups["source"]) == {"rgb"}
    assert groups[""]["r000048c000048"] == "square-000-000" != groups[""]["r000064c000048"]


def test_a_slump_on_two_squares_moves_a_chip_and_one_on_two_named_sites_joins_them(rasters, tmp_path):
    known = truth(square(20, 60, 8, 8), square(100, 100, 5, 5), site=["b", "a"])
    cut(rasters, known, tmp_path / "out", Options(size=16, keep_empty=1))
    groups = table(tmp_path / "out")["group"]
    assert groups["r000016c000048"] == groups["r000016c000064"] == groups["r000000c000000"] == "square-000-000"
    assert groups["r000000c000064"] == "square-000-001" and groups.nunique() == 6
    both = truth(*known.geometry, square(20, 50, 5, 5), site=["b", "a", "a"])  # on a chip with a slump of the other
    cut(rasters, both, tmp_path / "by", Options(size=16, keep_empty=1, group_by="site"))
    assert table(tmp_path / "by")["group"].nunique() == 1


@pytest.mark.parametrize(
    ("side", "slump", "size", "site"),
    [(64, 6, 64, 4), (200, 6, 64, 1), (600, 6, 64, 4), (1500, 6, 128, 4), (3000, 6, 256, 4), (600, 300, 256, 4)],
)
def test_chips_are_as_large_as_leaves_enough_groups(tmp_path, side, slump, size, site):
    """Small slumps at every 48th pixel, or one large one, of which there is one group in any way."""
    rgb = write(tmp_path / "rgb.tif", {"red": np.ones((side, side))}, dtype="uint8")
    every = range(20, side - 20, 48) if slump < 48 else [(side - slump) // 2]
    known = truth(*(square(r, c, slump, slump) for r in every for c in every))
    request = with_size(Request(open_region([rgb]), known, Options()))
    assert (request.options.size, request.options.chips_a_site) == (size, site)
    if side == 200:
        assert cut_chips(request, tmp_path / "out")["groups"] == 9


def test_a_size_that_was_not_asked_for_can_be_refused(tmp_path):
    small, large = (
        write(tmp_path / f"{n}.tif", {"red": np.ones((n, n))}, dtype="uint8", crs=crs, at=at)
        for n, crs, at in ((60, UTM, AT), (128, "EPSG:4326", Affine(1e-4, 0, -134, 0, -1e-4, 69)))
    )
    known = truth(square(4, 4, 8, 8))
    with pytest.raises(DataError, match=r"60 x 60 px, less than a chip of 64 px a side.*--size"):
        with_size(Request(open_region([small]), known, Options()))
    with pytest.raises(ConfigError, match="overlap=200: chips are at most 128 px here"):
        with_size(Request(open_region([large]), known, Options(overlap=200)))
    with pytest.raises(ConfigError, match="are no metres"):
        with_size(Request(open_region([large]), known.to_crs("EPSG:4326"), Options(group_by="1")))


def test_chips_of_a_vrt_know_their_image_and_its_date(tmp_path):
    """Two images side by side, joined in a VRT: the groups are the images."""
    for k, name in enumerate("ab"):
        bands = {b: np.full((32, 32), 10 + k) for b in ("red", "green", "blue")}
        path = write(tmp_path / f"{name}.tif", bands, dtype="uint8", at=AT @ Affine.translation(32 * k, 0))
        with rasterio.open(path, "r+") as file:
            file.update_tags(ACQUISITION_DATE=f"2024-07-0{k + 1}T20:15:00Z")
    vrt = tmp_path / "both.vrt"
    rasters = "".join(
        f'<VRTRasterBand dataType="Byte" band="{n}"><Description>{b}</Description>'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}.tif</SourceFilename><SourceBand>{n}</SourceBand>'
            f'<SrcRect xOff="0" yOff="0" xSize="32" ySize="32"/><DstRect xOff="{32 * k}" yOff="0" xSize="32" '
            'ySize="32"/></SimpleSource>' for k, name in enumerate("ab")
        ) + "</VRTRasterBand>" for n, b in enumerate(("red", "green", "blue"), start=1)
    )  # fmt: skip
    where = ", ".join(map(str, AT.to_gdal()))
    with rasterio.open(tmp_path / "a.tif") as file:
        srs = file.crs.to_wkt()
    vrt.write_text(f'<VRTDataset rasterXSize="64" rasterYSize="32"><SRS>{srs.replace(chr(34), "&quot;")}</SRS>'
                   f"<GeoTransform>{where}</GeoTransform>{rasters}</VRTDataset>")  # fmt: skip
    known = truth(square(2, 2, 5, 5), square(2, 50, 5, 5))
    cut([str(vrt)], known, tmp_path / "out", Options(size=16, keep_empty=1, group_by="source"))
    found = table(tmp_path / "out")
    assert found["group"].tolist() == ["a", "a", "b", "b"] * 2
    assert found["date"].tolist() == ["2024-07-01", "2024-07-01", "2024-07-02", "2024-07-02"] * 2


def test_the_challenges_layout_is_read_back(rasters, tmp_path):
    bands = (
        "red", "green", "blue", "ndvi", "ndwi", "nir", "relative_elevation", "shaded_relief"
    )  # fmt: skip
    red = np.full(SIDE, 9)
    red[:16, :16] = 0
    void = write(tmp_path / "void.tif", {"red": red, "green": red, "blue": red}, dtype="uint8", nodata=0)
    known = truth(square(2, 20, 5, 5), square(2, 25, 5, 4), square(20, 2, 5, 5))
    counts = cut([void, *rasters[1:]], known, tmp_path / "out", Options(size=16, keep_empty=1, layout="challenge"))
    assert counts["void_colour"] == 1
    chips, region = open_chips(tmp_path / "out"), open_region([void, *rasters[1:]])
    assert chips.layout == "challenge" and chips.notes == () and set(chips.bands) == set(bands) and chips.has_groups
    assert len(chips.chips) == 79
    chip = chips.chips[0]
    assert chip.name == "r000000c000016" and [i.area for i in chips.instances[chip.id]] == [25, 20]
    assert chips.read(chip).tobytes() == region.read(chips.bands, Window(16, 0, 16, 16)).tobytes()
    assert len(pd.read_csv(tmp_path / "out" / "metadata" / "chips.csv")) == 79


class Stopped(Exception):
    """What a test stops a cut with."""


def stop_at(count):
    def progress(done, total):
        if done == count:
            raise Stopped

    return progress


def files(folder):
    left_out = {"manifest.json", "chips.gpkg"}  # GeoPackages hold the time that they were written
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name not in left_out}  # fmt: skip


def test_a_stopped_cut_goes_on_and_is_the_same(rasters, tmp_path):
    known, stopped = truth(square(2, 2, 5, 5), square(40, 40, 6, 6)), tmp_path / "stopped"
    cut(rasters, known, tmp_path / "whole")
    with pytest.raises(Stopped):
        cut(rasters, known, stopped, progress=stop_at(3))
    with pytest.raises(DataError, match=r"chips whose cutting was stopped, .*--resume"):
        open_chips(stopped)
    with open(stopped / "rows.jsonl", "a") as file:
        file.write('{"chip": "r0000')  # killed while writing
    with pytest.raises(OutputError, match="was stopped: resume it"):
        cut(rasters, known, stopped)
    with pytest.raises(OutputError, match="as truth_sha256 changed since"):
        cut(rasters, known[:1], stopped, resume=True)
    with pytest.raises(OutputError, match=r"as options.keep_empty changed since"):
        cut(rasters, known, stopped, Options(size=16, keep_empty=0.3), resume=True)
    kept = stopped / "bands" / "r000000c000000.tif"
    before = kept.stat().st_mtime_ns
    cut(rasters, known, stopped, resume=True)
    assert kept.stat().st_mtime_ns == before and files(stopped) == files(tmp_path / "whole")
    said = json.loads((stopped / "manifest.json").read_text())
    assert said["counts"]["chips"] == len(open_chips(stopped).chips)
    with pytest.raises(OutputError, match="exists already"):
        cut(rasters, known, stopped, resume=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (Options(size=129), DataError, "less than a chip of 129 px"),
        (Options(size=16, group_by="site"), ConfigError, "'site' is no field of the truth, which has place, year"),
        (Options(size=16, group_by="year"), DataError, "1 slumps without year"),
        (Options(size=16, layout="challenge"), ConfigError, "there is no ndvi, relative_elevation, shaded_relief"),
    ],
)
def test_what_cannot_be_cut_is_refused_before_work(tmp_path, options, error, message):
    rgb = write(tmp_path / "rgb.tif", {b: np.ones(SIDE) for b in ("red", "green", "blue")})
    known = truth(square(2, 2, 5, 5), square(9, 9, 5, 5), place=["a", "b"], year=[2020, None])
    with pytest.raises(error, match=message):
        cut([rgb], known, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_options_out_of_range():
    for wrong in ({"size": 8}, {"overlap": 256}, {"keep_empty": 1.5}, {"group_by": "-3"}, {"layout": "coco"}):
        with pytest.raises(ConfigError):
            Options(**wrong)


def test_a_truth_or_an_area_elsewhere_leaves_nothing(rasters, tmp_path):
    far = square(2, 5000, 5, 5)
    with pytest.raises(DataError, match="1 slumps, none of them on the rasters"):
        cut(rasters, truth(far), tmp_path / "out")
    with pytest.raises(DataError, match="no part of it on the rasters"):
        cut(rasters, truth(square(2, 2, 5, 5)), tmp_path / "out", area=far)
    with pytest.raises(DataError, match="none of them on the rasters.* and in the area"):
        cut(rasters, truth(square(2, 2, 5, 5)), tmp_path / "out", area=square(60, 60, 8, 8))
    assert not (tmp_path / "out").exists()


def test_chips_without_end_are_counted_before_they_are_laid(rasters, tmp_path):
    region = open_region(rasters[:1], crs=UTM, pixel_size=1e-3)
    with pytest.raises(ConfigError, match="1280000 x 1600000 px make 7,812,500 chips of 512 px"):
        cut_chips(Request(region, truth(square(2, 2, 5, 5)), Options(size=512)), tmp_path / "out")


def test_rasters_without_a_value_leave_nothing(tmp_path):
    rgb = write(tmp_path / "rgb.tif", {b: np.zeros(SIDE) for b in ("red", "green", "blue")}, dtype="uint8", nodata=0)
    with pytest.raises(DataError, match=r"no chip, but 18 places without data"):
        cut([rgb], truth(square(2, 2, 5, 5)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit of file size")
def test_a_full_disk_is_said_and_leaves_no_broken_chip(rasters, tmp_path):
    """Files larger than 9,000 bytes cannot be written; GDAL would say nothing of it."""
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*r000000c000000\.tif: File too large"):
            cut(rasters, truth(square(4, 4, 8, 8)), tmp_path / "out", Options(size=64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "out").exists()


def test_slumps_too_small_for_the_pixels_are_said(rasters, tmp_path):
    with pytest.raises(DataError, match="no chip, but 2 places with pieces of slumps under 10 px alone"):
        cut(rasters, truth(square(4, 4, 3, 3), square(40, 40, 2, 3)), tmp_path / "out", Options(size=16, keep_empty=0))


def test_the_truth_is_read_once_a_slump_and_of_one_layer(tmp_path):
    file = tmp_path / "truth.gpkg"
    known = truth(square(2, 2, 5, 5), square(2, 2, 5, 5), square(9, 9, 5, 5), year=[2020, 2023, 2023])
    known.to_file(file, layer="slumps", driver="GPKG")
    assert len(read_known(str(file), UTM)) == 2
    assert len(read_known(str(file), UTM, where="year = 2023")) == 2
    with pytest.raises(DataError, match="no polygon where year = 1999"):
        read_known(str(file), UTM, where="year = 1999")
    with pytest.raises(DataError, match="yaer"):
        read_known(str(file), UTM, where="yaer = 1999")
    known[:1].to_file(file, layer="other", driver="GPKG")
    with pytest.raises(DataError, match="2 layers .'slumps', 'other'"):
        read_known(str(file), UTM)
    assert len(read_known(str(file), UTM, layer="other")) == 1
    with pytest.raises(DataError, match="none"):
        read_known(str(file), UTM, layer="none")


def sparse_mosaic(path, side=40_000):
    """A mosaic of `side` px that holds data in two blocks of 256 px alone; a few KB on disk."""
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "nodata": 0, "crs": UTM,
               "transform": AT, "tiled": True, "blockxsize": 256, "blockysize": 256, "sparse_ok": True}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for row, column in ((0, 0), (side - 512, side - 512)):
            for k in (1, 2, 3):
                file.write(np.full((256, 256), 50 * k, np.uint8), k, window=Window(column, row, 256, 256))
        file.descriptions = ("red", "green", "blue")
    return str(path)


def test_a_mosaic_of_40000_px_is_cut_in_flat_memory(tmp_path):
    """4.8 GB of pixels, of which some hundred windows are read: the process grows by some MB only."""
    mosaic, truth_file = sparse_mosaic(tmp_path / "mosaic.tif"), tmp_path / "truth.gpkg"
    truth(square(20, 20, 40, 40), square(39_600, 39_600, 40, 40)).to_file(truth_file, driver="GPKG")
    code = (
        "import resource, sys\n"
        "from rtslib.data.cutting.cutter import cut_chips\n"
        "from rtslib.data.cutting.request import Options, Request, read_known\n"
        "from rtslib.data.region import open_region\n"
        "mosaic, file, out = sys.argv[1:]\n"
        "region = open_region([mosaic])\n"
        "request = Request(region, read_known(file, region.crs), Options(keep_empty=0.01))\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak()\n"
        "print(cut_chips(request, out)['chips'], peak() - before)\n"
    )
    command = [sys.executable, "-c", code, mosaic, str(truth_file), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    chips, grown = done.stdout.split()
    assert int(chips) >= 2 and float(grown) < 150
    found = open_chips(tmp_path / "out")
    assert sum(len(i) for i in found.instances.values()) == 2
