"""The page of speed: what was asked for beside what was measured, from the table alone.

A *target* is a question with the answer that was hoped for before anything was measured. It is met or not; where a
peer was not installed, or nothing was measured, the page says so. Tables: `rtslib.benchmarks.speed`, one folder of
results a device.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rtslib.figures.speed import ratios
from rtslib.files import read_json
from rtslib.study.markdown import as_markdown, committed

#: Folder of results -> device, as people say it.
FOLDERS = {"bench": "CPU", "bench_cuda": "GPU"}


class Target(NamedTuple):
    """A question.

    Attributes:
        said: what is asked.
        group, case: of the row that answers.
        hoped: size (px) -> what was hoped for.
        column: which of its numbers: ratio and memory are of the peer over ours, or of more over less.
        most: whether the number may be that at most, or has to be that at least.
        batch: of the row; None: any.
    """

    said: str
    group: str
    case: str
    hoped: dict[int, float]
    column: str = "ratio"
    most: bool = False


def _each(value: float, *sizes: int) -> dict[int, float]:
    return dict.fromkeys(sizes, value)


_BOTH = [
    Target("`lite0` against `maskrcnn_resnet50_fpn`", "inference lite0", "maskrcnn_resnet50_fpn", {512: 4}),
    Target("`lite0` against `fasterrcnn_mobilenet_v3_large_fpn`", "inference lite0",
           "fasterrcnn_mobilenet_v3_large_fpn", {512: 1}),
    Target("three branches over one, prediction", "branches inference", "three", {256: 2.5}, most=True),
    Target("three branches over one, training step", "branches training", "three", {256: 2.5}, most=True),
    Target("backbones frozen over all trained", "branches training", "three frozen", {256: 0.5}, most=True),
]  # fmt: skip
TARGETS: dict[str, list[Target]] = {
    "bench": [
        Target("trunk against timm's", "trunk", "timm", _each(1.5, 256, 512, 1024)),
        Target("its memory over timm's", "trunk", "timm", _each(0.8, 256, 512, 1024), "memory", most=True),
        Target(
            "its largest difference from timm's", "trunk", "rtslib", _each(1e-4, 256, 512, 1024), "difference", True
        ),
        Target("trunk against detectron2's", "trunk", "detectron2", _each(1.5, 256, 512, 1024)),
        Target("its memory over detectron2's", "trunk", "detectron2", _each(0.8, 256, 512, 1024), "memory", most=True),
        Target("prediction by `tiny` against detectron2", "inference tiny", "detectron2", {256: 10, 512: 6, 1024: 3}),
        Target("training step of `tiny` against detectron2", "training tiny", "detectron2", {256: 6}),
        *_BOTH,
        Target("training step over loading, 2 workers", "loading", "training step", {96: 2}),
        Target("`import rtslib`, s", "start", "import rtslib", {0: 0.3}, "median_s", True),
        Target("`rtslib --help`, s", "start", "rtslib --help", {0: 0.7}, "median_s", True),
    ],
    "bench_cuda": [
        Target("trunk against detectron2's", "trunk", "detectron2", _each(2, 256, 512, 1024)),
        Target("prediction by `tiny` against detectron2", "inference tiny", "detectron2", _each(3, 256, 512, 1024)),
        Target("training step of `tiny` against detectron2", "training tiny", "detectron2", _each(2, 256, 512)),
        *_BOTH,
        Target("training step over loading, 8 workers", "loading", "training step", {96: 5}),
    ],
}


def speed_section(results: Path) -> str:
    """Return what was measured on each device as Markdown.

    Args:
        results: folder with those of `FOLDERS` that were measured.

    Raises:
        DataError: a table lacks a column, or stands without its manifest.
    """
    there = [name for name in FOLDERS if (results / name / "tables" / "speed.csv").exists()]
    return "\n\n".join(_device(results / name) for name in there) or "Not measured yet: `make bench RECORD=1`."


def _device(folder: Path) -> str:
    table, how = folder / "tables" / "speed.csv", read_json(folder / "manifest.json")
    machine, rows = how["hardware"], committed(table)
    chip = machine["gpu"][0] if how["device"] == "cuda" else f"{machine['cpu']}, {how['threads']} threads"
    said = (
        f"**{FOLDERS[folder.name]}**: {chip}; PyTorch {how['versions']['torch']}, medians of {how['repeats']} "
        f"repetitions, {'one process for all' if how['in_process'] else 'a process a case'}."
    )
    before = folder / "tables" / "before.csv"
    return "\n\n".join([
        said, _targets(folder.name, rows, ratios(table)), *(_before(before) if before.exists() else []),
        "All cases:", _cases(rows),
        f"![How much longer others take, and more of the same](../results/{folder.name}/figures/speed.png)",
    ])  # fmt: skip


def _targets(name: str, rows: pd.DataFrame, compared: pd.DataFrame) -> str:
    lines = []
    for target in TARGETS[name]:
        for px, hoped in target.hoped.items():
            answer, good = _answer(target, px, hoped, rows, compared)
            size, sense = f"{px} px" if px else "", "at most" if target.most else "at least"
            lines.append([target.said, size, f"{sense} {hoped:g}", answer, good])
    return as_markdown(["what", "size", "target", "measured", "met"], lines)


def _answer(target: Target, px: int, hoped: float, rows: pd.DataFrame, compared: pd.DataFrame) -> tuple[str, str]:
    """Return the number and whether it will do; why there is none and a dash."""
    at = f"group == {target.group!r} and case == {target.case!r} and px == {px}"
    asked = rows.query(at)
    if asked.empty:
        return "not measured", "-"
    found = compared.query(at) if target.column in ("ratio", "memory") else asked[asked["median_s"].notna()]
    if found.empty or found[target.column].isna().all():
        return str(asked["note"].iloc[0]).split(":")[0], "-"
    value = float(found[target.column].iloc[-1])
    value = 1 / value if target.column == "memory" else value
    return f"{value:.3g}", "yes" if (value <= hoped if target.most else value >= hoped) else "no"


def _before(table: Path) -> list[str]:
    """Return what became of earlier commits' times, and a sentence that introduces it."""
    said = "Against earlier commits, by turns (`rtslib benchmark before`); 2.5 was hoped for over dc6bec3:"
    rows = [
        [row.commit[:7], f"{row.group}: {row.case}", f"{row.px}", f"{row.batch}", f"{row.before_s:.3g}",
         f"{row.after_s:.3g}", f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})"]
        for row in committed(table).itertuples()
    ]  # fmt: skip
    return [said, as_markdown(["commit", "case", "px", "batch", "before, s", "now, s", "times as fast"], rows)]


def _cases(rows: pd.DataFrame) -> str:
    head = ["case", "px", "batch", "s (least to most)", "peak MiB", "GFLOP", "% of GEMM"]
    if rows["precision"].nunique() > 1:
        head.insert(3, "in")
    lines = []
    for row in rows.itertuples():
        line = [f"{row.group}: {row.case}", _number(row.px, "{:.0f}"), str(row.batch)]
        line += [row.precision] if "in" in head else []
        if pd.isna(row.median_s):
            lines.append([*line, str(row.note).split(":")[0], "", "", ""])
            continue
        time = f"{row.median_s:.3g} ({row.min_s:.3g} to {row.max_s:.3g})"
        share = row.share_of_gemm * 100
        lines.append([*line, time, _number(row.peak_mib, "{:.0f}"), _number(row.gflop, "{:.3g}"),
                      _number(share, "{:.0f}")])  # fmt: skip
    return as_markdown(head, lines)


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) or value == 0 else form.format(value)
