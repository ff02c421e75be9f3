"""Benchmark of speed at toy sizes: cases, clock, memory, table, manifest, chart."""

import time

import pandas as pd
import pytest
import torch

from rtslib.benchmarks import speed as bench
from rtslib.benchmarks.cases import Case, Unavailable, Work, all_cases
from rtslib.benchmarks.timing import WARM_UP, measure
from rtslib.cli.main import main
from rtslib.errors import ConfigError, RtsError
from rtslib.files import read_json

TOYS = {c.key: c for c in all_cases("cpu", quick=True)}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("quick", [False, True])
def test_cases_are_told_apart_and_compared_with_like_ones(device, quick):
    cases = all_cases(device, quick)
    assert len({c.key for c in cases}) == len(cases) and {c.device for c in cases} == {device}
    assert {c.group for c in cases} | {"start"} == set(bench.GROUPS)
    at = {(c.group, c.case, c.px, c.batch, c.precision): i for i, c in enumerate(cases)}
    for i, c in enumerate(cases):
        if c.against:
            assert at[c.group, c.against, c.px, c.batch, c.precision] < i
        assert "," not in c.key  # --only takes several


def test_the_clock_warms_up_and_takes_the_median(monkeypatch):
    now, steps = [0.0], iter([100.0, 3.0, 1.0, 2.0, 8.0, 6.0])
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def call():
        now[0] += next(steps)

    assert WARM_UP["cpu"] == 1
    assert measure(call, "cpu", 5, parts=2)[:3] == (1.5, 0.5, 4.0)


def test_the_peak_is_what_a_call_takes_and_not_what_was_there():
    held = torch.ones(100, 1 << 18)  # 100 MiB
    peak = measure(lambda: torch.ones(64, 1 << 18).sum(), "cpu", 2).peak_mib
    assert held.sum() and 60 < peak < 80


def test_our_trunk_equals_timms_at_a_size_that_is_not_timms():
    ours = bench.measure_case(TOYS["trunk/rtslib/64/1/fp32"], 1)
    theirs = bench.measure_case(TOYS["trunk/timm/64/1/fp32"], 1)
    assert ours["difference"] < 1e-4 and theirs["difference"] is None
    assert 0.8 < ours["gflop"] / theirs["gflop"] < 1.2
    assert 0 < ours["min_s"] <= ours["median_s"] <= ours["max_s"]


def test_more_proposals_samples_and_branches_cost_more():
    found = {key: bench.measure_case(TOYS[key], 1) for key in (
        "inference tiny/20 proposals/64/1/fp32", "inference tiny/40 proposals/64/1/fp32",
        "training tiny/8 RoI samples/64/2/fp32", "training tiny/16 RoI samples/64/2/fp32",
        "branches training/one/64/2/fp32", "branches training/three/64/2/fp32",
        "branches training/three frozen/64/2/fp32",
    )}  # fmt: skip
    few, many, small, large, one, three, frozen = (f["gflop"] for f in found.values())
    assert few < many and small < large and one < three and frozen < three
    assert found["inference tiny/20 proposals/64/1/fp32"]["note"].endswith("detections")


@pytest.mark.parametrize(
    "key",
    ["inference lite0/fasterrcnn_mobilenet_v3_large_fpn/64/1/fp32", "inference lite0/rtslib/64/1/fp32",
     "training quick/lite0/64/2/fp32", "loading/0 workers/64/4/fp32", "start/import rtslib/0/1/fp32"],
)  # fmt: skip
def test_a_case_of_each_kind_runs(key):
    found = bench.measure_case(TOYS[key], 1)
    assert found["median_s"] > 0 and (found["gflop"] is None) == key.startswith(("loading", "start"))


@pytest.mark.parametrize("kind", ["trunk/", "inference tiny/", "training tiny/"])
def test_detectron2_is_measured_where_it_is(kind):
    case = next(c for key, c in TOYS.items() if key.startswith(f"{kind}detectron2/"))
    found = bench.measure_case(case, 1)
    if "skipped" in found.get("note", ""):
        pytest.skip(found["note"])
    assert found["median_s"] > 0 and found["gflop"] > 0


def test_a_peer_that_is_not_there_is_a_row_that_says_so(monkeypatch):
    def gone(case):
        raise Unavailable("it is not installed")

    monkeypatch.setattr("rtslib.benchmarks.machine.matrix_product", gone)
    assert bench.measure_case(Case("matrix product", "fp32", 8), 1) == {"note": "skipped: it is not installed"}


def test_a_case_is_measured_in_a_process_of_its_own():
    found = bench.measure_apart(Case("matrix product", "fp32", 64), 2, 1)
    assert found["gflop"] == pytest.approx(2 * 64**3 / 1e9) and found["peak_mib"] < 100
    with pytest.raises(RtsError, match="KeyError: 'no such group'"):
        bench.measure_apart(Case("no such group", "x"), 1, 1)


def test_the_command_writes_table_manifest_and_chart(tmp_path, capsys):
    words = ["--quick", "--in-process", "--repeats", "1", "--threads", "1", "--only", "trunk/rtslib/,trunk/timm"]
    assert main(["benchmark", "speed", "--out", str(tmp_path), *words]) == 0
    table = pd.read_csv(tmp_path / "tables" / "speed.csv")
    assert list(table.columns) == bench.COLUMNS and list(table["case"]) == ["fp32", "rtslib", "timm"]
    assert table["share_of_gemm"].iloc[0] == pytest.approx(1) and (table["threads"] == 1).all()
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["quick"] and manifest["versions"]["torch"] and manifest["hardware"]["cores"]
    assert set(manifest["outputs"]) == {"tables/speed.csv", "figures/speed.png", "figures/speed.svg"}
    assert "trunk: timm, 64 px" in capsys.readouterr().out


def test_a_case_that_fails_is_told_and_the_others_are_measured(tmp_path, monkeypatch, capsys):
    def broken(case):
        return Work(lambda: 1 / 0)

    monkeypatch.setattr("rtslib.benchmarks.trunks.trunk", broken)
    words = ["--quick", "--in-process", "--repeats", "1", "--only", "trunk/timm,loading/0"]
    assert main(["benchmark", "speed", "--out", str(tmp_path), *words]) == 2
    assert "error: 1 cases failed, first trunk/timm/64/1/fp32: division by zero" in capsys.readouterr().err
    rows = pd.read_csv(tmp_path / "tables" / "speed.csv").set_index("group")
    assert rows.loc["trunk", "note"] == "failed: division by zero" and rows.loc["loading", "median_s"] > 0


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--only 'trunks': no such case; one begins with a group: matrix product"):
        bench.measure_speed(tmp_path, only=["trunks"])
    for device in ["tpu", *([] if torch.cuda.is_available() else ["cuda"])]:
        with pytest.raises(ConfigError, match=f"--device {device}: PyTorch finds no such device"):
            bench.measure_speed(tmp_path, device)
