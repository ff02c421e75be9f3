"""A map against known slumps: squares in an equal-area CRS, so that every number can be worked out by hand."""

import json

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import GeometryCollection, LineString, Point, box

from rtslib.errors import ConfigError, DataError
from rtslib.evaluation.maps import as_rows, as_text, evaluate_map, read_map
from rtslib.evaluation.polygons import match_polygons

CRS = "EPSG:6931"


def square(x, y=0.0, side=100.0):
    return box(x, y, x + side, y + side)


def map_of(*found, crs=CRS):
    return gpd.GeoDataFrame({"score": [float(s) for s, _ in found]}, geometry=[g for _, g in found], crs=crs)


def known(*shapes):
    return gpd.GeoDataFrame(geometry=list(shapes), crs=CRS)


@pytest.fixture
def four():
    """Two right (one of them half, IoU 0.5), one wrong between them by score, one slump missed."""
    pred = map_of((0.9, square(0)), (0.8, square(5000)), (0.7, box(2000, 0, 2050, 100)))
    return pred, known(square(0), square(2000), square(9000))


def test_counts_shares_and_ap_by_hand(four):
    got = evaluate_map(*four)
    assert (got["crs"], got["detections"], got["known"]) == (CRS, 3, 3)
    low, mid, high = got["by_iou"]
    for row in (low, mid):
        assert (row["right"], row["wrong"], row["missed"]) == (2, 1, 1)
        assert row["precision"] == row["recall"] == row["f1"] == pytest.approx(2 / 3)
        # precision 1 up to recall 1/3 (recalls 0.00-0.33), 2/3 up to 2/3 (0.34-0.66), 0 beyond
        assert row["ap"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    assert (high["right"], high["wrong"], high["missed"], high["ap"]) == (1, 2, 2, pytest.approx(34 / 101))
    assert json.loads(json.dumps(got)) == got


def test_size_classes_are_of_the_slump_for_recall_and_of_the_detection_for_precision():
    slumps = known(square(0, side=40), square(1000, side=50), square(2000, side=150), square(3000, side=30))
    pred = map_of((0.9, square(0, side=40)), (0.8, box(1000, 0, 1050, 30)), (0.7, square(5000, side=100)))
    sizes = evaluate_map(pred, slumps)["by_iou"][1]["sizes"]
    # 1,600 and 900 m2 are small, 2,500 medium (found by a detection of 1,500, which is small), 22,500 large
    assert sizes["small"] == {"known": 2, "found": 1, "recall": 0.5, "detections": 2, "right": 2, "precision": 1.0}
    assert sizes["medium"] == {"known": 1, "found": 1, "recall": 1.0, "detections": 1, "right": 0, "precision": 0.0}
    assert sizes["large"] == {"known": 1, "found": 0, "recall": 0.0, "detections": 0, "right": 0, "precision": None}
    edges = evaluate_map(map_of(), known(box(0, 0, 40, 50), box(0, 100, 100, 300)))["by_iou"][0]["sizes"]
    assert [edges[s]["known"] for s in ("small", "medium", "large")] == [0, 1, 1]


def test_outline_error_of_a_frame_of_ten_metres():
    """Round a square of 100 m one of 120 m: all distances are 10 m but at the outer one's corners.

    Of 880 m of outline 80 lie beyond a corner, where the distance is sqrt(10^2 + t^2) for t up to 10 m; the worst
    5 % (44 m, 5.5 m at each of eight ends) begin at t = 4.5 m.
    """
    pred, truth = map_of((0.9, square(-10, -10, 120))), known(square(0))
    for step in (0.1, 1):
        got = evaluate_map(pred, truth, step_m=step)["boundary"]
        assert got["pairs"] == 1 and got["median_m"] == pytest.approx(10)
        assert got["p95_m"] == pytest.approx(np.hypot(10, 4.5), abs=0.3 * step)
    swapped = evaluate_map(map_of((0.9, square(0))), known(square(-10, -10, 120)))["boundary"]
    assert swapped["p95_m"] == pytest.approx(np.hypot(10, 4.5), abs=0.3)
    assert evaluate_map(pred, known(square(500)))["boundary"]["median_m"] is None


def test_outlines_include_holes():
    whole, hollow = square(0), square(0).difference(box(40, 40, 60, 60))
    got = evaluate_map(map_of((0.9, whole)), known(hollow))["boundary"]
    # 80 m of 880 m of outline are the hole's, 40 m or more from the outer one
    assert got["median_m"] == pytest.approx(0, abs=1e-6) and got["p95_m"] == pytest.approx(40, abs=1e-6)


def test_duplicates_are_of_slumps_that_a_better_detection_took():
    slump = square(0)
    pred = map_of((0.5, square(0)), (0.9, box(0, 0, 100, 60)), (0.4, box(0, 0, 100, 40)), (0.3, box(0, 0, 100, 20)))
    got = evaluate_map(pred, known(slump))
    assert got["duplicates"] == {"iou": 0.3, "count": 2, "share": 0.5}  # IoU 1.0 and 0.4; 0.2 is none
    assert [r["duplicates"] for r in got["by_iou"]] == [2, 1, 0]  # at 0.75 only the whole square is right
    match = match_polygons(pred, known(slump), 0.3)
    assert match.pairs == ((1, 0, 0.6),) and match.duplicates == ((0, 0, 1.0), (2, 0, 0.4))
    two = map_of((0.9, square(0)), (0.8, square(0)))
    assert evaluate_map(two, known(slump, box(0, 0, 100, 60)))["duplicates"]["count"] == 0  # the other is free for it


def test_area_bias_of_pairs_and_of_the_whole():
    slumps = known(square(0), square(1000), square(2000, side=200))
    pred = map_of((0.9, box(0, 0, 120, 100)), (0.8, box(1000, 0, 1080, 100)), (0.7, square(5000, side=60)))
    got = evaluate_map(pred, slumps)["area"]
    assert got["pair_bias"] == pytest.approx(0) and got["pairs"] == 2  # one 20 % too large, one too small
    assert (got["mapped_m2"], got["known_m2"]) == pytest.approx((23_600, 60_000))
    assert got["total_bias"] == pytest.approx(-36_400 / 60_000)


def test_intervals_are_over_blocks():
    """Ten blocks with a found slump and ten with a missed one: recall of a draw is binomial (20, 0.5) / 20."""
    found = [square(2000 * k + 100) for k in range(10)]
    missed = [square(2000 * k + 100, 50_000) for k in range(10)]
    pred = map_of(*((0.9, g) for g in found))
    got = evaluate_map(pred, known(*found, *missed))["intervals"]
    assert got["blocks"] == 20 and got["precision"] == [1, 1]
    assert got["recall"] == pytest.approx([0.3, 0.7], abs=0.051)  # binomial quantiles: 6 and 14 of 20
    assert got["f1"] == pytest.approx([2 * r / (1 + r) for r in got["recall"]])
    one = evaluate_map(pred, known(*found, *missed), block_m=1e6)["intervals"]
    assert one["blocks"] == 1 and one["recall"] is None and one["ap"] is None
    assert evaluate_map(pred, known(*found, *missed))["intervals"] == got
    assert evaluate_map(pred, known(*found, *missed), seed=1, draws=10)["intervals"] != got


def test_neighbours_are_drawn_together():
    """All in two blocks, one all right and one all missed: a draw is 0, 1/2 or 1, and the interval is all of it."""
    found = [square(2000 + 10 * k, 10 * k, 5) for k in range(50)]
    missed = [square(8000 + 10 * k, 10 * k, 5) for k in range(50)]
    pred = map_of(*((0.9, g) for g in found))
    assert evaluate_map(pred, known(*found, *missed))["intervals"]["recall"] == [0, 1]
    fine = evaluate_map(pred, known(*found, *missed), block_m=10)["intervals"]
    assert fine["blocks"] == 100 and fine["recall"] == pytest.approx([0.4, 0.6], abs=0.03)


def test_a_matched_detection_goes_with_the_block_of_its_slump():
    """Slump and detection on either side of a line between blocks: one block, or precision could not stay 1."""
    pred = map_of((0.9, box(960, 0, 1058, 100)), (0.8, square(5000)))
    got = evaluate_map(pred, known(box(942, 0, 1040, 100), square(5000)))["intervals"]
    assert got["blocks"] == 2 and got["recall"] == [1, 1] and got["precision"] == [1, 1] and got["ap"] == [1, 1]


def test_both_are_brought_to_the_ground_of_their_place():
    utm = gpd.GeoDataFrame(geometry=[box(500_000, 7_700_000, 500_100, 7_700_100)], crs="EPSG:32608")
    got = evaluate_map(utm.assign(score=0.9), utm.to_crs("EPSG:4326"))
    assert got["crs"] == "EPSG:6931" and got["by_iou"][2]["right"] == 1
    assert got["area"]["known_m2"] == pytest.approx(10_008, rel=2e-4)  # see test_mapping
    south = gpd.GeoDataFrame(geometry=[box(70, -50, 70.01, -49.99)], crs="EPSG:4326")
    assert evaluate_map(south.assign(score=0.9), south)["crs"] == "EPSG:6932"


def test_what_cannot_be_divided_is_none():
    got = evaluate_map(map_of(), known(square(0)))
    row = got["by_iou"][0]
    assert (row["precision"], row["recall"], row["f1"], row["ap"]) == (None, 0, 0, 0)
    got = evaluate_map(map_of((0.9, square(0))), known())
    row = got["by_iou"][0]
    assert (row["precision"], row["recall"], row["ap"], got["area"]["total_bias"]) == (0, None, None, None)
    got = evaluate_map(map_of(), known())
    assert got["intervals"]["blocks"] == 0 and got["by_iou"][0]["f1"] is None and "0 detections" in as_text(got)


def test_rows_and_text(four):
    got = evaluate_map(*four)
    rows = as_rows(got)
    assert rows["iou"].tolist() == [0.3, 0.5, 0.75] and rows["right"].tolist() == [2, 2, 1]
    assert rows["recall_medium"].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3]) and rows["recall_small"].isna().all()
    text = as_text(got)
    assert "3 detections, 3 known slumps" in text and "0.667" in text and "over 4 blocks of 1000 m" in text
    assert "2.50 ha mapped, 3.00 ha known, bias -0.167; of right detections -0.25" in text
    assert "None" not in text and "nan" not in text.lower()


