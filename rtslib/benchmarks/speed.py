"""Speed: every case measured, each in a process of its own, and the table and chart of it.

    python -m rtslib benchmark speed --out DIR

writes `DIR/tables/speed.csv` (a row a case), `DIR/manifest.json` (commit, versions, hardware, threads, repeats) and
`DIR/figures/speed.png`. A process of its own has its own peak of memory and nothing of another case in its caches;
`in_process` does without, as on CUDA a start takes longer than most cases. The table is written anew after each case,
so that what was measured stays when the rest is stopped.

`share_of_gemm` is the share of the machine's own rate, of a matrix product in the same precision, that the counted
operations reach.
"""

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from rtslib.benchmarks.cases import Case, Unavailable, Work, all_cases
from rtslib.benchmarks.processes import apart
from rtslib.errors import ConfigError, RtsError
from rtslib.files import save_table, write_json
from rtslib.provenance import commit, hardware, versions
from rtslib.study.manifest import NAME, outputs

#: Group -> module in this folder and function that make the work of its cases.
GROUPS = {
    "matrix product": ("machine", "matrix_product"), "start": ("machine", "start"), "trunk": ("trunks", "trunk"),
    "inference tiny": ("detectors", "tiny"), "training tiny": ("detectors", "tiny"),
    "inference lite0": ("detectors", "lite0"), "training quick": ("detectors", "quick"),
    "prediction quick": ("detectors", "quick"), "branches inference": ("detectors", "branches"),
    "branches training": ("detectors", "branches"), "loading": ("loading", "loading"),
}  # fmt: skip
COLUMNS = ["group", "case", "px", "batch", "device", "precision", "threads", "median_s", "min_s", "max_s", "peak_mib",
           "gflop", "share_of_gemm", "against", "difference", "note"]  # fmt: skip
_TABLE = Path("tables") / "speed.csv"


def measure_case(case: Case, repeats: int) -> dict[str, Any]:
    """Measure a case in this process, with as many threads as it is set to.

    Returns:
        What the case adds to its row: times (s), `peak_mib`, `gflop` (10^9 operations; None where not counted),
        `difference` (None where there is no peer) and `note`. Only a note where it is not available here.
    """
    from rtslib.benchmarks.arithmetic import gflop
    from rtslib.benchmarks.timing import measure

    module, name = GROUPS[case.group]
    make: Callable[[Case], Work] = getattr(import_module(f"rtslib.benchmarks.{module}"), name)
    try:
        work = make(case)
    except Unavailable as e:
        return {"note": f"skipped: {e}"}
    measured = measure(work.call, case.device, repeats, work.parts)._asdict()
    counted = gflop(work.call) if work.counted else None
    difference = work.difference() if work.difference else None
    return {**measured, "gflop": counted, "difference": difference, "note": work.note() if work.note else ""}


def measure_apart(case: Case, repeats: int, threads: int) -> dict[str, Any]:
    """Measure a case in a process of its own; returns as `measure_case`. Raises RtsError: it failed; says how."""
    given = {"case": asdict(case), "repeats": repeats, "threads": threads}
    return apart("rtslib.benchmarks.speed:measure_once", given, OMP_NUM_THREADS=str(threads))


def measure_once(given: dict[str, Any]) -> None:
    """Measure one case in this process and print the answer as a line of JSON; `given` as `measure_apart` says it."""
    _set_threads(given["threads"])
    print(json.dumps(measure_case(Case(**given["case"]), given["repeats"])))


def measure_within(case: Case, repeats: int, threads: int) -> dict[str, Any]:
    """Measure a case in this process; returns as `measure_case`. Raises RtsError: it failed, as for want of memory."""
    _set_threads(threads)
    try:
        return measure_case(case, repeats)
    except Exception as e:  # what is measured is of many libraries, and the rest of the table is to come
        raise RtsError(" ".join(str(e).split())[:300]) from e
    finally:
        gc.collect()


def chosen(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """Return the cases whose key begins with one of some words; all without words.

    Raises:
        ConfigError: a word that no case begins with.
    """
    for word in only:
        if not any(c.key.startswith(word) for c in cases):
            groups = ", ".join(dict.fromkeys(c.group for c in cases))
            raise ConfigError(f"--only {word!r}: no such case; one begins with a group: {groups}")
    return [c for c in cases if not only or any(c.key.startswith(word) for word in only)]


def measure_speed(
    out: str | Path, device: str = "cpu", repeats: int = 5, threads: int = 2, only: Sequence[str] = (),
    quick: bool = False, in_process: bool = False,
) -> list[str]:  # fmt: skip
    """Measure all cases of a device, or some, and write table, manifest and chart.

    Args:
        out: folder.
        device: cpu or cuda.
        repeats: times each case is timed.
        threads: of the CPU.
        only: beginnings of keys (`Case.key`); the matrix product is always measured, as shares are shares of it.
        quick: at toy sizes.
        in_process: all in this process.

    Returns:
        The cases that failed, with the reason; their rows say so, too.

    Raises:
        ConfigError: the device is not there, or a word of `only` names nothing.
        OutputError: a file cannot be written.
    """
    import torch

    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"--device {device}: PyTorch finds no such device here; take cpu, or cuda on a GPU")
    every = all_cases(device, quick)
    cases = [c for c in every if c in chosen(every, only) or c.group == "matrix product"]
    measure = measure_within if in_process else measure_apart
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    rates: dict[str, float] = {}
    for case in cases:
        said = {k: v for k, v in asdict(case).items() if k != "given"} | {"threads": threads}
        found: dict[str, Any]
        try:
            found = measure(case, repeats, threads)
        except RtsError as e:
            found = {"note": f"failed: {e}"}
            failed.append(f"{case.key}: {e}")
        if case.group == "matrix product" and found.get("gflop"):
            rates[case.precision] = found["gflop"] / found["median_s"]
        rows.append({**dict.fromkeys(COLUMNS), **said, **found, **_share(found, rates.get(case.precision))})
        print(_line(rows[-1]), flush=True)
        save_table(pd.DataFrame(rows)[COLUMNS], Path(out) / _TABLE)
    _finish(Path(out), {"device": device, "threads": threads, "repeats": repeats, "quick": quick,
                        "in_process": in_process})  # fmt: skip
    return failed


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _share(found: dict[str, Any], rate: float | None) -> dict[str, float | None]:
    known = rate and found.get("gflop")
    return {"share_of_gemm": found["gflop"] / found["median_s"] / rate if known else None}


def _line(row: dict[str, Any]) -> str:
    name = f"{row['group']}: {row['case']}, {row['px']} px, batch {row['batch']}, {row['precision']}"
    if row["median_s"] is None:
        return f"{name:72} {row['note']}"
    memory = "" if row["peak_mib"] is None else f"{row['peak_mib']:8.0f} MiB"
    return f"{name:72} {row['median_s']:9.4f} s {memory}"


def _finish(out: Path, how: dict[str, Any]) -> None:
    """Draw the chart and write the manifest."""
    from rtslib.figures.speed import speed
    from rtslib.figures.style import save

    for suffix in ("svg", "png"):
        save(speed(out / _TABLE), out / "figures" / f"speed.{suffix}")
    made = {**commit(), **how, "versions": versions(), "hardware": hardware()}
    write_json(out / NAME, {**made, "outputs": outputs(out)})
