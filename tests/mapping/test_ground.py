"""Totals of the ground: certain answers, and whether the truth lies in the interval as often as is said."""

from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
from affine import Affine
from shapely.geometry import box

from rtslib.errors import DataError
from rtslib.evaluation.calibration import fit_platt
from rtslib.evaluation.ledger import TYPES
from rtslib.mapping import ground
from rtslib.mapping.ground import ground_totals, in_m2, map_ledger, read_ledger
from rtslib.mapping.maps import _totals
from rtslib.models.platt import platt

LEAST, PIXEL = 0.3, 16.0


def ledger(*rows):
    """Rows (score, right, area_px, truth_px), each of a site of its own; the score of what was missed is NaN."""
    return pd.DataFrame([(k, str(k), *row) for k, row in enumerate(rows)], columns=list(TYPES))


def world(rng, sites, slumps=2.5, wrong=2.0):
    """What a model finds and misses on new sites, more here and less there; its raw scores are too low."""
    rows = []
    for site in range(sites):
        ease = rng.normal(0, 0.3)
        for _ in range(rng.poisson(slumps)):
            size = rng.lognormal(5, 0.8)
            if rng.random() < 1 / (1 + np.exp(-0.8 - ease)):
                area = size * rng.lognormal(-0.3, 0.2)
                rows.append((site, str(site), 1 / (1 + np.exp(1.0 - rng.normal(1.2, 1.2))), True, area, size))
            else:
                rows.append((site, str(site), np.nan, False, np.nan, size * 0.6))
        for _ in range(rng.poisson(wrong)):
            score, area = 1 / (1 + np.exp(1.0 - rng.normal(-1.2, 1.2))), rng.lognormal(4.5, 0.8)
            rows.append((site, str(site), score, False, area, np.nan))
    return pd.DataFrame(rows, columns=list(TYPES))


def test_the_truth_lies_in_the_interval_as_often_as_is_said(monkeypatch):
    """A hundred pairs of a validation side and a map of new ground. By scores alone a map counts half of it."""
    monkeypatch.setattr(ground, "LEDGERS", 80)
    inside, shares = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        side, scene = world(rng, 20), world(rng, 8)
        found = side["score"].notna()
        fitted = fit_platt(side["score"][found].to_numpy(), side["right"][found].to_numpy())
        side, scene = (
            part.assign(score=platt(torch.tensor(part["score"].to_numpy()), *fitted).numpy()) for part in (side, scene)
        )
        shown = scene[scene["score"] >= LEAST]
        got = ground_totals(shown["score"].to_numpy(), shown["area_px"].to_numpy() * PIXEL, in_m2(side, PIXEL), LEAST)
        count, area = scene["truth_px"].notna().sum(), scene["truth_px"].sum() * PIXEL
        inside.append([got["ground_count_low"] <= count <= got["ground_count_high"],
                       got["ground_area_low"] <= area <= got["ground_area_high"]])  # fmt: skip
        shares.append([shown["score"].sum() / count, (shown["score"] * shown["area_px"]).sum() * PIXEL / area])
    assert (np.mean(inside, axis=0) >= 0.9).all() and (np.mean(inside, axis=0) <= 0.99).all()
    assert (np.median(shares, axis=0) < 0.75).all()


def test_a_model_that_finds_all_and_nothing_else_leaves_little_open():
    sure = [(0.999, True, 100.0, 100.0)] * 40 + [(0.301, False, 50.0, np.nan)]
    got = ground_totals(np.full(30, 0.999), np.full(30, 1600.0), in_m2(ledger(*sure), PIXEL), LEAST)
    assert got["recall"] == got["area_ratio"] == 1
    assert 28 <= got["ground_count_low"] <= got["ground_count"] == 30 <= got["ground_count_high"] <= 33


def test_half_missed_and_outlines_half_as_large():
    """Of known slumps of 100 px half are found, as 50 px: 40 found ones stand for 80, four times their area."""
    rows = [(0.9, True, 50.0, 100.0)] * 60 + [(np.nan, False, np.nan, 100.0)] * 60 + [(0.31, False, 9.0, np.nan)] * 3
    got = ground_totals(np.full(40, 0.99), np.full(40, 800.0), in_m2(ledger(*rows), PIXEL), LEAST)
    assert (got["recall"], got["area_ratio"]) == (0.5, 2.0)
    assert got["ground_count"] == pytest.approx(80, rel=0.1)
    assert got["ground_area_m2"] == pytest.approx(80 * 1600, rel=0.1)
    assert got["ground_count_low"] < 70 and got["ground_count_high"] > 90


