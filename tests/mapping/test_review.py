"""The reviewer's queue: what comes first, and that no decision is lost."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
from shapely.geometry import Point, box

from rtslib.errors import DataError, OutputError
from rtslib.mapping.review import apply_review, precision_so_far, read_review, write_review

CRS = "EPSG:32608"


def square(x, side=100.0):
    return box(500_000 + x, 7_700_000, 500_000 + x + side, 7_700_000 + side)


def detections(*rows):
    """Rows of (id, score, shape)."""
    return gpd.GeoDataFrame(
        {"id": [r[0] for r in rows], "score": [float(r[1]) for r in rows], "area_m2": [r[2].area for r in rows]},
        geometry=[r[2] for r in rows], crs=CRS,
    )  # fmt: skip


FOUR = detections((1, 0.95, square(0)), (2, 0.7, square(1000)), (3, 0.52, square(2000)), (4, 0.3, square(3000)))


def decide(path, **by_id):
    """Write decisions as QGIS would: into the file, column by column; keys are id_2 and so on."""
    frame = gpd.read_file(path, layer="review")
    frame["accepted"] = frame["accepted"].astype("boolean")
    for key, (accepted, comment, reviewer) in by_id.items():
        row = frame["id"] == int(key[3:])
        frame.loc[row, ["comment", "reviewer"]] = [comment, reviewer]
        frame.loc[row, "accepted"] = accepted
    frame.to_file(path, layer="review", driver="GPKG")
    return path


def said(frame):
    answer = [None if v is pd.NA else bool(v) for v in frame["accepted"]]
    return {k: v for k, *v in zip(frame["id"], answer, frame["comment"], frame["reviewer"], strict=True)}


def test_the_most_uncertain_come_first_and_nothing_is_decided(tmp_path):
    path = tmp_path / "maps" / "review.gpkg"
    got = write_review(FOUR, path)
    assert got["id"].tolist() == [3, 2, 4, 1] and got["rank"].tolist() == [1, 2, 3, 4]  # 0.7 and 0.3: by id
    back = read_review(path)
    assert list(back.columns) == ["rank", "id", "score", "area_m2", "accepted", "comment", "reviewer", "geometry"]
    assert back["accepted"].dtype == "boolean" and back["accepted"].isna().all() and back.crs == CRS
    assert back["score"].tolist() == [0.52, 0.7, 0.3, 0.95] and back["comment"].tolist() == [""] * 4
    info = pyogrio.read_info(path, layer="review")
    kinds = dict(zip(info["fields"], info["ogr_subtypes"], strict=True))
    assert kinds["accepted"] == "OFSTBoolean" and info["geometry_type"] == "MultiPolygon"
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["review", "layer_styles"]
    assert [p.name for p in path.parent.iterdir()] == ["review.gpkg"]


def test_a_map_without_slumps_has_an_empty_queue(tmp_path):
    write_review(FOUR.iloc[:0], tmp_path / "r.gpkg")
    got = read_review(tmp_path / "r.gpkg")
    assert len(got) == 0 and precision_so_far(got)["precision"] is None
    assert len(apply_review(FOUR, got)) == 4


def test_decisions_read_back_as_true_false_or_missing(tmp_path):
    write_review(FOUR, tmp_path / "r.gpkg")
    got = read_review(decide(tmp_path / "r.gpkg", id_2=(True, "fresh scar", "HR"), id_4=(False, "river bank", "")))
    assert said(got) == {
        3: [None, "", ""],
        2: [True, "fresh scar", "HR"],
        4: [False, "river bank", ""],
        1: [None, "", ""],
    }


def test_a_new_map_keeps_decisions_by_overlap_and_not_by_number(tmp_path):
    path = tmp_path / "r.gpkg"
    write_review(FOUR, path)
    typed = {1: (True, "sure", "HR"), 2: (False, "lake", "HR"), 3: (None, "look again", ""), 4: (False, "", "HR")}
    decide(path, **{f"id_{k}": v for k, v in typed.items()})
    # 2 is 20 m off (IoU 0.67), 3 is the same, 4 is 50 m off (IoU 0.33), 1 is gone; one is new
    new = detections((1, 0.6, square(1020)), (2, 0.8, square(2000)), (3, 0.9, square(3050)), (4, 0.5, square(7000)))
    want = {4: [None, "", ""], 1: [False, "lake", "HR"], 2: [None, "look again", ""], 3: [None, "", ""]}
    assert said(write_review(new, path)) == want == said(read_review(path))
    left = gpd.read_file(path, layer="orphaned")
    assert left["id"].tolist() == [4, 1] and left["accepted"].tolist() == [0, 1] and left.crs == CRS
    assert left["comment"].fillna("").tolist() == ["", "sure"] and left["reviewer"].tolist() == ["HR", "HR"]
    back = write_review(FOUR, path)  # the first map again: orphans find their slumps
    assert said(back) == {k: list(v) for k, v in typed.items()}
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["review", "layer_styles"]


def test_one_decision_goes_to_one_detection_the_one_that_fits_best(tmp_path):
    path = tmp_path / "r.gpkg"
    write_review(detections((1, 0.6, square(0))), path)
    decide(path, id_1=(False, "", ""))
    split = detections((1, 0.6, box(500_000, 7_700_000, 500_060, 7_700_100)), (2, 0.6, square(10)), (3, 0.6, square(0)))
    assert {k: v[0] for k, v in said(write_review(split, path)).items()} == {1: None, 2: None, 3: False}


def test_an_undecided_slump_is_not_given_its_neighbours_decision(tmp_path):
    """Old 1 is undecided and still there; old 2, which overlaps it, was rejected and is gone."""
    path = tmp_path / "r.gpkg"
    write_review(detections((1, 0.6, square(0)), (2, 0.6, square(20))), path)
    decide(path, id_2=(False, "", ""))
    assert said(write_review(detections((1, 0.6, square(0))), path)) == {1: [None, "", ""]}
    assert gpd.read_file(path, layer="orphaned")["id"].tolist() == [2]


def test_a_slump_that_the_reviewer_drew_is_kept(tmp_path):
    path = tmp_path / "r.gpkg"
    write_review(FOUR, path)
    frame = gpd.read_file(path, layer="review")
    drawn = gpd.GeoDataFrame({"accepted": [True, None]}, geometry=[square(9000), square(9500)], crs=CRS)
    both = pd.concat([frame.astype({"id": "Int64"}), drawn], ignore_index=True)
    both["accepted"] = both["accepted"].astype("boolean")
    both.to_file(path, layer="review", driver="GPKG")
    review = read_review(path)
    assert review["id"].isna().sum() == 2 and precision_so_far(review)["reviewed"] == 0
    assert len(apply_review(FOUR, review)) == 4
    for _ in range(2):
        write_review(FOUR, path)
        left = gpd.read_file(path, layer="orphaned").geometry
        assert [g.equals(square(x)) for g, x in zip(left, (9000, 9500), strict=True)] == [True, True]


def test_another_file_can_give_the_decisions_but_not_at_the_cost_of_those_there(tmp_path):
    old, path = tmp_path / "old.gpkg", tmp_path / "r.gpkg"
    write_review(FOUR.to_crs("EPSG:3413"), old)
    decide(old, id_3=(True, "", "HR"))
    before = old.read_bytes()
    assert said(write_review(FOUR, path, previous=old))[3] == [True, "", "HR"] and old.read_bytes() == before
    with pytest.raises(OutputError, match="may hold decisions"):
        write_review(FOUR, path, previous=old)
    assert said(write_review(FOUR, path, previous=path))[3] == [True, "", "HR"]
    with pytest.raises(DataError, match="no such file"):
        write_review(FOUR, tmp_path / "new.gpkg", previous=tmp_path / "none.gpkg")


def test_a_file_that_is_open_elsewhere_or_broken_is_left_alone(tmp_path):
    path = tmp_path / "r.gpkg"
    write_review(FOUR, path)
    (tmp_path / "r.gpkg-wal").write_bytes(b"edits")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="open in another program"):
        write_review(FOUR, path)
    (tmp_path / "r.gpkg-wal").unlink()
    assert path.read_bytes() == before
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="no readable vector file"):
        write_review(FOUR, path)
    assert path.read_bytes() == b"no"


@pytest.mark.parametrize(("values", "want"), [
    (["yes", "No", None, ""], [True, False, None, None]), ([1, 0, None, None], [True, False, None, None]),
    (["true", "FALSE", "1", " 0 "], [True, False, True, False]),
])  # fmt: skip
def test_answers_that_other_programs_store(tmp_path, values, want):
    frame = write_review(FOUR, tmp_path / "a.gpkg")
    frame.assign(accepted=values).to_file(tmp_path / "b.gpkg", layer="review", driver="GPKG")
    assert [None if v is pd.NA else bool(v) for v in read_review(tmp_path / "b.gpkg")["accepted"]] == want


def test_what_is_no_review_is_refused(tmp_path):
    frame, path = write_review(FOUR, tmp_path / "a.gpkg"), tmp_path / "b.gpkg"
    frame.assign(accepted=["yes", "maybe", None, None]).to_file(path, layer="review", driver="GPKG")
    with pytest.raises(DataError, match="row 2: found accepted 'maybe'"):
        read_review(path)
    frame.assign(accepted=[1, 2, None, None]).to_file(path, layer="review", driver="GPKG")
    with pytest.raises(DataError, match="row 2: found accepted 2"):
        read_review(path)
    frame.drop(columns=["reviewer", "comment"]).to_file(path, layer="review", driver="GPKG")
    with pytest.raises(DataError, match="no column comment, reviewer"):
        read_review(path)
    frame.set_geometry([Point(0, 0)] * 4, crs=CRS).to_file(tmp_path / "c.gpkg", layer="review", driver="GPKG")
    with pytest.raises(DataError, match="Point"):
        read_review(tmp_path / "c.gpkg")
    with pytest.raises(DataError, match="no column area_m2"):
        write_review(FOUR.drop(columns="area_m2"), path)


def test_precision_so_far():
    """Eight of ten: Wilson's interval is 0.490 to 0.943; the undecided do not count."""
    review = gpd.GeoDataFrame({"id": pd.array(range(15), dtype="Int64"),
                               "accepted": pd.array([True] * 8 + [False] * 2 + [None] * 5, "boolean")})  # fmt: skip
    got = precision_so_far(review)
    assert (got["reviewed"], got["accepted"], got["precision"]) == (10, 8, 0.8)
    assert (got["low"], got["high"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    got = precision_so_far(review[:8])
    assert got["high"] == 1 and got["low"] == pytest.approx(0.6756, abs=1e-4)
    assert got["precision"] == 1 and type(got["accepted"]) is int


def test_rejected_detections_go_and_all_others_stay(tmp_path):
    path = tmp_path / "r.gpkg"
    write_review(FOUR, path)
    review = read_review(decide(path, id_2=(False, "", ""), id_3=(True, "", ""), id_4=(False, "", "")))
    got = apply_review(FOUR, review)
    assert got["id"].tolist() == [1, 3] and got.index.tolist() == [0, 1] and got.crs == CRS
    # another map: 2 lies elsewhere now; what was 2 is 7 and 10 m off, what was 4 is hardly met
    new = detections((2, 0.9, square(5000)), (7, 0.8, square(1010)), (4, 0.7, square(3060)))
    assert apply_review(new, review)["id"].tolist() == [2, 4]
    assert apply_review(new.to_crs("EPSG:3413"), review)["id"].tolist() == [2, 4]


def test_of_equal_outlines_the_same_number_decides(tmp_path):
    twins = detections((1, 0.6, square(0)), (2, 0.6, square(0)))
    write_review(twins, tmp_path / "r.gpkg")
    review = read_review(decide(tmp_path / "r.gpkg", id_1=(True, "", ""), id_2=(False, "", "")))
    assert apply_review(twins, review)["id"].tolist() == [1]
    assert apply_review(twins[::-1], review)["id"].tolist() == [1]
    assert apply_review(twins, review[::-1])["id"].tolist() == [1]
    assert np.array_equal(read_review(tmp_path / "r.gpkg")["rank"], [1, 2])
