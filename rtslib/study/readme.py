"""The results section of the README, written from the tables alone.

`make figures` replaces what stands between the two marks in README.md by tables made from
`results/*/tables/*.csv`; a test compares the two, so that no number in it can be older than its table.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from rtslib.errors import DataError
from rtslib.figures.studies import comparison, stage_rows
from rtslib.figures.tables import is_faint
from rtslib.files import ROOT, write_text
from rtslib.study.plan import COMPARED, STAGES_OF

#: Said of studies that have not been run anew since (results/corrections.md).
OLDER = "(Run before attention, calibration and intervals were mended: see results/corrections.md.)"
LARGE_BATCHES = "(Run before batches of 4 and the semantic branch: see results/corrections.md.)"
#: Folder in `results/` -> how its study is introduced.
STUDIES = {
    "study": f"The embedded landscape (`make study`), two-stage data. {LARGE_BATCHES}",
    "sentinel_rts": "Real chips: `sentinel_rts`, 10 m, five folds by site group, each model from its landscape run. "
    f"{OLDER}",
    "sentinel_overnight": "Real chips: `sentinel_rts` again, one split, the largest site among its test sites, "
    f"ten times the epochs (`PROFILE=overnight`). {OLDER}",
    "maxar_rgb": "Real chips: `maxar_rgb`, 4 m, true colour alone; all test chips are one site, "
    f"so intervals are over chips instead. {OLDER}",
}  # fmt: skip
#: How a judged map is introduced -> its table in `results/`.
MAPS = {
    "new synthetic ground, 768 x 768 px (`make reproduce`)": "quick/tables/map_evaluation.csv",
    "new synthetic ground, 8,192 x 8,192 px (`rtslib benchmark maps`)": "mapping/tables/evaluation.csv",
    "`sentinel_rts`, largest site, held out (notebook 05, `quick`)": "mapping/tables/sentinel_rts.csv",
    "the same site, ten times the epochs (`data` of `overnight`, seed 0)": "mapping/tables/sentinel_overnight.csv",
}
BEGIN, END = "<!-- results: begin, written by `make figures` -->", "<!-- results: end -->"


def results_section(results: str | Path) -> str:
    """Return the section as Markdown.

    Args:
        results: folder with the tables of `MAPS` and, for each of `STUDIES`, `NAME/tables/` with `models.csv` and
            `gains.csv`.

    Raises:
        DataError: a table is missing.
    """
    results = Path(results)
    parts = [study_section(results / name / "tables", title) for name, title in STUDIES.items()]
    maps = {title: results / path for title, path in MAPS.items()}
    parts.append("Maps, polygon against polygon at IoU 0.5:\n\n" + _maps_table(maps))
    return "\n\n".join(parts)


def study_section(tables: Path, title: str) -> str:
    """Return the tables of one fusion study as Markdown; raises as `results_section`."""
    models, gains = _read(tables / "models.csv"), _read(tables / "gains.csv")
    first, over = models.iloc[0], list(gains["over"].unique())
    more = ["mask AP25 (95 %)", *(f"AP25 over `{r}`" for r in over)] if is_faint(models) else []
    rows = [
        [f"`{m.model}`", f"{m.AP50:.3f} ({m.AP50_low:.3f} to {m.AP50_high:.3f})", f"{m.AP50_sd:.3f}", f"{m.AP:.3f}",
         f"{m.F1:.2f}", *(_gain(gains, m.model, r) for r in over), *(_loose(m, gains, over) if more else []),
         f"{m.ECE_before:.2f}, {m.ECE_after:.2f}"]
        for m in models.itertuples()
    ]  # fmt: skip
    head = [
        "model", "mask AP50 (95 %)", "sd, seeds", "AP", "F1", *(f"AP50 over `{r}`" for r in over), *more,
        "ECE before, after",
    ]  # fmt: skip
    said = (
        f"**{title}** Scored on {first.chips} chips with {first.instances} slumps, {_seeds(models)}: means, 95 % "
        "intervals over sites and seeds, differences paired, on the seeds that both models have."
    )
    parts = [said, _table(head, rows)]
    if "train_macs" in models:
        parts += ["On equal terms (differences between models of one group speak of what they do):", _terms(models)]
    if (tables / "attention.csv").exists():
        parts += ["Trained models with their attention switched off, and how much it adds:", _attention(tables)]
    stages = stage_rows(models, STAGES_OF)
    if len(stages):
        parts += ["The same model, trained four ways, for as many image passes:", _stages_table(stages)]
    if (tables / "missing.csv").exists():
        parts += [
            "AP50 with a modality hidden from test chips (means over seeds):",
            _missing_table(tables / "missing.csv"),
        ]
    return "\n\n".join(parts)


def _seeds(models: pd.DataFrame) -> str:
    """Say how many seeds there are, and which models have more."""
    least, most = models["seeds"].min(), models["seeds"].max()
    if least == most:
        return f"{least} seeds"
    more = ", ".join(f"`{m}`" for m in models.loc[models["seeds"] == most, "model"])
    return f"{least} seeds, {most} of {more}"


def _terms(models: pd.DataFrame) -> str:
    rows = [
        [m.terms, f"`{m.model}`", f"{m.seeds}", f"{m.AP50:.3f} ({m.AP50_low:.3f} to {m.AP50_high:.3f})", f"{m.AP:.3f}",
         f"{m.image_passes / 1e3:.1f}", f"{m.train_macs / 1e12:.2f}"]
        for m in comparison(models, COMPARED).itertuples()
    ]  # fmt: skip
    return _table(["shared", "model", "seeds", "AP50", "AP", "image passes, thousands", "multiply-adds, 10^12"], rows)


def _attention(tables: Path) -> str:
    scores, added = _read(tables / "attention.csv"), _read(tables / "added.csv")
    share = added.groupby(["model", "stride"])["share"].mean().unstack()
    rows = []
    for name, part in scores.groupby("model", sort=False):
        lost = part["AP50"] - part["AP50_off"]
        spread = "" if len(part) < 2 else f" ({lost.min():+.3f} to {lost.max():+.3f})"
        sizes = [f"{v:.2f}" for v in share.loc[name]] if name in share.index else [""] * share.shape[1]
        rows.append([f"`{name}`", f"{len(part)}", f"{part['AP50'].mean():.3f}", f"{part['AP50_off'].mean():.3f}",
                     f"{lost.mean():+.3f}{spread}", f"{(lost > 0).sum()} of {len(part)}", *sizes])  # fmt: skip
    head = ["model", "seeds", "AP50", "switched off", "what it brings (least to most of the seeds)", "ahead in",
            *(f"share at stride {s}" for s in share.columns)]  # fmt: skip
    return _table(head, rows)


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
    return _table(head, rows)


def _missing_table(path: Path) -> str:
    missing = _read(path).fillna({"part": ""})
    missing["case"] = [f"{h} {p}".strip() for h, p in zip(missing["hidden"], missing["part"], strict=True)]
    wide = missing.pivot_table("AP50", "model", "case", sort=False)
    return _table(
        ["model", *wide.columns],
        [[f"`{m}`", *(f"{v:.3f}" for v in row)] for m, row in zip(wide.index, wide.to_numpy(), strict=True)],
    )


def _maps_table(maps: dict[str, Path]) -> str:
    rows = []
    for title, path in maps.items():
        at = _read(path).query("iou == 0.5").iloc[0]
        shares = ["-" if pd.isna(v) else f"{v:.2f}" for v in (at.precision, at.recall, at.f1, at.ap)]
        rows.append([title, f"{at.right + at.missed:.0f}", f"{at.right:.0f}", f"{at.wrong:.0f}", *shares])
    return _table(["map", "known slumps", "found", "wrong", "precision", "recall", "F1", "AP50"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _gain(
    gains: pd.DataFrame, model: str, over: str, columns: tuple[str, str, str] = ("AP50_gain", "low", "high")
) -> str:
    row = gains.loc[(gains["model"] == model) & (gains["over"] == over), list(columns)]
    return "" if row.empty else "{:+.3f} ({:+.3f} to {:+.3f})".format(*row.iloc[0])


def _loose(m: Any, gains: pd.DataFrame, over: list[str]) -> list[str]:
    """Cells on AP25."""
    columns = ("AP25_gain", "AP25_low", "AP25_high")
    return [f"{m.AP25:.3f} ({m.AP25_low:.3f} to {m.AP25_high:.3f})", *(_gain(gains, m.model, r, columns) for r in over)]


def rewritten(readme: str, section: str) -> str:
    """Return the README's text with the section between the marks replaced. Raises DataError without marks."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise DataError("README.md", "no single pair of result marks", f"{BEGIN} ... {END}")
    head, rest = readme.split(BEGIN)
    return f"{head}{BEGIN}\n{section}\n{END}{rest.split(END)[1]}"


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise DataError(path, "no such file", "a table, as `make reproduce` writes it")
    return pd.read_csv(path)


def rewrite_readme() -> None:
    """Rewrite README.md. Raises DataError, OutputError."""
    path = ROOT / "README.md"
    write_text(path, rewritten(path.read_text(encoding="utf-8"), results_section(ROOT / "results")))
