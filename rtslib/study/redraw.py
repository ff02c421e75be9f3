"""Every chart from its table: `make figures`.

A chart is a name, a function and a table. Notebooks and studies draw through here when the table is new; later
anybody can draw it again, on a machine without data, model or PyTorch. Pictures that show pixels (`01_chips`,
`03_examples`, `05_map`) are no charts: they need data and model, and notebooks make them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rtslib.figures import attention, charts, forest, grounds, reliability, speed, studies, style
from rtslib.files import ROOT
from rtslib.study.manifest import refresh
from rtslib.study.plan import STAGES_OF
from rtslib.study.readme import rewrite_pages

#: Figure -> (function of a table's path, table).
CHARTS: dict[str, tuple[Callable[[Path], Figure], str]] = {
    "01_instance_sizes": (charts.instance_sizes, "instances"),
    "02_training": (charts.training_curves, "02_training"),
    "02_precision_recall": (charts.pr_curves, "02_precision_recall"),
    "03_training": (charts.training_curves, "03_training"),
    "03_scores": (charts.score_points, "03_fused"),
    "03_precision_recall": (charts.pr_curves, "03_precision_recall"),
    "04_training": (charts.training_curves, "04_training"),
    "04_scores": (charts.score_points, "04_comparison"),
    "04_cost": (charts.cost_points, "04_comparison"),
    "04_precision_recall": (charts.pr_curves, "04_precision_recall"),
    "scores": (studies.scores, "models"),
    "forest": (forest.forest, "gains"),
    "sizes": (studies.sizes, "models"),
    "compute": (partial(studies.compute, stages=STAGES_OF), "models"),
    "missing": (studies.missing, "missing"),
    "reliability": (reliability.calibration, "reliability"),
    "precision_recall": (charts.pr_curves, "curves"),
    "looks": (attention.looks, "looks"),
    "memory": (studies.memory, "memory"),
    "totals": (grounds.totals, "totals"),
    "windows": (grounds.windows, "windows"),
    "speed": (speed.speed, "speed"),
    "log": (charts.run_curves, "log"),
}


def draw_chart(out: str | Path, name: str) -> Path:
    """Draw one chart of a results folder from its table.

    Args:
        out: folder with `tables/`; gets `figures/NAME.png` and, for print, `figures/NAME.svg`.
        name: key of `CHARTS`.

    Returns:
        Path of the PNG.

    Raises:
        DataError: the table is missing or lacks a column.
        OutputError: a picture cannot be written.
    """
    function, table = CHARTS[name]
    figure = function(Path(out) / "tables" / f"{table}.csv")
    style.save(figure, Path(out) / "figures" / f"{name}.svg")
    return style.save(figure, Path(out) / "figures" / f"{name}.png")


def show_chart(out: str | Path, name: str) -> Any:
    """Draw one chart and return the picture for a notebook to display. Raises as `draw_chart`."""
    return style.shown(draw_chart(out, name))


def draw_all(out: str | Path) -> list[Path]:
    """Draw all charts whose tables a results folder has, `compute` only with runs to show. Raises as `draw_chart`."""
    tables = Path(out) / "tables"
    there = [name for name, (_, table) in CHARTS.items() if (tables / f"{table}.csv").exists()]
    if "compute" in there and not studies.has_stages(tables / "models.csv", STAGES_OF):
        there.remove("compute")
    return [draw_chart(out, name) for name in there]


def redraw_results() -> None:
    """Redraw all results of record and rewrite the tables of README and docs from theirs. Raises as `draw_chart`."""
    for folder in sorted(p.parent for p in (ROOT / "results").rglob("tables")):
        print(f"{folder.relative_to(ROOT)}: {len(draw_all(folder))} figures")
        refresh(folder)
    rewrite_pages()
