"""The results section of the README, written from the tables alone.

`python -m rtslib.readme` replaces what stands between the two marks in README.md by tables made from
`results/quick/tables/*.csv`; a test compares the two, so that no number in it can be older than its table.
"""

import sys
from pathlib import Path

import pandas as pd

from rtslib.errors import DataError, RtsError
from rtslib.files import write_text

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: begin, written by `python -m rtslib.readme` -->", "<!-- results: end -->"


def results_section(tables: str | Path) -> str:
    """Return the section as Markdown.

    Args:
        tables: folder with `sides.csv`, `04_comparison.csv`, `04_gains.csv` and `map_scores.csv`.

    Raises:
        DataError: a table is missing.
    """
    tables = Path(tables)
    sides, models, gains, maps = (
        _read(tables / f"{name}.csv") for name in ("sides", "04_comparison", "04_gains", "map_scores")
    )
    test, train = (sides[sides["side"] == side].iloc[0] for side in ("test", "train"))
    lines = [
        f"Trained on {train.chips} chips, scored on {test.chips} chips ({test.instances} slumps) of {test.groups} "
        "other sites; one seed; 95 % intervals from bootstrap samples of the test sites.",
        "",
        "| model | fusion | mask AP | AP50 (95 %) | parameters, M | epochs, with those before | s a step |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in models.itertuples():
        lines.append(
            f"| `{m.model}` | {m.fusion} | {m.AP:.3f} | {m.AP50:.3f} ({m.AP50_low:.2f} to {m.AP50_high:.2f}) "
            f"| {m.parameters / 1e6:.1f} | {m.epochs + m.epochs_before} | {m.seconds_per_step:.2f} |"
        )
    lines += ["", "| AP50 of | over | gain | 95 % interval, paired |", "|---|---|---|---|"]
    for g in gains.itertuples():
        lines.append(f"| `{g.model}` | `{g.over}` | {g.AP50_gain:+.3f} | {g.low:+.3f} to {g.high:+.3f} |")
    at = maps[maps["iou"] == 0.5].iloc[0]
    lines += [
        "",
        f"The map of an unseen scene, polygon against polygon at IoU 0.5: {at.right:.0f} of "
        f"{at.right + at.missed:.0f} slumps found, {at.wrong:.0f} wrong; precision {at.precision:.2f}, recall {at.recall:.2f}, F1 {at.f1:.2f}.",
    ]
    return "\n".join(lines)


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


def main() -> int:
    """Rewrite README.md; one line and exit code 2 on error."""
    try:
        path = ROOT / "README.md"
        section = results_section(ROOT / "results" / "quick" / "tables")
        write_text(path, rewritten(path.read_text(encoding="utf-8"), section))
    except RtsError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
