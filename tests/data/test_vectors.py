"""Vector files: every way in which one can be broken is one line with file, row and what to do."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from pyproj import Geod
from shapely.geometry import LineString, Point, box

from rtslib.data.vectors import duplicates, read_area, read_polygons, read_truth
from rtslib.errors import DataError

TRIANGLE = [[[0, 0], [1, 0], [1, 1], [0, 0]]]


def collection(*geometries, **more) -> str:
    rows = [{"type": "Feature", "properties": {}, "geometry": g} for g in geometries]
    return json.dumps({"type": "FeatureCollection", "features": rows, **more})


def polygon(rings):
    return {"type": "Polygon", "coordinates": rings}


GOOD = polygon(TRIANGLE)
JSON = {
    "unclosed ring": (collection(GOOD, polygon([[[0, 0], [1, 0], [1, 1], [0, 1]]])), ", row 2: found no readable"),
    "two points": (collection(GOOD, GOOD, polygon([[[0, 0], [0, 0]]])), ", row 3: found no readable geometry"),
    "nan": (collection(GOOD, polygon([[[0, 0], [1, float("nan")], [1, 1], [0, 0]]])), ", row 2: found a coordinate"),
    "infinite": (collection(polygon([[[0, 0], [1, float("inf")], [1, 1], [0, 0]]])), ", row 1: found a coordinate"),
    "no geometry": (collection(GOOD, None), ", row 2: found no geometry"),
    "empty": (collection(GOOD, GOOD, polygon([])), ", row 3: found no geometry"),
    "unknown type": (collection(GOOD, {"type": "Polygom", "coordinates": TRIANGLE}), ", row 2: found no geometry"),
    "points": (collection(GOOD, {"type": "Point", "coordinates": [0, 0]}), ", row 2: found a Point"),
    "line": (collection({"type": "LineString", "coordinates": TRIANGLE[0]}), ", row 1: found a LineString"),
    "flat": (collection(GOOD, polygon([[[0, 0], [1, 0], [2, 0], [0, 0]]])), ", row 2: found a polygon without area"),
    "cut off": (collection(GOOD, GOOD)[:-40], "found no readable vector file: Failed to read GeoJSON"),
    "swapped": (
        collection(polygon([[[69, -135], [69, -136], [70, -136], [69, -135]]])),
        "latitude and longitude swapped",
    ),
    "metres": (collection(polygon([[[5e5, 7e6], [5e5, 8e6], [6e5, 7e6], [5e5, 7e6]]])), "metres of another CRS?"),
    "no such CRS": (
        collection(GOOD, crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::999999"}}),
        "found the unknown CRS 'urn:ogc:def:crs:EPSG::999999'",
    ),
    "nothing": ("", "found an empty file"),
    "text": ("hello", "found no readable vector file"),
}


def refused(path, **kwargs) -> str:
    with pytest.raises(DataError) as e:
        read_polygons(path, "EPSG:3413", **kwargs)
    assert str(e.value).startswith(str(path)) and "\n" not in str(e.value) and len(str(e.value)) < 600
    return str(e.value)


@pytest.mark.parametrize(("text", "message"), JSON.values(), ids=JSON)
def test_broken_geojson(tmp_path, text, message):
    path = tmp_path / "a.geojson"
    path.write_text(text)
    assert message in refused(path)


def frame(n=300, crs="EPSG:32608"):
    shapes = [box(5e5 + 20 * i, 7e6, 5e5 + 20 * i + 10, 7e6 + 10) for i in range(n)]
    return gpd.GeoDataFrame({"name": ["Möre" * 20] * n}, geometry=shapes, crs=crs)


def shapefile(path: Path, **other: str) -> Path:
    frame().to_file(path, encoding="ISO-8859-1")
    for suffix, text in other.items():
        path.with_suffix(f".{suffix}").write_text(text)
    return path


def test_shapefiles_in_pieces(tmp_path):
    path = shapefile(tmp_path / "lies.shp", cpg="UTF-8")
    assert "row 1: found text in another encoding" in refused(path) and ".cpg" in refused(path)
    path.with_suffix(".cpg").unlink()
    assert len(read_polygons(path, "EPSG:3413")) == 300
    path.with_suffix(".shx").unlink()
    assert "belong together" in refused(path)
    assert "no CRS, or an unknown one" in refused(shapefile(tmp_path / "bad.shp", prj="garbage"))
    local = 'LOCAL_CS["site grid",UNIT["metre",1]]'
    assert "'site grid' (Engineering CRS), which has no place" in refused(shapefile(tmp_path / "site.shp", prj=local))
    cut = shapefile(tmp_path / "cut.shp")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert ", row 150: found no geometry (and 150 more)" in refused(cut)


def test_geopackages_in_pieces(tmp_path):
    path = tmp_path / "a.gpkg"
    frame().to_file(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "malformed" in refused(path)
    path.write_bytes(b"hello")
    assert "found no readable vector file" in refused(path)
    path.unlink()
    assert "found no such file" in refused(path)
    path.mkdir()
    assert "found no readable vector file" in refused(path)
    bare = tmp_path / "bare.gpkg"
    with pytest.warns(UserWarning, match="crs"):
        frame(crs=None).to_file(bare)
    assert "found no CRS" in refused(bare)
    table = tmp_path / "t.csv"
    pd.DataFrame({"a": [1]}).to_csv(table)
    assert "table without geometries" in refused(table)


def test_a_layer_is_named_where_there_are_several(tmp_path):
    path = tmp_path / "a.gpkg"
    frame(2).to_file(path, layer="2021")
    pyogrio.write_dataframe(pd.DataFrame({"style": ["x"]}), path, layer="layer_styles")
    assert len(read_polygons(path, "EPSG:3413")) == 2  # a table is no layer to choose
    frame(3).to_file(path, layer="2023", mode="a")
    assert "found 2 layers ('2021', '2023'), expected one" in refused(path)
    assert "found no layer '2022' with geometries, expected one of '2021', '2023'" in refused(path, layer="2022")
    assert len(read_polygons(path, "EPSG:3413", "2023")) == 3
    assert len(read_polygons(path, "EPSG:3413", "2023", "fid = 1")) == 1
    assert "found no rows where 'yaer = 3'" in refused(path, layer="2023", where="yaer = 3")


def test_one_slump_counts_once(tmp_path):
    one, near, other = box(0, 0, 100, 100), box(0, 0, 100, 104), box(50, 0, 150, 100)
    shapes = [one, other, one, near, box(500, 0, 600, 100), one.reverse()]
    path = tmp_path / "truth.gpkg"
    gpd.GeoDataFrame(geometry=shapes, crs="EPSG:3413").to_file(path)
    assert duplicates(np.array(shapes)).tolist() == [False, False, True, True, False, True]
    truth = read_truth(path, "EPSG:3413")
    assert len(truth) == 3 and truth.area.tolist() == [1e4, 1e4, 1e4]
    assert "3 of 6 slumps are there already (IoU from 0.9, such as row 3)" in truth.attrs["notes"][0]
    assert len(read_polygons(path, "EPSG:3413")) == 6
    assert not duplicates(np.array([], dtype=object)).any()


def test_a_row_of_several_polygons_is_noted(tmp_path):
    """As QGIS dissolves: all slumps in one row would count as one."""
    path = tmp_path / "truth.gpkg"
    both = shapely.MultiPolygon([box(0, 0, 100, 100), box(500, 0, 600, 100)])
    gpd.GeoDataFrame(geometry=[shapely.MultiPolygon([box(0, 500, 90, 600)]), both], crs="EPSG:3413").to_file(path)
    truth = read_truth(path, "EPSG:3413")
    (said,) = truth.attrs["notes"]
    assert len(truth) == 2 and "1 rows hold several polygons each, such as row 2, and count as one" in said


def test_an_area_of_interest_keeps_its_ground(tmp_path):
    """A box of 20 x 2 degrees: its corners alone lose a ninth of it."""
    path = tmp_path / "aoi.geojson"
    gpd.GeoDataFrame(geometry=[box(-140, 68, -120, 70)], crs="EPSG:4326").to_file(path)
    area, notes = read_area(path, "EPSG:6931")  # equal-area
    ground, _ = Geod(ellps="WGS84").geometry_area_perimeter(box(-140, 68, -120, 70).segmentize(0.01))
    assert area.area == pytest.approx(ground, rel=1e-6) and notes == []
    middle = gpd.GeoSeries([Point(-130, 68.01)], crs="EPSG:4326").to_crs("EPSG:6931")[0]
    assert area.contains(middle)
    (tmp_path / "none.geojson").write_text(collection())
    with pytest.raises(DataError, match="found no polygon"):
        read_area(tmp_path / "none.geojson", "EPSG:3413")


@pytest.mark.parametrize("west, east", [(178, 182), (178, -178), (-182, -178)], ids=["on", "jump", "before"])
def test_an_area_across_180_degrees(tmp_path, west, east):
    path = tmp_path / "aoi.geojson"
    ring = [[west, 68], [east, 68], [east, 70], [west, 70], [west, 68]]
    path.write_text(collection(polygon([ring])))
    area, notes = read_area(path, "EPSG:6931")
    assert area.area == pytest.approx(read_box(tmp_path, 8).area, rel=1e-6)
    assert [("short way" in n) for n in notes] == ([True] if east < west else [])
    inside = gpd.GeoSeries([Point(180, 69), Point(0, 69)], crs="EPSG:4326").to_crs("EPSG:6931")
    assert inside.intersects(area).tolist() == [True, False]
    degrees, _ = read_area(path, "EPSG:4326")
    assert (
        degrees.intersects(Point(181, 69))
        and degrees.intersects(Point(-179, 69))
        and degrees.intersects(Point(179, 69))
    )
    assert not degrees.intersects(Point(0, 69))


def read_box(folder: Path, west: float) -> shapely.Geometry:
    path = folder / "same.geojson"
    gpd.GeoDataFrame(geometry=[box(west, 68, west + 4, 70)], crs="EPSG:4326").to_file(path)
    return read_area(path, "EPSG:6931")[0]


def test_a_ring_round_the_pole_stays_one(tmp_path):
    path = tmp_path / "aoi.geojson"
    gpd.GeoDataFrame(geometry=[box(-180, 60, 180, 80)], crs="EPSG:4326").to_file(path)
    area, notes = read_area(path, "EPSG:3413")
    places = gpd.GeoSeries([Point(x, 70) for x in (-179, -90, 0, 90, 179)], crs="EPSG:4326").to_crs("EPSG:3413")
    assert places.intersects(area).all() and notes == []


def test_polygons_are_mended_and_flat(tmp_path):
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    spike = shapely.Polygon([(0, 0), (10, 0), (10, 10), (20, 20), (10, 10), (0, 10)])
    path = tmp_path / "a.gpkg"
    gpd.GeoDataFrame(geometry=[bow, shapely.force_3d(box(0, 0, 1, 1)), spike], crs="EPSG:3413").to_file(path)
    found = read_polygons(path, None)
    assert found.is_valid.all() and not found.has_z.any() and found.area.tolist() == [50, 1, 100]
    assert LineString([(10, 10), (20, 20)]).intersection(found.geometry[2]).length == 0
