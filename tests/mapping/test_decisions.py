"""What the map page saves: it reaches the review it is of, and no other."""

import json

import geopandas as gpd
import pytest
from shapely.geometry import box

from rtslib.cli.main import main
from rtslib.errors import DataError
from rtslib.evaluation.maps import read_map
from rtslib.mapping.decisions import decide, digest
from rtslib.mapping.polygons import write_geopackage
from rtslib.mapping.review import read_review, write_review


@pytest.fixture
def found():
    shapes = [box(500_000 + 1000 * k, 7_700_000, 500_100 + 1000 * k, 7_700_100) for k in range(3)]
    values = {"id": [1, 2, 3], "score": [0.9123456789, 0.5, 1 / 3], "area_m2": [1e4 / 3, 2e6, 1e4]}
    return gpd.GeoDataFrame(values, geometry=shapes, crs="EPSG:32608")


def saved(path, found, *decisions, **other):
    rows = [dict(zip(("id", "accepted", "comment", "reviewer"), d, strict=True)) for d in decisions]
    path.write_text(json.dumps({"map": digest(found), "decisions": rows, **other}))
    return path


def test_a_digest_is_that_of_a_map_whatever_the_file_and_order(found, tmp_path):
    write_geopackage(found, tmp_path / "a.gpkg")
    queue = write_review(found, tmp_path / "review.gpkg")
    same = [found[::-1], read_map(tmp_path / "a.gpkg"), queue, read_review(tmp_path / "review.gpkg")]
    assert {digest(each) for each in same} == {digest(found)}
    assert len({digest(found), digest(found[:2]), digest(found.assign(score=0.4)), digest(found.assign(id=7))}) == 4


def test_decisions_of_the_page_are_applied_and_kept(found, tmp_path, capsys):
    write_geopackage(found, tmp_path / "detections.gpkg")
    write_review(found, tmp_path / "review.gpkg")
    said = saved(tmp_path / "d.json", found, ("2", False, "a bank", "N. N."), ("3", True, "", ""), ("1", None, "?", ""))
    assert main(["review", str(tmp_path), "--decisions", str(said)]) == 0
    assert "2 of 3 reviewed, 1 of these accepted" in capsys.readouterr().out
    assert read_map(tmp_path / "reviewed.gpkg")["id"].tolist() == [1, 3]
    back = read_review(tmp_path / "review.gpkg").set_index("id")
    assert back.loc[2, ["accepted", "comment", "reviewer"]].tolist() == [False, "a bank", "N. N."]
    assert back["accepted"].isna().sum() == 1 and back.loc[1, "comment"] == "?"
    later = saved(tmp_path / "later.json", found, ("2", True, "", "M."))
    assert main(["review", str(tmp_path), "--decisions", str(later)]) == 0
    assert (
        len(read_map(tmp_path / "reviewed.gpkg")) == 3 and read_review(tmp_path / "review.gpkg")["accepted"].sum() == 2
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p, f: saved(p, f.assign(id=[4, 5, 6])), "decisions of another map"),
        (lambda p, f: saved(p, f, ("9", True, "", "")), "'9' twice, or not in this map"),
        (lambda p, f: saved(p, f, ("1", True, "", ""), ("1", False, "", "")), "'1' twice"),
        (lambda p, f: saved(p, f, ("1", "yes", "", "")), "decisions.0.accepted"),
        (lambda p, f: saved(p, f, (1, True, "", "")), "decisions.0.id"),
        (lambda p, f: saved(p, f, more=1), "more"),
        (lambda p, f: p.write_text("{"), "JSON"),
        (lambda p, f: None, "No such file"),
    ],
)
def test_what_is_no_decision_of_this_map_is_refused(found, tmp_path, change, why, capsys):
    write_geopackage(found, tmp_path / "detections.gpkg")
    write_review(found, tmp_path / "review.gpkg")
    before = (tmp_path / "review.gpkg").read_bytes()
    change(tmp_path / "d.json", found)
    with pytest.raises(DataError, match=why):
        decide(read_review(tmp_path / "review.gpkg"), tmp_path / "d.json")
    assert main(["review", str(tmp_path), "--decisions", str(tmp_path / "d.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / "review.gpkg").read_bytes() == before and not (tmp_path / "reviewed.gpkg").exists()


def test_what_a_reviewer_drew_and_what_lost_its_detection_stays(found, tmp_path):
    path = tmp_path / "review.gpkg"
    write_review(found, path)
    old = gpd.read_file(path, layer="review")
    old["accepted"] = [False] * 3
    old.to_file(path, layer="review", driver="GPKG")
    write_review(found[:2], path)  # the third is orphaned
    write_geopackage(found[:2], tmp_path / "detections.gpkg")
    assert main(["review", str(tmp_path), "--decisions", str(saved(tmp_path / "d.json", found[:2]))]) == 0
    assert gpd.read_file(path, layer="orphaned")["id"].tolist() == [3]
