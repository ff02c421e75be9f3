"""The tables of the README and of the results pages in `docs/`, written from the tables alone.

`make figures` replaces what stands between the two marks in each of `PAGES` by tables made from
`results/*/tables/*.csv`; a test compares the two, so that no number in them can be older than its table. No table is
wider than a page: what a model scores and what it gains over others are two tables, and differences on AP25 a third.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from rtslib.errors import DataError
from rtslib.figures.studies import comparison, stage_rows
from rtslib.figures.tables import is_faint
from rtslib.files import ROOT, write_text
from rtslib.study.markdown import as_markdown, committed
from rtslib.study.plan import COMPARED, STAGES_OF
from rtslib.study.speed import speed_section

#: Said of studies that have not been run anew since (results/corrections.md).
OLDER = (
    "Run before attention, calibration and intervals were mended: see [the corrections](../../results/corrections.md)."
)
LARGE_BATCHES = "Run before batches of 4 and the semantic branch: see [the corrections](../../results/corrections.md)."
#: Folder in `results/` -> how its study is introduced.
STUDIES = {
    "study": f"The embedded landscape (`make study`), two-stage data. {LARGE_BATCHES}",
    "sentinel_rts": f"`sentinel_rts`, 10 m, five folds by site group, each model from its landscape run. {OLDER}",
    "sentinel_overnight": "`sentinel_rts` again, one split, the largest site among its test sites, "
    f"ten times the epochs (`PROFILE=overnight`). {OLDER}",
    "maxar_rgb": "`maxar_rgb`, 4 m, true colour alone; all test chips are one site, "
    f"so intervals are over chips instead. {OLDER}",
    "gpu/sentinel_rts": "`sentinel_rts`, five folds by site group, 225 steps of eight crops on an H200. `data` starts "
    "from the 4 m chips' run below, `data_imagenet` from ImageNet weights; `data_trees` are `data` and `trees` joined.",
    "gpu/maxar_rgb": "`maxar_rgb`, true colour, one of five folds by look-alike ground, 476 steps of eight crops from "
    "ImageNet weights: what `data` above starts from.",
}  # fmt: skip
#: How a judged map is introduced -> its table in `results/`.
MAPS = {
    "new synthetic ground, 768 x 768 px (`make reproduce`)": "quick/tables/map_evaluation.csv",
    "new synthetic ground, 8,192 x 8,192 px (`rtslib benchmark maps`)": "mapping/tables/evaluation.csv",
    "`sentinel_rts`, largest site, held out (notebook 05, `quick`)": "mapping/tables/sentinel_rts.csv",
    "the same site, ten times the epochs (`data` of `overnight`, seed 0)": "mapping/tables/sentinel_overnight.csv",
}
#: A model of the README's table -> its names, of which the first that a set has is shown.
SHOWN = {
    "true colour alone": ("rgb_continued", "rgb"), "stacked bands": ("data",), "concatenation": ("concat_conv",),
    "residual attention": ("residual_cross_attention",), "boosted trees on pixels": ("trees",),
    "stacked bands and trees joined": ("data_trees",),
}  # fmt: skip
#: A column of the README's table -> the table it is read from, and the score.
COLUMNS = {
    "landscape, `make reproduce`: AP50": ("quick/tables/04_comparison.csv", "AP50"),
    "landscape, `make study`: AP50": ("study/tables/models.csv", "AP50"),
    "Sentinel-2, five folds, GPU: AP25": ("gpu/sentinel_rts/tables/models.csv", "AP25"),
    "the same: AP50": ("gpu/sentinel_rts/tables/models.csv", "AP50"),
}
BEGIN, END = "<!-- results: begin, written by `make figures` -->", "<!-- results: end -->"


def summary(results: Path) -> str:
    """Return the README's table: the models that matter on the sets that matter.

    Args:
        results: folder with the tables of `COLUMNS`.

    Raises:
        DataError: a table is missing.
    """
    tables = {head: committed(results / path).set_index("model") for head, (path, _) in COLUMNS.items()}
    rows = []
    for said, names in SHOWN.items():
        cells = []
        for head, (_, score) in COLUMNS.items():
            name = next((n for n in names if n in tables[head].index), None)
            row = None if name is None else tables[head].loc[name]
            good = row is not None and score in row
            wide = good and f"{score}_low" in row and pd.notna(row[f"{score}_low"])
            within = f" ({row[f'{score}_low']:.3f} to {row[f'{score}_high']:.3f})" if wide else ""
            cells.append(f"{row[score]:.3f}{within}" if good else "-")
        rows.append([said, *cells])
    return as_markdown(["model", *COLUMNS], rows)


def quick_section(results: Path) -> str:
    """Return the scores of the models of notebook 04 as Markdown; raises as `summary`."""
    models = committed(results / "quick" / "tables" / "04_comparison.csv")
    rows = [
        [f"`{m.model}`", f"{m.AP50:.3f} ({m.AP50_low:.3f} to {m.AP50_high:.3f})", f"{m.AP:.3f}", f"{m.box_AP50:.3f}",
         f"{m.AR:.3f}", f"{m.seconds / 60:.1f}"]
        for m in models.itertuples()
    ]  # fmt: skip
    first = models.iloc[0]
    said = f"{first.chips} test chips with {first.instances} slumps, one seed, 95 % intervals over sites:"
    return f"{said}\n\n" + as_markdown(["model", "mask AP50 (95 %)", "AP", "box AP50", "AR", "training, min"], rows)


def study_section(tables: Path, title: str) -> str:
    """Return the tables of one fusion study as Markdown.

    Args:
        tables: folder with `models.csv` and `gains.csv`, and what else the study wrote.
        title: what introduces it.

    Raises:
        DataError: a table is missing.
    """
    models, gains = committed(tables / "models.csv"), committed(tables / "gains.csv")
    first, faint = models.iloc[0], is_faint(models)
    said = (
        f"{title} Scored on {first.chips} chips with {first.instances} slumps, {_seeds(models)}: means, 95 % "
        "intervals over sites and seeds. ECE is the calibration error of the scores."
    )
    rows = [
        [f"`{m.model}`", f"{m.AP50:.3f} ({m.AP50_low:.3f} to {m.AP50_high:.3f})",
         *([f"{m.AP25:.3f} ({m.AP25_low:.3f} to {m.AP25_high:.3f})"] if faint else []),
         f"{m.AP50_sd:.3f}", f"{m.AP:.3f}", f"{m.F1:.2f}", f"{m.ECE_before:.2f}, {m.ECE_after:.2f}"]
        for m in models.itertuples()
    ]  # fmt: skip
    head = [
        "model",
        "mask AP50 (95 %)",
        *(["AP25 (95 %)"] if faint else []),
        "sd, seeds",
        "AP",
        "F1",
        "ECE before, after",
    ]
    parts = [said, as_markdown(head, rows)]
    for metric in ["AP50", *(["AP25"] if faint else [])] * (len(gains) > 0):
        parts += [
            f"Differences of {metric}, paired, on the seeds that both models have:",
            _gains(models, gains, metric),
        ]
    if "train_macs" in models and (terms := _terms(models)):
        parts += ["On equal terms (differences between models of one group speak of what they do).", terms]
    if (tables / "attention.csv").exists():
        parts += ["Trained models with their attention switched off:", _attention(tables)]
        parts += ["How much attention adds, as a share of the primary map's size:", _added(tables)]
    stages = stage_rows(models, STAGES_OF)
    if len(stages):
        parts += ["The same model, trained four ways, for as many image passes:", _stages_table(stages)]
    if (tables / "missing.csv").exists():
        parts += [
            "AP50 with a modality hidden from test chips (means over seeds):",
            _missing_table(tables / "missing.csv"),
        ]
    return "\n\n".join(parts)


def maps_section(results: Path) -> str:
    """Return the table of judged maps; raises as `summary`."""
    rows = []
    for title, path in MAPS.items():
        at = committed(results / path).query("iou == 0.5").iloc[0]
        shares = ["-" if pd.isna(v) else f"{v:.2f}" for v in (at.precision, at.recall, at.f1, at.ap)]
        rows.append([title, f"{at.right + at.missed:.0f}", f"{at.right:.0f}", f"{at.wrong:.0f}", *shares])
    table = as_markdown(["map", "known", "found", "wrong", "precision", "recall", "F1", "AP50"], rows)
    return f"Polygon against polygon at IoU 0.5:\n\n{table}"


def challenge_section(results: Path) -> str:
    """Return how the challenge's recipe did on chips of other ground as Markdown; raises as `summary`."""
    scores = committed(results / "challenge" / "tables" / "scores.csv")
    first = scores.iloc[0]
    rows = [
        [m.seen, f"{m.AP50:.3f} ({m.AP50_low:.3f} to {m.AP50_high:.3f})",
         f"{m.AP25:.3f} ({m.AP25_low:.3f} to {m.AP25_high:.3f})", f"{m.AP:.3f}",
         f"{m.AP_small:.3f}, {m.AP_medium:.3f}, {m.AP_large:.3f}"]
        for m in scores.itertuples()
    ]  # fmt: skip
    said = (
        f"{first.chips} chips with {first.instances} slumps in {first.groups} groups of ground that no chip of the "
        "training side shows, one seed, 95 % intervals over groups:"
    )
    return f"{said}\n\n" + as_markdown(
        ["chips seen", "AP50 (95 %)", "AP25 (95 %)", "AP", "AP small, medium, large"], rows
    )


