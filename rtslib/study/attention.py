"""Does a fusion by attention attend? The tables that say so, of a study's finished runs.

`attention.csv`: AP50 of a trained model as it is, and with its attention switched off. `added.csv`: how much the
attention adds to the primary map, by scale. `looks.csv`: where it looks. `gates.csv`: the size of every parameter
between branches and pyramid, before training and after (`rtslib.models.gates`).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rtslib.data.chips import Chip
from rtslib.data.samples import ChipDataset, collate
from rtslib.evaluation.bootstrap import Hits, average_precision
from rtslib.figures.attention import query_place
from rtslib.files import save_table
from rtslib.models.looking import Read, asked, looks, reading
from rtslib.study.plan import ATTENDING, RESIDUAL
from rtslib.study.rows import judge
from rtslib.study.study import StudyRun
from rtslib.training.weights import load_model

#: Test chips that a model is watched on, fewer where they are large: all weights of a chip are held at once.
WATCHED, WATCHED_PX = 16, 224


def attention_tables(
    by_run: Mapping[tuple[str, int], Sequence[StudyRun]], found: Mapping[str, Mapping[int, Hits]], out: Path
) -> None:
    """Write the tables to a folder; those without rows are left out.

    Args:
        by_run: (name, seed) -> finished runs, one a fold.
        found: name -> seed -> matches on the test chips.
        out: folder.
    """
    off = [_switched_off(name, seed, parts, found) for (name, seed), parts in by_run.items() if name in ATTENDING]
    much, where = [], []
    for (name, seed), parts in by_run.items():
        if name == RESIDUAL:
            amounts, places = watch(parts[0])
            much += [{"model": name, "seed": seed, **row} for row in amounts]
            where += [{"model": name, "seed": seed, **row} for row in places]
    looked = pd.DataFrame(where)
    if len(looked):  # the mean over seeds
        keys = ["model", "stride", "modality", "head", "down", "right"]
        looked = looked.groupby(keys, sort=False, as_index=False)["weight"].mean()
    gates = pd.DataFrame([row for run in by_run.items() for row in _gates(*run)])
    for name, table in (("attention", pd.DataFrame(off)), ("added", pd.DataFrame(much)), ("looks", looked),
                        ("gates", gates)):  # fmt: skip
        if len(table):
            save_table(table, out / f"{name}.csv")


def read_by(run: StudyRun, chips: Sequence[Chip], stride: int, modality: str) -> list[Read]:
    """Return what a made run's primary stream reads from a modality on each chip, at the place of its largest slump.

    Args:
        run: with residual attention.
        chips: of its data set, each with a slump.
        stride: 4, 8, 16 or 32 px; modality: one that is asked.
    """
    model, chipset = load_model(run.made, bare=True), run.study.chipset
    modalities = {m: tuple(bands) for m, bands in model.config.modalities.items()}
    dataset = ChipDataset(chipset, chips, modalities)
    return [
        reading(model, collate([dataset[i]]), query_place(chipset, chip))[stride, modality]
        for i, chip in enumerate(chips)
    ]


def watch(run: StudyRun) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Watch a run's attention on its first test chips of one size; returns as `rtslib.models.looking.looks`, and to
    the amounts each head's learnt offset and width, px."""
    model, chipset = load_model(run.made, bare=True), run.study.chipset
    chips = run.study.chips("test")
    side = int(max(chips[0].height, chips[0].width) * model.config.scale)
    count = max(1, min(WATCHED, WATCHED * WATCHED_PX**2 // side**2))
    alike = [c for c in chips if (c.height, c.width) == (chips[0].height, chips[0].width)][:count]
    modalities = {m: tuple(bands) for m, bands in model.config.modalities.items()}
    dataset = ChipDataset(chipset, alike, modalities, augment=False)
    amounts, places = looks(model, [collate([dataset[i]]) for i in range(len(alike))])
    learnt = {(stride, m): ask for stride, m, ask in asked(model)}
    for row in amounts:
        ask = learnt[row["stride"], row["modality"]]
        side = ask.window * row["stride"]
        for h in range(ask.offset.shape[1]):
            down, right = (ask.offset[:, h] * side).tolist()
            row |= {f"down_{h}": down, f"right_{h}": right, f"width_{h}": ask.log_width[h].exp().item() * row["stride"]}
    return amounts, places


def _switched_off(
    name: str, seed: int, parts: Sequence[StudyRun], found: Mapping[str, Mapping[int, Hits]]
) -> dict[str, Any]:
    without = average_precision(judge(parts, attends=False).hits())
    return {"model": name, "seed": seed, "AP50": average_precision(found[name][seed]), "AP50_off": without}


def _gates(key: tuple[str, int], parts: Sequence[StudyRun]) -> Iterator[dict[str, Any]]:
    for name, (before, after) in parts[0].made.record.get("gates", {}).items():
        yield {"model": key[0], "seed": key[1], "parameter": name, "before": before, "after": after}
