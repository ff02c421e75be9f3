"""What a run's folder and a map's folder are, in plain words (`rtslib.data.diagnosis` has the other kinds)."""

from pathlib import Path

import pandas as pd

from rtslib.data.diagnosis.findings import Findings
from rtslib.data.diagnosis.vector import diagnose_vector
from rtslib.errors import DataError, one_line
from rtslib.files import read_json
from rtslib.mapping.maps import MANIFEST, PLAN_FILE, REVIEW, REVIEWED, SHARDS, TOTALS
from rtslib.mapping.polygons import MAP_FILE
from rtslib.mapping.review import precision_so_far, read_review
from rtslib.training.code import code_hash
from rtslib.training.evidence import shown_from
from rtslib.training.runs import Run


def is_run(path: Path) -> bool:
    """Tell whether a folder holds what `train` writes."""
    return (path / "run.json").exists() or ((path / "config.json").exists() and (path / "model.pt").exists())


def is_map(path: Path) -> bool:
    """Tell whether a folder holds what `map` writes, finished or not."""
    return any((path / name).exists() for name in (MAP_FILE, PLAN_FILE))


def diagnose_run(path: Path) -> Findings:
    """Look at a run. Raises ConfigError, DataError: its config or record cannot be read."""
    run, found = Run(path), Findings(path)
    config, record = run.config, run.record
    kind = config.fusion if len(config.modalities) > 1 or config.fusion == "trees" else f"{config.backbone} alone"
    found.facts.append(f"a run: {', '.join(config.modalities)}, {kind}, of {config.epochs} epochs")
    for name, bands in config.modalities.items():
        found.facts.append(f"modality {name} reads {_normal(bands, config.modality_mean.get(name))}")
    for band, inputs in config.derived.items():
        found.facts.append(f"band {band} was derived from {', '.join(inputs)}; a map derives it so, too")
    if record:
        found.facts.append(f"trained on {record.get('data')} (layout {record.get('layout')}), {_sides(path)}")
    if not run.finished:
        found.odd.append("not finished" if record else "no run.json: not known to be finished")
        found.uses.append(f"train --data DATA --out {path} --resume")
        return found
    if not run.weights.stat().st_size:
        found.faults.append(str(DataError(run.weights, "an empty file", "weights")))
        return found
    found.facts.append(shown_from(run)[1])
    if record.get("code") != code_hash():
        found.odd.append("trained by other code than is installed: results may differ a little")
    found.odd += [f"started from {parent}, which is gone" for parent in run.parents if not parent.folder.is_dir()]
    found.uses.append(f"predict or evaluate --run {path} --data DATA; map --run {path} --source FILE or --scene DIR")
    return found


def diagnose_map(path: Path) -> Findings:
    """Look at a map. Raises DataError: what it holds cannot be read."""
    found = Findings(path)
    if (path / PLAN_FILE).exists():
        done = len(list((path / SHARDS).glob("*.json")))
        found.facts.append(f"a map that was stopped; {done} blocks of windows are done")
        found.uses.append("map --resume with the options that it was started with, or --overwrite")
        return found
    shapes = diagnose_vector(path / MAP_FILE)
    found.facts += ["a map", *shapes.facts]
    found.odd += [odd for odd in shapes.odd if "drawn or copied" not in odd]
    found.faults += shapes.faults
    if (path / MANIFEST).exists():
        manifest = read_json(path / MANIFEST)
        plan, counts = manifest.get("plan", {}), manifest.get("counts", {})
        found.facts.append(f"by run {plan.get('run_id') or 'unknown'}, {counts.get('windows')} windows")
        if counts.get("skipped"):
            found.odd.append(f"{counts['skipped']} of {counts['windows']} windows had no valid pixel")
    else:
        found.odd.append(f"no {MANIFEST}: not written to the end")
    if (path / TOTALS).exists():
        t = read_json(path / TOTALS)
        found.facts.append(
            f"by their scores {t['expected_count']:.0f} are right ({t['count_low']} to {t['count_high']})"
        )
    _reviewed(path, found)
    found.uses.append(f"review {path}; arts {path} ...; evaluate --map {path / MAP_FILE} --truth FILE")
    return found


def _normal(bands: list[str], means: list[float] | None) -> str:
    """Say bands, with the mean that each had in training."""
    return ", ".join(f"{b} (mean {m:.4g})" for b, m in zip(bands, means)) if means else ", ".join(bands)


def _sides(path: Path) -> str:
    """Say how many chips are on each side of a run's split."""
    try:
        sides = pd.read_csv(path / "split.csv")["side"].value_counts()
    except (OSError, ValueError, KeyError) as e:
        raise DataError(path / "split.csv", f"no readable split ({one_line(e)})", "one, as `train` writes it") from e
    return ", ".join(f"{n} {side}" for side, n in sides.items()) + " chips"


def _reviewed(path: Path, found: Findings) -> None:
    """Say how far a reviewer is."""
    if not (path / REVIEW).exists():
        return
    said = precision_so_far(read_review(path / REVIEW))
    found.facts.append(f"reviewed: {said['reviewed']}, of which {said['accepted']} were accepted")
    if said["reviewed"] and not (path / REVIEWED).exists():
        found.odd.append(f"reviewed, but not applied: review {path}")