def _study(results: Path, name: str) -> str:
    return study_section(results / name / "tables", STUDIES[name])


def _gpu(results: Path) -> str:
    return "\n\n".join(_study(results, f"gpu/{name}") for name in ("sentinel_rts", "maxar_rgb"))


#: File from the root of the repository -> what is written between its marks, from the folder `results/`.
PAGES: dict[str, Callable[[Path], str]] = {
    "README.md": summary,
    "docs/results/quick.md": quick_section,
    "docs/results/landscape.md": partial(_study, name="study"),
    "docs/results/sentinel.md": partial(_study, name="sentinel_rts"),
    "docs/results/sentinel_long.md": partial(_study, name="sentinel_overnight"),
    "docs/results/maxar.md": partial(_study, name="maxar_rgb"),
    "docs/results/gpu.md": _gpu,
    "docs/results/maps.md": maps_section,
    "docs/challenge.md": challenge_section,
    "docs/speed.md": speed_section,
}


def _seeds(models: pd.DataFrame) -> str:
    """Say how many seeds there are, and which models have more."""
    least, most = models["seeds"].min(), models["seeds"].max()
    if least == most:
        return f"{least} seeds"
    more = ", ".join(f"`{m}`" for m in models.loc[models["seeds"] == most, "model"])
    return f"{least} seeds, {most} of {more}"


