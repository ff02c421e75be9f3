"""The record: results that the repository keeps in `results/`, and how one's own compare with them.

A run of one's own goes to `runs/`, which git ignores; `results/` is written only where that is asked for. A score is
*inside* if it lies in the 95 % interval that the record gives it, on as many chips and instances.
"""

from pathlib import Path

import pandas as pd

from rtslib.files import ROOT, read_json
from rtslib.study.manifest import NAME

#: Tables that hold AP50 with its interval, one row a model.
TABLES = ("02_unimodal", "03_fused", "04_comparison", "models")


def compare(out: str | Path, record: Path = ROOT / "results") -> str:
    """Say in one line how the scores of a results folder compare with those on record.

    Args:
        out: folder with `manifest.json` and `tables/`.
        record: folder of the folders on record.
    """
    out, mine = Path(out).resolve(), _described(Path(out))
    made = _scored(out)
    for folder in sorted(p.parent for p in Path(record).resolve().glob(f"*/{NAME}")):
        theirs = _described(folder)
        if folder == out or mine[:2] != theirs[:2] or not set(made) <= set(_scored(folder)):
            continue  # a study is compared with a study, a workbook with a workbook
        rows = _rows(out).join(_rows(folder).add_suffix("_recorded"), how="inner")
        rows = rows[(rows["chips"] == rows["chips_recorded"]) & (rows["instances"] == rows["instances_recorded"])]
        if len(rows):
            seeds = f" (seed {mine[2]}; on record {theirs[2]}, whose intervals are over sites)"
            about = f"compared with {folder.parent.name}/{folder.name}" + ("" if mine == theirs else seeds)
            return f"{about}: {_said(rows)}"
    return f"{Path(record).name}/ holds no other scores of this profile and data to compare with"


def _described(folder: Path) -> tuple[str, str, int]:
    """Return what a folder's manifest says of profile, data (the name alone) and seed."""
    manifest = read_json(folder / NAME)
    return manifest.get("profile", ""), Path(manifest.get("inputs", {}).get("data", "")).name, manifest.get("seed", 0)


def _scored(folder: Path) -> dict[str, Path]:
    """Return the tables of scores that a folder has."""
    return {name: file for name in TABLES if (file := folder / "tables" / f"{name}.csv").exists()}


def _rows(folder: Path) -> pd.DataFrame:
    """Return AP50, its interval, chips and instances by model."""
    tables = [pd.read_csv(file).set_index("model") for file in _scored(folder).values()]
    columns = ["AP50", "AP50_low", "AP50_high", "chips", "instances"]
    rows = pd.concat([pd.DataFrame(columns=columns), *(t[columns] for t in tables)])
    return rows[~rows.index.duplicated()].astype(float)


def _said(rows: pd.DataFrame) -> str:
    inside = rows["AP50"].between(rows["AP50_low_recorded"], rows["AP50_high_recorded"])
    text = f"{inside.sum()} of {len(rows)} AP50 lie inside its 95 % intervals"
    out = [
        f"{name} {row.AP50:.3f} ({row.AP50_low_recorded:.3f} to {row.AP50_high_recorded:.3f})"
        for name, row in rows[~inside].iterrows()
    ]
    return text + ("; outside: " + ", ".join(out) if out else "")
