"""The fusion study: all runs of a plan for several seeds, and the tables that say what came out.

Notebook 06 calls it (`make study`). Tables in `OUT/tables`: `runs.csv` (one row a run and seed), `models.csv`
(means over seeds, with intervals), `gains.csv` (paired differences to the references), `missing.csv` (AP50 with a
modality hidden), `curves.csv`, `reliability.csv`; those of `rtslib.study.attention`; and `folds.csv`, which chip is in
which fold. Figures and the README are drawn from these alone (`rtslib.study.redraw`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from rtslib.data.splits import folds_by_group
from rtslib.errors import ConfigError
from rtslib.evaluation.bootstrap import Drawn, Hits, ap_draws, average_precision, difference
from rtslib.files import save_table
from rtslib.study.attention import attention_tables
from rtslib.study.grid import perform_all, study_runs
from rtslib.study.plan import MATTER, RESIDUAL
from rtslib.study.rows import LOOSE, curve_rows, judge, reliability_rows, run_row
from rtslib.study.study import FOLDS, Study, StudyRun
from rtslib.training.steptime import run_seconds

#: Models that others are compared with, where the study has them: (two_stage, transfer).
REFERENCES = {"two_stage": ("data", "rgb_continued", RESIDUAL, "trees"), "transfer": ("data", "rgb", "trees")}
#: Columns of `runs.csv` that `models.csv` has the means of.
AVERAGED = ("AP", "AP25", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR", "F1", "boundary_iou",
            "temperature", "shift", "ECE_before", "ECE_after", "seconds", "seconds_per_step",
            "peak_memory_mib")  # fmt: skip


def run_study(
    study: Study, out: str | Path, *, names: Sequence[str] = (), seeds: Sequence[int] = (0, 1, 2),
    more_seeds: Sequence[int] = (), folds: Sequence[int] = (), workers: int = 2, scheduler: str = "",
) -> Path:  # fmt: skip
    """Make or recognise all runs of a study and write its tables.

    Args:
        study: on one split.
        out: folder of results.
        names: runs of the plan; empty: all.
        seeds: of training, on one split.
        more_seeds: further ones, of the models that matter (`rtslib.study.plan.MATTER`) alone.
        folds: which of the `FOLDS` folds of cross-validation by site group; none: one split.
        workers: processes to start here.
        scheduler: address of a Dask scheduler to use instead.

    Returns:
        The folder of the tables.

    Raises:
        ConfigError: no such kind, run, seed or fold.
        DataError, TrainingError, WeightsError, OutputError: as `rtslib.training.trainer.train`.
    """
    listed = study_runs(study, names, seeds, folds)
    matter = [n for n in MATTER if n in (names or study.plan)]
    if more_seeds and matter:
        listed += [run for run in study_runs(study, matter, more_seeds, folds) if run not in listed]
    perform_all(listed, workers, scheduler)
    return write_tables([run for run in listed if (run.study.kind, run.study.data) == (study.kind, study.data)], out)


def numbers(text: object, name: str) -> list[int]:
    """Read whole numbers from a notebook parameter: `0,1,2`, a single number, or nothing.

    Raises:
        ConfigError: something else; says which parameter.
    """
    try:
        return [int(part) for part in str(text).split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"{name}={text!r}: write whole numbers, such as 0,1,2") from None


def write_tables(listed: Sequence[StudyRun], out: str | Path) -> Path:
    """Score finished runs of one study and write its tables to `out/tables`; returns that folder."""
    tables, study = Path(out) / "tables", listed[0].study
    study.describe(out)
    side = max(max(c.height, c.width) for c in study.chipset.chips)
    by_run: dict[tuple[str, int], list[StudyRun]] = {}
    for run in listed:
        by_run.setdefault((run.name, run.seed), []).append(run)
    rows, curves, bins = [], [], []
    found: dict[str, dict[int, Hits]] = {}
    loose: dict[str, dict[int, Hits]] = {}
    macs: dict[str, int | None] = {}
    known: dict[str, float] = {}
    for (name, seed), parts in by_run.items():
        judged = judge(parts)
        times = [run_seconds(run, study.chipset, known) for run in judged.runs]
        rows.append(run_row(judged, side, times, macs))
        curves.append(curve_rows(judged))
        bins.append(reliability_rows(judged))
        found.setdefault(name, {})[seed] = judged.hits()
        loose.setdefault(name, {})[seed] = judged.hits(LOOSE)
    runs = save_table(pd.DataFrame(rows), tables / "runs.csv")
    drawn, drawn25 = (
        {name: ap_draws(list(by_seed.values())) for name, by_seed in hits.items()} for hits in (found, loose)
    )
    save_table(model_table(runs, drawn, drawn25), tables / "models.csv")
    at50, at25 = (gain_table(*pair, REFERENCES[study.kind]) for pair in ((found, drawn), (loose, drawn25)))
    names = {"AP50_gain": "AP25_gain", "low": "AP25_low", "high": "AP25_high"}
    at25 = at25.drop(columns=["seeds", "seeds_ahead"]).rename(columns=names)
    save_table(at50.merge(at25, on=["model", "over"]), tables / "gains.csv")
    curve = pd.concat(curves).groupby(["model", "recall"], sort=False, as_index=False)["precision"].mean()
    save_table(curve, tables / "curves.csv")
    columns = ["model", "seed", "when", "low", "high", "count", "score", "right"]
    save_table(pd.concat(bins)[columns], tables / "reliability.csv")
    if study.kind == "two_stage":
        missing = missing_table(by_run, found)
        if len(missing):
            save_table(missing, tables / "missing.csv")
    attention_tables(by_run, found, tables)
    if study.fold is not None:
        save_table(folds_by_group(study.chipset, FOLDS, study.seed), tables / "folds.csv")
        for name in ("split", "sides"):  # of the one split that the folds replace
            (tables / f"{name}.csv").unlink(missing_ok=True)
    return tables


def model_table(runs: pd.DataFrame, draws: dict[str, Drawn], loose: dict[str, Drawn]) -> pd.DataFrame:
    """Average the rows of each model's seeds.

    Args:
        runs: rows of `rtslib.study.rows.run_row`.
        draws, loose: model -> bootstrap samples of its AP50, of its AP25.

    Returns:
        One row a model: seeds; means of `AVERAGED`; AP50_sd (over seeds, NaN for one); AP50_low and AP50_high, AP25_low
        and AP25_high (95 % interval of the mean, over groups and seeds); fusion, modalities and costs.
    """
    rows = []
    for name, part in runs.groupby("model", sort=False):
        (low, high), (low25, high25) = draws[name].interval(), loose[name].interval()
        same = part.iloc[0][["fusion", "modalities", "parameters", "trained_parameters", "epochs", "epochs_before",
                             "image_passes", "macs", "train_macs", "chips", "instances"]]  # fmt: skip
        means = {k: part[k].astype(float).mean() for k in AVERAGED}
        spread = {
            "AP50_sd": part["AP50"].std(), "AP50_low": low, "AP50_high": high, "AP25_low": low25, "AP25_high": high25,
        }  # fmt: skip
        rows.append({"model": name, "seeds": len(part), **means, **spread, **same.to_dict()})
    return pd.DataFrame(rows)


def gain_table(
    found: Mapping[str, Mapping[int, Hits]], draws: Mapping[str, Drawn], references: Sequence[str]
) -> pd.DataFrame:
    """Compare every model with the references on the same draws of groups, and on the seeds that both have.

    Args:
        found: model -> seed -> its matches.
        draws: model -> bootstrap samples of its AP50, in the order of its seeds.
        references: models to compare with.

    Returns:
        One row a pair: model, over, AP50_gain (difference of the means over seeds), low, high (95 %),
        seeds_ahead (share of the seeds in which the model is ahead), seeds (how many).

    Raises:
        ConfigError: a pair has no seed in common.
    """
    rows = []
    for over in (r for r in references if r in found):
        for name in (n for n in found if n != over):
            common = [seed for seed in found[name] if seed in found[over]]
            if not common:
                raise ConfigError(
                    f"{name} has seeds {[*found[name]]}, {over} {[*found[over]]}: take some that both have"
                )
            ours, theirs = (draws[m].of([list(found[m]).index(seed) for seed in common]) for m in (name, over))
            gain = float((ours.scores - theirs.scores).mean())
            paired = difference(ours, theirs)
            rows.append({"model": name, "over": over, "AP50_gain": gain, **paired, "seeds": len(common)})
    return pd.DataFrame(rows, columns=["model", "over", "AP50_gain", "low", "high", "seeds_ahead", "seeds"])


def missing_table(
    by_run: Mapping[tuple[str, int], list[StudyRun]], found: Mapping[str, Mapping[int, Hits]]
) -> pd.DataFrame:
    """Score the models of `rtslib.study.plan.TRIED_WITHOUT` with nothing, and with each of their hidden cases.

    Returns:
        One row a model, seed and part: model, seed, hidden (modality, or `nothing`), part (all, left), AP50.
    """
    rows = []
    for (name, seed), parts in by_run.items():
        if not parts[0].hidden_cases:
            continue
        whole = average_precision(found[name][seed])
        rows.append({"model": name, "seed": seed, "hidden": "nothing", "part": "", "AP50": whole})
        for modality, part in parts[0].hidden_cases:
            less = average_precision(judge(parts, {modality: part}).hits())
            rows.append({"model": name, "seed": seed, "hidden": modality, "part": part, "AP50": less})
    return pd.DataFrame(rows, columns=["model", "seed", "hidden", "part", "AP50"])