def _terms(models: pd.DataFrame) -> str:
    head = ["model", "seeds", "AP50 (95 %)", "AP", "image passes, thousands", "multiply-adds, 10^12"]
    parts = []
    for terms, group in comparison(models, COMPARED).groupby("terms", sort=False):
        rows = [
            [f"`{m.model}`", f"{m.seeds}", f"{m.AP50:.3f} ({m.AP50_low:.3f} to {m.AP50_high:.3f})", f"{m.AP:.3f}",
             f"{m.image_passes / 1e3:.1f}", f"{m.train_macs / 1e12:.2f}"]
            for m in group.itertuples()
        ]  # fmt: skip
        parts += [f"*{terms}:*", as_markdown(head, rows)]
    return "\n\n".join(parts)


def _attention(tables: Path) -> str:
    rows = []
    for name, part in committed(tables / "attention.csv").groupby("model", sort=False):
        lost = part["AP50"] - part["AP50_off"]
        spread = "" if len(part) < 2 else f" ({lost.min():+.3f} to {lost.max():+.3f})"
        rows.append([f"`{name}`", f"{len(part)}", f"{part['AP50'].mean():.3f}", f"{part['AP50_off'].mean():.3f}",
                     f"{lost.mean():+.3f}{spread}", f"{(lost > 0).sum()} of {len(part)}"])  # fmt: skip
    return as_markdown(["model", "seeds", "AP50", "off", "what it brings (least to most)", "ahead in"], rows)


def _added(tables: Path) -> str:
    share = committed(tables / "added.csv").groupby(["model", "stride"])["share"].mean().unstack()
    rows = [[f"`{name}`", *(f"{v:.2f}" for v in row)] for name, row in zip(share.index, share.to_numpy(), strict=True)]
    return as_markdown(["model", *(f"stride {s}" for s in share.columns)], rows)


def _stages_table(stages: pd.DataFrame) -> str:
    head = [
        "training", "AP50", "AP", "image passes, thousands", "s a step", "training, min", "peak GiB",
        "trained parameters, M",
    ]  # fmt: skip
    rows = [
        [m.training, f"{m.AP50:.3f} ({m.AP50_low:.3f} to {m.AP50_high:.3f})", f"{m.AP:.3f}",
         f"{m.image_passes / 1e3:.1f}", f"{m.seconds_per_step:.2f}", f"{m.seconds / 60:.1f}",
         f"{m.peak_memory_mib / 1024:.1f}", f"{m.trained_parameters / 1e6:.1f}"]
        for m in stages.itertuples()
    ]  # fmt: skip
    return as_markdown(head, rows)


def _missing_table(path: Path) -> str:
    missing = committed(path).fillna({"part": ""})
    missing["case"] = [f"{h} {p}".strip() for h, p in zip(missing["hidden"], missing["part"], strict=True)]
    wide = missing.pivot_table("AP50", "model", "case", sort=False)
    return as_markdown(
        ["model", *wide.columns],
        [[f"`{m}`", *(f"{v:.3f}" for v in row)] for m, row in zip(wide.index, wide.to_numpy(), strict=True)],
    )


def _gains(models: pd.DataFrame, gains: pd.DataFrame, metric: str) -> str:
    """Return what each model is ahead of each reference by, in AP50 or AP25."""
    low, high = ("low", "high") if metric == "AP50" else (f"{metric}_low", f"{metric}_high")
    over = list(gains["over"].unique())
    found = gains.set_index(["model", "over"])[[f"{metric}_gain", low, high]]
    rows = []
    for name in models["model"]:
        there = [(name, r) in found.index for r in over]
        said = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*found.loc[(name, r)]) if t else "" for r, t in zip(over, there)]
        rows += [[f"`{name}`", *said]] if any(there) else []
    return as_markdown(["model", *(f"over `{r}`" for r in over)], rows)


def rewritten(page: str, section: str, name: str = "README.md") -> str:
    """Return a page's text with the section between the marks replaced. Raises DataError without marks."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise DataError(name, "no single pair of result marks", f"{BEGIN} ... {END}")
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{section}\n\n{END}{rest.split(END)[1]}"


def rewrite_pages() -> None:
    """Rewrite the tables of all `PAGES`. Raises DataError, OutputError."""
    for name, section in PAGES.items():
        path = ROOT / name
        write_text(path, rewritten(path.read_text(encoding="utf-8"), section(ROOT / "results"), name))
