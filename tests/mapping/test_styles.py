"""The style in a GeoPackage: QGIS finds it, and its colours are those of the page."""

import sqlite3
from contextlib import closing
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from shapely.geometry import box

from rtslib.data.vectors import layer_names, read_polygons
from rtslib.mapping.polygons import write_geopackage
from rtslib.mapping.styles import CLASSES, SCORE_RAMP, score_classes


def a_map(*scores):
    shapes = [box(500_000 + 1000 * k, 7_700_000, 500_100 + 1000 * k, 7_700_100) for k in range(len(scores))]
    return gpd.GeoDataFrame({"score": np.array(scores, dtype=float)}, geometry=shapes, crs="EPSG:32608")


def test_classes_go_from_the_least_score_to_the_best_along_the_ramp():
    classes = score_classes(np.array([0.3, 0.9, 0.5]))
    assert len(classes) == CLASSES and classes[0][0] == 0.3 and classes[-1][1] == 0.9
    assert [c[0] for c in classes[1:]] == [c[1] for c in classes[:-1]]
    assert (classes[0][2], classes[-1][2]) == (SCORE_RAMP[0], SCORE_RAMP[-1])
    assert score_classes(np.array([0.4, 0.4])) == [(0.4, 0.4, SCORE_RAMP[-1])]
    assert score_classes(np.zeros(0)) == [*score_classes(np.array([0.0, 1.0]))]


@pytest.mark.parametrize("scores", [(0.31, 0.6, 0.97), (0.5,), ()])
def test_the_file_has_a_default_style_for_its_layer(tmp_path, scores):
    path = tmp_path / "detections.gpkg"
    write_geopackage(a_map(*scores), path)
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML, styleSLD FROM layer_styles"
        ).fetchall()
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kinds = file.execute("SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'").fetchall()
    ((layer, column, default, qml, sld),) = rows
    assert (layer, column, default) == ("detections", "geom", 1) and kinds == [("attributes",)]
    (renderer,) = ElementTree.fromstring(qml)
    assert renderer.get("type") == "graduatedSymbol" and renderer.get("attr") == "score"
    classes = score_classes(np.array(scores))
    ranges, symbols = renderer.find("ranges"), renderer.find("symbols")
    assert [(float(r.get("lower")), float(r.get("upper"))) for r in ranges] == [pytest.approx(c[:2]) for c in classes]
    assert [r.get("symbol") for r in ranges] == [s.get("name") for s in symbols]
    outline = [s.find(".//Option[@name='outline_color']").get("value") for s in symbols]
    assert outline == [",".join(str(int(c[2][k : k + 2], 16)) for k in (1, 3, 5)) + ",255" for c in classes]
    strokes = [e.text for e in ElementTree.fromstring(sld).iter() if e.get("name") == "stroke"]
    assert strokes == [c[2] for c in classes]
    for score in scores:
        assert sum(low <= score <= high for low, high, _ in classes) >= 1


def test_the_polygons_read_as_before(tmp_path, recwarn):
    path = tmp_path / "detections.gpkg"
    write_geopackage(a_map(0.4, 0.8), path)
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["detections", "layer_styles"]
    assert layer_names(path) == ["detections"] and len(read_polygons(path, "EPSG:3413")) == 2
    assert not [w for w in recwarn if "layer" in str(w.message)]
