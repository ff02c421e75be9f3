"""Before and after: does a change pay? The same cases by this code and by a checkout of an earlier commit.

    python -m rtslib benchmark before CHECKOUT --out DIR --only "training quick"

Both take turns, a process each, so that what else the machine does falls on both alike; the ratio of their medians
over the rounds counts. The cases are those of this code (`rtslib.benchmarks.cases`), run on the models of either.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from rtslib.benchmarks.cases import Case, all_cases
from rtslib.benchmarks.speed import chosen
from rtslib.errors import DataError, RtsError
from rtslib.files import ROOT, save_table
from rtslib.provenance import commit

#: Imports rtslib of the folder it is started in, and its benchmarks from here.
_ONE = """
import json, sys
import rtslib.benchmarks
rtslib.benchmarks.__path__.insert(0, sys.argv[2])
from rtslib.benchmarks.speed import measure_once
measure_once(json.loads(sys.argv[1]))
"""


def compare(
    checkout: str | Path, out: str | Path, only: Sequence[str], rounds: int = 5, threads: int = 2, quick: bool = False
) -> pd.DataFrame:
    """Measure cases by turns and write `out/tables/before.csv`, a row a case.

    Args:
        checkout: folder of another commit; its rtslib has the same modules.
        out: folder.
        only: beginnings of keys, see `rtslib.benchmarks.speed.chosen`.
        rounds: turns of each.
        threads: of the CPU.
        quick: cases at toy sizes.

    Returns:
        Columns commit (of the checkout, 12 digits), group, case, px, batch, threads, rounds, before_s and after_s
        (medians of the rounds), ratio (before over after), low and high (least and most of the rounds' own ratios),
        before_mib and after_mib (medians of the peaks).

    Raises:
        ConfigError: a word of `only` names nothing.
        DataError: the checkout is none of rtslib.
        RtsError: a case failed; says how.
    """
    root = Path(checkout).resolve()
    if not (root / "rtslib" / "__init__.py").exists():
        raise DataError(checkout, "no rtslib/__init__.py", "a checkout of another commit of rtslib")
    rows = []
    for case in chosen(all_cases("cpu", quick), only):
        turns = [[_measured(case, where, threads) for where in (root, ROOT)] for _ in range(rounds)]
        rows.append({"commit": str(commit(root)["commit"])[:12], **_said(case), "threads": threads, "rounds": rounds,
                     **_medians(turns)})  # fmt: skip
        print(f"{case.key:56} {rows[-1]['before_s']:8.4f} s, {rows[-1]['after_s']:8.4f} s: {rows[-1]['ratio']:.2f}x")
        save_table(pd.DataFrame(rows), Path(out) / "tables" / "before.csv")
    return pd.DataFrame(rows)


def _said(case: Case) -> dict[str, Any]:
    return {name: getattr(case, name) for name in ("group", "case", "px", "batch")}


def _measured(case: Case, root: Path, threads: int) -> dict[str, Any]:
    """Measure a case once by the code of a checkout, in a process of its own."""
    given = json.dumps({"case": asdict(case), "repeats": 3, "threads": threads})
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", _ONE, given, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=root)
    if done.returncode:
        raise RtsError(f"{case.key} in {root.name}: {' '.join(done.stderr.splitlines()[-1:])}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "median_s" not in found:
        raise RtsError(f"{case.key}: {found['note']}")
    return found


def _medians(turns: Sequence[Sequence[dict[str, Any]]]) -> dict[str, float]:
    before, after = ([pair[i] for pair in turns] for i in (0, 1))
    own = [b["median_s"] / a["median_s"] for b, a in turns]
    seconds = [statistics.median(x["median_s"] for x in side) for side in (before, after)]
    peaks = [statistics.median(x["peak_mib"] or 0.0 for x in side) for side in (before, after)]
    return {
        "before_s": seconds[0], "after_s": seconds[1], "ratio": seconds[0] / seconds[1], "low": min(own),
        "high": max(own), "before_mib": peaks[0], "after_mib": peaks[1],
    }  # fmt: skip