def test_what_a_map_does_not_show_counts_as_missed():
    rows = [(0.9, True, 100.0, 100.0)] * 20 + [(0.2, True, 100.0, 100.0)] * 20 + [(0.1, False, 9.0, np.nan)]
    one, two = (
        ground_totals(np.full(9, 0.9), np.full(9, 1.0), in_m2(ledger(*rows), PIXEL), least) for least in (0.3, 0.1)
    )
    assert (one["recall"], two["recall"]) == (0.5, 1.0)


def test_a_map_without_detections_leaves_open_what_is_there():
    rows = [(0.9, True, 50.0, 100.0)] * 10 + [(np.nan, False, np.nan, 80.0)] * 90 + [(0.31, False, 9.0, np.nan)]
    got = ground_totals(np.zeros(0), np.zeros(0), in_m2(ledger(*rows), PIXEL), LEAST)
    assert got["ground_count_low"] == 0 and got["ground_count_high"] > 5


def test_where_nothing_was_right_nothing_is_said():
    rows = [(0.9, False, 50.0, np.nan), (np.nan, False, np.nan, 80.0)]
    assert set(ground_totals(np.full(3, 0.9), np.ones(3), in_m2(ledger(*rows), PIXEL), LEAST).values()) == {None}


def test_the_ledger_of_a_map_has_its_slumps_in_square_metres(tmp_path):
    """Found too large, missed, and a candidate where nothing is; in two squares."""
    crs = "EPSG:6931"
    pred = gpd.GeoDataFrame({"score": [0.9, 0.2]}, geometry=[box(0, 0, 120, 100), box(5000, 0, 5010, 10)], crs=crs)
    truth = gpd.GeoDataFrame(geometry=[box(0, 0, 100, 100), box(300, 300, 320, 320)], crs=crs).to_crs("EPSG:4326")
    rows = map_ledger(pred, truth)
    assert rows["group"].tolist() == ["0 0", "5 0", "0 0"] and rows["right"].tolist() == [True, False, False]
    assert rows["area_m2"].tolist() == pytest.approx([12000, 100, np.nan], rel=1e-3, nan_ok=True)
    assert rows["truth_m2"].tolist() == pytest.approx([10000, np.nan, 400], rel=1e-3, nan_ok=True)
    assert rows["score"].tolist() == pytest.approx([0.9, 0.2, np.nan], nan_ok=True)
    rows.to_csv(tmp_path / "ledger.csv", index=False)
    pd.testing.assert_frame_equal(read_ledger(tmp_path / "ledger.csv"), rows, rtol=1e-9)
    rows.drop(columns="truth_m2").to_csv(tmp_path / "ledger.csv", index=False)
    with pytest.raises(DataError, match="also truth_m2"):
        read_ledger(tmp_path / "ledger.csv")
    with pytest.raises(DataError, match="no readable table"):
        read_ledger(tmp_path / "gone.csv")


def test_a_map_says_no_area_of_the_ground_by_a_ledger_of_chips():
    """Chips hold no slump larger than themselves; a map of known ground does."""
    frame = gpd.GeoDataFrame({"score": [0.9, 0.9], "area_m2": [1600.0, 1600.0]}, geometry=[box(0, 0, 10, 10)] * 2)
    todo = SimpleNamespace(region=SimpleNamespace(transform=Affine.scale(4, -4)), options=SimpleNamespace(score=LEAST))
    chips = ledger(*[(0.9, True, 100, 100)] * 20)
    said = _totals(frame, todo, chips)
    assert said["ground_count"] > 0 and said["ground_area_m2"] is None and said["area_ratio"] is None
    assert "evaluate --map --ledger" in said["ground_area_unknown"]
    said = _totals(frame, todo, in_m2(chips, PIXEL))
    assert said["ground_area_m2"] > 0 and "ground_area_unknown" not in said
