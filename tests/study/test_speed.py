"""The page of speed: targets that are met, missed and not measured, on hand-made tables."""

import json

import pandas as pd

from rtslib.benchmarks.cases import all_cases
from rtslib.study.speed import TARGETS, speed_section


def made(results, name, rows, **how):
    folder = results / name / "tables"
    folder.mkdir(parents=True)
    columns = ["group", "case", "px", "median_s", "peak_mib", "gflop", "share_of_gemm", "against", "difference", "note"]
    table = pd.DataFrame(rows, columns=columns).assign(batch=1, precision="fp32", device="cpu")
    table["min_s"] = table["max_s"] = table["median_s"]
    table.to_csv(folder / "speed.csv", index=False)
    manifest = {"device": "cpu", "threads": 2, "repeats": 5, "in_process": False, "versions": {"torch": "2.11"},
                "hardware": {"cpu": "a chip", "gpu": []}}  # fmt: skip
    (folder.parent / "manifest.json").write_text(json.dumps(manifest | how))


def test_targets_stand_beside_what_was_measured(tmp_path):
    made(tmp_path, "bench", [
        ("trunk", "rtslib", 256, 1.0, 50, 10, 0.5, None, 2e-6, None),
        ("trunk", "timm", 256, 1.2, 100, 9, 0.4, "rtslib", None, None),
        ("trunk", "detectron2", 256, None, None, None, None, "rtslib", None, "skipped: detectron2 is not installed"),
        ("start", "import rtslib", 0, 0.4, 0, None, None, None, None, None),
    ])  # fmt: skip
    said = speed_section(tmp_path).splitlines()
    assert said[0].startswith("**CPU**: a chip, 2 threads; PyTorch 2.11, medians of 5 repetitions, a process a case.")
    for line in (
        "| trunk against timm's | 256 px | at least 1.5 | 1.2 | no |",
        "| trunk against timm's | 512 px | at least 1.5 | not measured | - |",
        "| its memory over timm's | 256 px | at most 0.8 | 0.5 | yes |",
        "| its largest difference from timm's | 256 px | at most 0.0001 | 2e-06 | yes |",
        "| trunk against detectron2's | 256 px | at least 1.5 | skipped | - |",
        "| `import rtslib`, s |  | at most 0.3 | 0.4 | no |",
        "| trunk: rtslib | 256 | 1 | 1 (1 to 1) | 50 | 10 | 50 |",
        "| trunk: detectron2 | 256 | 1 | skipped |  |  |  |",
    ):
        assert line in said, line


def test_earlier_commits_stand_beside_today(tmp_path):
    made(tmp_path, "bench", [("start", "import rtslib", 0, 0.2, 0, None, None, None, None, None)])
    row = {"commit": "0123456789ab", "group": "training quick", "case": "nano", "px": 96, "batch": 4, "before_s": 1.0,
           "after_s": 0.5, "ratio": 2, "low": 1.9, "high": 2.1}  # fmt: skip
    pd.DataFrame([row]).to_csv(tmp_path / "bench" / "tables" / "before.csv", index=False)
    assert "| 0123456 | training quick: nano | 96 | 4 | 1 | 0.5 | 2.00 (1.90 to 2.10) |" in speed_section(tmp_path)


def test_without_a_measurement_the_page_says_so(tmp_path):
    assert speed_section(tmp_path) == "Not measured yet: `make bench RECORD=1`."


def test_every_target_asks_for_a_case_that_is_measured():
    for name, device in (("bench", "cpu"), ("bench_cuda", "cuda")):
        there = {(c.group, c.case, c.px) for c in all_cases(device)}
        assert {(t.group, t.case, px) for t in TARGETS[name] for px in t.hoped} <= there
