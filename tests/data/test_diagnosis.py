"""What is said of rasters, vector files and chip folders: every oddity has a file that has it, and one that has not."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from helpers.chip_folders import edit_json, write_challenge, write_coco
from rtslib.data.diagnosis.chips import diagnose_chips
from rtslib.data.diagnosis.folder import diagnose_file, diagnose_folder
from rtslib.errors import DataError

AT = Affine(3, 0, 500_000, 0, -3, 7_700_000)
UTM = "EPSG:32608"


def noise(count=1, low=100, high=200, shape=(40, 50)):
    return np.random.default_rng(0).integers(low, high, (count, *shape))


def raster(path, values, names=(), dtype="uint8", crs=UTM, at=AT, nodata=None, scale=1.0, alpha=0, tags=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": dtype, "nodata": nodata}
    with rasterio.open(path, "w", **profile, crs=crs, transform=at, photometric="minisblack") as file:
        kinds = [ColorInterp.gray, *[ColorInterp.undefined] * (count - 1)]
        if alpha:
            kinds[alpha - 1] = ColorInterp.alpha
        file.colorinterp = kinds
        file.write(values.astype(dtype))
        for k, name in enumerate(names, start=1):
            file.set_band_description(k, name)
        file.scales = [scale] * count
        file.update_tags(**(tags or {}))
    return path


def said(lines, *parts):
    """Assert that one line holds all parts."""
    assert any(all(p in line for p in parts) for line in lines), (parts, lines)


def test_a_good_raster_has_nothing_odd(tmp_path):
    path = raster(tmp_path / "s2.tif", noise(4, 300, 3000), ("red", "green", "blue", "nir"), "uint16", nodata=0,
                  scale=1e-4, tags={"TIFFTAG_DATETIME": "2023:07:14 10:00:00"})  # fmt: skip
    found = diagnose_file(path)
    assert (found.odd, found.faults) == ([], [])
    said(found.facts, "40 x 50 px", "4 of uint16")
    said(found.facts, "EPSG:32608", "3 x 3 metre", "69.4", "W")
    said(found.facts, "band 1: red, by its description", "0.03 to 0.29", "x 0.0001", "reflectance")
    said(found.facts, "void: 0.0 %; nodata 0")
    said(found.facts, "date 2023:07:14")
    assert len(found.uses) == 1 and f"--source {path};" in found.uses[0]
    assert found.lines()[0] == str(path) and all(line[:7] in ("  is   ", "  use  ") for line in found.lines()[1:])


def test_voids_are_counted_by_their_tag(tmp_path):
    values = noise()
    values[0, :10] = 0
    found = diagnose_file(raster(tmp_path / "a.tif", values, ("red",), nodata=0))
    said(found.facts, "void: 25.0 %; nodata 0")
    assert found.odd == []


def corner(values, fill):
    values = values.astype(float)
    values[:, :12, :12] = fill
    return values


ODD = {
    "border": ({"values": corner(noise(3), 0), "names": ("red", "green", "blue")}, "a border of 0"),
    "filler": (
        {"values": corner(noise(), -9999), "names": ("elevation",), "dtype": "float32"}, "fill values such as -9999"),
    "out of range": ({"values": noise() / 50, "names": ("ndvi",), "dtype": "float32"}, "possible are -1 to 1"),
    "NaN": ({"values": corner(noise(), np.nan), "names": ("elevation",), "dtype": "float32"}, "has NaN (7.2 %)"),
    "one value": ({"values": noise() * 0 + 7, "names": ("red",)}, "band 1 has one value, 7"),
    "all void": ({"values": noise() * 0, "names": ("red",), "nodata": 0}, "band 1 has no valid value"),
    "degrees": ({"values": noise(), "crs": "EPSG:4326", "at": Affine(1e-5, 0, -134, 0, -1e-5, 69)}, "CRS in degrees"),
    "across 180": (
        {"values": noise(), "crs": "EPSG:32601", "at": Affine(3, 0, 382073, 0, -3, 7_700_000)}, "across 180"),
    "no CRS": ({"values": noise(), "crs": None}, "no CRS"),
    "local CRS": ({"values": noise(), "crs": 'LOCAL_CS["here",UNIT["metre",1]]'}, "no place on Earth"),
    "rotated": ({"values": noise(), "at": AT @ Affine.rotation(20)}, "not north up"),
    "coarse": ({"values": noise(), "at": Affine(90, 0, 500_000, 0, -90, 7_700_000)}, "pixels of about 90 m"),
    "data tagged alpha": ({"values": noise(4), "alpha": 4}, "band 4 is tagged alpha; its values are not a mask's"),
    "a mask tagged alpha": (
        {"values": np.concatenate([noise(3), 255 * (noise() > 150)]), "alpha": 4}, "its values are a mask"),
    "elsewhere": ({"values": noise(), "at": Affine(3, 0, 9e8, 0, -3, 9e8)}, "no place in longitude and latitude"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_rasters(tmp_path, case):
    values, expected = ODD[case]
    found = diagnose_file(raster(tmp_path / "a.tif", **values))
    said(found.odd, expected)
    assert found.faults == [] and found.uses


def test_what_no_command_takes_has_no_use(tmp_path):
    """The same doors as the commands have: what they refuse is not recommended to them."""
    flipped = raster(tmp_path / "a.tif", noise(), ("red",), at=Affine(3, 0, 5e5, 0, 3, 7.7e6))
    assert diagnose_file(flipped).uses == ["none before it is north up"]
    unreal = raster(tmp_path / "b.tif", noise(), ("red",), dtype="complex64")
    assert diagnose_file(unreal).uses == ["none before its numbers are real"]
    points = raster(tmp_path / "c.tif", noise(), ("red",), crs=None, at=Affine.identity())
    with rasterio.open(points, "r+") as file:
        file.gcps = [GroundControlPoint(0, k, 3.0 * k, 0.0) for k in range(4)], rasterio.CRS.from_string(UTM)
    said(diagnose_file(points).odd, "ground control points in place of a grid: warp it")
    square = gpd.GeoSeries([SQUARE], crs=UTM).to_crs("EPSG:4326")[0]
    swapped = shapely.transform(square, lambda p: p[:, ::-1])
    for k, shapes in enumerate(([swapped], [square, None])):
        (use,) = diagnose_file(vector(tmp_path / f"{k}.gpkg", *shapes, crs="EPSG:4326")).uses
        assert "none, as" in use and "chips" not in use


def test_numbers_without_end_are_no_trouble(tmp_path, recwarn):
    found = diagnose_file(raster(tmp_path / "a.tif", corner(noise(), np.inf), ("elevation",), dtype="float32"))
    said(found.odd, "possible are -500 to 9000")
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


@pytest.mark.parametrize(
    ("name", "guess"), [("B04", "red"), ("Near-Infrared", "nir"), ("Red", "red"), ("DEM", "elevation")]
)
def test_names_of_others_are_guesses(tmp_path, name, guess):
    found = diagnose_file(raster(tmp_path / "a.tif", noise(), (name,)))
    said(found.facts, f"band 1: {guess}?, described as {name!r}")
    said(found.uses, f"a.tif={guess} if its bands are these")


def test_what_is_to_be_typed_can_be_typed(tmp_path):
    path = raster(tmp_path / "my mosaic (1).tif", corner(noise(3), 0), ("red", "green", "blue"))
    found = diagnose_file(path)
    said(found.uses, f"--source '{path}'")
    said(found.odd, f"--nodata '{path}=0'")
    said(diagnose_file(raster(path, noise(2))).uses, f"--source '{path}=BAND,BAND'")


def test_bands_without_names_have_to_be_named(tmp_path):
    said(diagnose_file(raster(tmp_path / "a.tif", noise(2))).uses, "a.tif=BAND,BAND", "relative_elevation")
    said(diagnose_file(raster(tmp_path / "b.tif", noise(4), alpha=4)).uses, "b.tif=-,-,-,nir")


def test_a_label_raster_is_known(tmp_path):
    values = np.zeros((1, 40, 50))
    values[0, 5:9, 5:9] = 1
    found = diagnose_file(raster(tmp_path / "a.tif", values))
    assert found.odd == [] and found.uses[0].startswith("a label raster")


def test_a_large_raster_is_looked_at_here_and_there(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 6000, "width": 6000, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(path, "w", **profile, crs=UTM, transform=AT, nodata=0) as file:
        file.write(np.full((1, 3000, 6000), 9, np.uint8), window=((0, 3000), (0, 6000)))
    found = diagnose_file(path)
    said(found.facts, "one in 9 pixels")
    said(found.facts, "void: 50.0 %")


def test_dates_by_name(tmp_path):
    said(diagnose_file(raster(tmp_path / "S2A_20230714T1234.tif", noise())).facts, "date 20230714, by its name")
    said(diagnose_file(raster(tmp_path / "a.tif", noise())).facts, "no date")


def test_a_damaged_raster_is_a_fault(tmp_path):
    """A COG has its header first, so that it opens."""
    path = tmp_path / "cog.tif"
    rasterio.shutil.copy(raster(tmp_path / "a.tif", noise(shape=(400, 500))), path, driver="COG", compress="deflate")
    path.write_bytes(path.read_bytes()[:-10_000])
    found = diagnose_file(path)
    assert len(found.faults) == 1 and "unreadable pixels" in found.faults[0] and "\n" not in found.faults[0]


# --- vector files

SQUARE = shapely.box(500_000, 7_690_000, 500_100, 7_690_100)


def vector(path, *shapes, crs=UTM, layer=None, **columns):
    frame = gpd.GeoDataFrame(columns or {"id": range(len(shapes))}, geometry=list(shapes), crs=crs)
    frame.to_file(path, **({"layer": layer} if layer else {}))
    return path


def moved(dx):
    return shapely.affinity.translate(SQUARE, dx, 0)


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "fgb"])
def test_a_good_vector_file_has_nothing_odd(tmp_path, suffix):
    found = diagnose_file(vector(tmp_path / f"a.{suffix}", SQUARE, moved(200)))
    assert (found.odd, found.faults) == ([], [])
    said(found.facts, "a: 2 Polygon; CRS EPSG:32608; columns: id")
    said(found.facts, "2.00 ha in all; 100")
    said(found.uses, "--truth", "--aoi")


def bow(x):
    return shapely.Polygon([(x, 7e6), (x + 100, 7e6 + 100), (x + 100, 7e6), (x, 7e6 + 100)])


ODD_SHAPES = {
    "invalid": ([SQUARE, bow(500_000)], {}, "1 invalid geometries, the first in row 2: Self-intersection"),
    "twice": ([SQUARE, moved(200), SQUARE], {}, "1 geometries are there already"),
    "twice, drawn the other way": ([SQUARE, SQUARE.reverse()], {}, "1 geometries are there already"),
    "tiny": ([SQUARE, shapely.box(500_000, 7e6, 500_003, 7e6 + 3)], {}, "1 polygons of less than 90 m2"),
    "all tiny": ([shapely.box(500_000, 7e6, 500_003, 7e6 + 3)], {}, "is the CRS the right one?"),
    "no CRS": ([SQUARE], {"crs": None}, "no CRS"),
    "missing": ([SQUARE, None], {}, "1 rows without geometry, the first is row 2"),
    "heights": ([shapely.force_3d(SQUARE, 5)], {}, "heights in the geometries"),
    "metres said to be degrees": ([SQUARE], {"crs": "EPSG:4326"}, "outside its CRS"),
    "across 180": (
        [shapely.box(179, 66, 179.1, 67), shapely.box(-179, 66, -178, 67)],
        {"crs": "EPSG:4326"},
        "cross 180",
    ),
}


@pytest.mark.parametrize("case", ODD_SHAPES)
def test_odd_vector_files(tmp_path, case):
    shapes, more, expected = ODD_SHAPES[case]
    said(diagnose_file(vector(tmp_path / "a.gpkg", *shapes, **more)).odd, expected)


def test_layers(tmp_path):
    path = vector(tmp_path / "a.gpkg", SQUARE, layer="old")
    vector(path, SQUARE, moved(200), layer="new")
    found = diagnose_file(path)
    said(found.facts, "layers: old, new")
    said(found.odd, "several layers")
    assert len(found.uses) == 2


@pytest.mark.parametrize("shape", [shapely.Point(500_000, 7e6), shapely.LineString([(5e5, 7e6), (5e5, 7e6 + 9)])])
def test_what_is_no_polygon_has_no_use(tmp_path, shape):
    said(diagnose_file(vector(tmp_path / "a.gpkg", shape)).uses, "none before there are polygons alone")


def test_a_map_is_known_by_its_scores(tmp_path):
    said(diagnose_file(vector(tmp_path / "a.gpkg", SQUARE, score=[0.5])).uses, "evaluate --map", "as a map with scores")


# --- files of no kind

FILES = {
    "empty": (b"", "a.tif", "an empty file"),
    "text": (b"hello", "a.txt", "no readable vector file"),
    "text called a raster": (b"hello", "a.tif", "no readable raster"),
    "a chip": (b"PK", "a.npz", "one chip of a release"),
    "a broken JSON": (b"{", "a.json", "no readable JSON"),
    "a broken GeoJSON": (b'{"type": "FeatureCollection"', "a.geojson", "no readable vector file"),
}


@pytest.mark.parametrize(("content", "name", "found"), FILES.values(), ids=FILES)
def test_files_that_cannot_be_read(tmp_path, content, name, found):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=found) as e:
        diagnose_file(tmp_path / name)
    assert "\n" not in str(e.value)


def test_files_beside_chips(tmp_path):
    write_coco(tmp_path)
    said(diagnose_file(tmp_path / "instances.json").facts, "a COCO file: 3 images, 3 annotations")
    (tmp_path / "r.json").write_text(json.dumps([{"image_id": 1, "score": 1.0}]))
    said(diagnose_file(tmp_path / "r.json").uses, "--predictions")
    picture = diagnose_file(tmp_path / "images" / "train_yg_002.png")
    said(picture.uses, "pictures without one are chips in images/")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    said(diagnose_file(tmp_path / "a.csv").facts, "tables without geometries: a")


# --- folders


def test_a_good_set(tmp_path):
    found = diagnose_folder(write_challenge(tmp_path, train=6))
    said(found.facts, "layout challenge: 8 chips, 6 with labels")
    said(found.facts, "instances: 15 on 5 chips; 1 labelled chips have none")
    said(found.facts, "instance sizes: 20 px in the median")
    said(found.facts, "groups: 3, sites, as the data says")
    said(found.facts, "band relative_elevation: -3.5 to -3.5, 0.0 % void")
    said(found.odd, "7 pairs of chips with the same pixels")
    said(found.uses, "train --data")


def test_odd_sets(tmp_path):
    root = write_coco(tmp_path)

    def change(content):
        content["annotations"] += [{**content["annotations"][0], "id": 7}]
        content["annotations"][1]["segmentation"] = [[2, 3, 4, 3, 4, 5, 2, 5]]
        content["annotations"][2]["segmentation"] = [[0, 0, 29, 0, 29, 19, 0, 19]]
        content["images"][1].update(height=40)

    edit_json(root / "instances.json", change)
    Image.new("RGB", (30, 40), (5, 5, 5)).save(root / "images" / "train_yg_002.png")
    found = diagnose_chips(root)
    for odd in (
        "1 instances are there twice", "1 instances of less than 10 px", "1 instances cover more than half",
        "chips of 2 sizes, sides from 20 to 40 px", "3 chips of one colour",
        "group nitze has 66.7 % of the chips",
    ):  # fmt: skip
        said(found.odd, odd)


def test_no_instances_no_training(tmp_path):
    root = write_coco(tmp_path)
    edit_json(root / "instances.json", lambda c: c.update(annotations=[]))
    found = diagnose_chips(root)
    said(found.odd, "nothing can be trained")
    assert len(found.uses) == 1 and found.uses[0].startswith("predict")


def test_every_chip_that_cannot_be_read_is_a_fault(tmp_path):
    root = write_coco(tmp_path)
    for name in ("train_nitze_001", "train_yg_002"):
        path = root / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:60])
    found = diagnose_chips(root)
    assert len(found.faults) == 2 and all("pixels that cannot be read" in f for f in found.faults)


def test_georeferenced_chips(tmp_path):
    for k, name in enumerate("ab"):
        at = AT @ Affine.translation(100 * k, 0)
        raster(
            tmp_path / "rgb" / f"{name}.tif",
            corner(noise(3), 0) if k else noise(3),
            ("red", "green", "blue"),
            at=at,
            nodata=0,
        )
        mask = np.zeros((1, 40, 50))
        mask[0, 20:30, 20:30] = 1
        raster(tmp_path / "mask" / f"{name}.tif", mask, at=at)
    (tmp_path / "chips.csv").write_text("chip,group\na,1\nb,1\n")
    found = diagnose_folder(tmp_path)
    said(found.facts, "georeferenced: 2 chips in EPSG:32608, pixels of 3 map units")
    said(found.facts, "100 px in the median (900 m2)")
    said(found.facts, "band red", "3.6 % void")
    said(found.odd, "one group: it cannot be split")


def test_scenes(tmp_path):
    raster(tmp_path / "s" / "rgb.tif", noise(3), ("red", "green", "blue"))
    found = diagnose_folder(tmp_path / "s")
    said(found.facts, "a scene: 1 GeoTIFFs on one grid, bands red, green, blue")
    said(found.facts, "rgb.tif: band 3: blue")
    raster(tmp_path / "s" / "x.tif", noise(1))
    found = diagnose_folder(tmp_path / "s")
    said(found.odd, "no scene, as")
    said(found.uses, "--source")


def test_a_folder_of_no_kind(tmp_path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match="no known kind, with folders inner"):
        diagnose_folder(tmp_path)
    with pytest.raises(DataError, match="no known kind, expected chips"):
        diagnose_folder(tmp_path / "inner")


def test_a_folder_of_shapefiles(tmp_path):
    vector(tmp_path / "a.shp", SQUARE)
    said(diagnose_folder(tmp_path).facts, "a: 1 Polygon")