def test_lines_left_by_mending_do_not_count():
    mixed = GeometryCollection([square(0), LineString([(0, 0), (-500, 0)])])
    assert evaluate_map(map_of((0.9, mixed)), known(square(0)))["boundary"]["p95_m"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(DataError, match="row 1: found a polygon without area"):
        evaluate_map(map_of(), known(Point(0, 0).buffer(0)))


def test_a_map_is_read_and_checked(tmp_path):
    path, frame = tmp_path / "map.gpkg", map_of((0.9, square(0)), (0.2, square(500)), crs="EPSG:32608")
    frame.to_file(path)
    got = read_map(path)
    assert got.crs == "EPSG:32608" and got["score"].tolist() == [0.9, 0.2] and got.geometry[0].equals(square(0))
    frame.assign(score=[0.9, 1.2]).to_file(path)
    with pytest.raises(DataError, match="row 2: found score .*1.2"):
        read_map(path)
    frame.assign(score=["0.9", "high"]).to_file(path)
    with pytest.raises(DataError, match="row 2: found score high"):
        read_map(path)
    frame.rename(columns={"score": "p"}).to_file(path)
    with pytest.raises(DataError, match="column `score`"):
        read_map(path)
    with pytest.raises(DataError, match="no such file"):
        read_map(tmp_path / "none.gpkg")
    gpd.GeoDataFrame({"score": [0.5]}, geometry=[Point(0, 0)], crs=CRS).to_file(path)
    with pytest.raises(DataError, match="Point"):
        read_map(path)


@pytest.mark.parametrize("knobs", [{"ious": (0,)}, {"block_m": 0}, {"step_m": -1}, {"draws": 0}])
def test_bad_knobs_are_refused(four, knobs):
    with pytest.raises(ConfigError):
        evaluate_map(*four, **knobs)


def test_average_precision_sees_all_candidates_and_the_rest_what_is_shown():
    """Two maps of one model with different thresholds have one average precision."""
    candidates = map_of((0.9, square(0)), (0.4, square(200)), (0.3, square(900)))
    slumps = known(square(0), square(200))
    shown = [evaluate_map(candidates, slumps, least=cut) for cut in (0.5, 0.35)]
    assert [s["by_iou"][1]["ap"] for s in shown] == [1.0, 1.0]
    assert [s["by_iou"][1]["recall"] for s in shown] == [0.5, 1.0] and [s["detections"] for s in shown] == [1, 2]
    assert shown[0]["area"]["mapped_m2"] == square(0).area
    alone = evaluate_map(candidates[candidates["score"] >= 0.5], slumps)
    assert alone["by_iou"][1]["ap"] == pytest.approx(0.5, abs=0.01)
