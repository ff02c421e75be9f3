"""Many runs at once: every run of a study, for several seeds (and folds), in a few processes.

A *task* is one run with one seed: train it, or recognise it as finished, then predict on its validation and test
chips, also with a modality missing. Tasks wait for those that they start from. Each has a process of its own, so
that its peak memory is its own, and as many threads as there are cores to a process. A study that was killed goes
on where it stopped: finished runs and predictions are recognised, a run that was cut off resumes at its last epoch.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from rtslib.errors import ConfigError
from rtslib.study import study
from rtslib.study.plan import TRIED_WITHOUT, needed

#: Parts of test chips that each secondary modality is hidden from; see `rtslib.data.missing`.
HIDDEN_PARTS = ("all", "left")


@dataclass(frozen=True)
class Task:
    """One run with one seed.

    Attributes:
        name: of the run in the plan.
        data, profile: as for `rtslib.study.study.prepare`.
        kind: two_stage or transfer.
        seed: of training; split_seed: of landscape, split and folds.
        fold: in cross-validation; None: the split of `prepare`.
    """

    name: str
    data: str
    profile: str
    kind: str
    seed: int
    split_seed: int = 0
    fold: int | None = None

    @property
    def folder(self) -> Path:
        """Folder of the runs of this kind, seed and fold."""
        return study.models_folder(self.data, self.profile, self.split_seed, self.seed, self.fold, self.kind)

    @property
    def landscape(self) -> Path:
        """Folder of the landscape's runs that a transfer with this seed starts from."""
        return study.models_folder("", study.landscape_of(self.profile), 0, self.seed)

    @property
    def label(self) -> str:
        """Name, seed and fold, to be read."""
        return f"{self.name}, seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


def tasks(
    data: str,
    profile: str,
    kind: str,
    names: Sequence[str],
    seeds: Sequence[int],
    folds: Sequence[int] = (),
    split_seed: int = 0,
) -> list[Task]:
    """List the tasks of a study, those that others start from first; for a transfer also the landscape's.

    Args:
        data, profile: as for `rtslib.study.study.prepare`.
        kind: two_stage or transfer.
        names: runs of the plan; empty: all.
        seeds: of training.
        folds: which of the folds of cross-validation (`rtslib.study.study.FOLDS`); none: one split.
        split_seed: of landscape, split and folds.

    Raises:
        ConfigError: no seed, or a name that the plan does not have.
    """
    if not seeds:
        raise ConfigError("no seed given: name at least one")
    chipset, _ = opened(data, profile, split_seed, folds[0] if folds else None)
    plan = study.planned(chipset, profile, kind)
    chosen = needed(plan, names or plan)
    out: list[Task] = []
    if kind == "transfer":
        sources = sorted({s for n in chosen if plan[n].landscape for s in plan[n].starts.values()})
        out += tasks("", study.landscape_of(profile), "two_stage", sources, seeds) if sources else []
    for seed in seeds:
        for fold in folds or [None]:
            out += [Task(n, data, profile, kind, seed, split_seed, fold) for n in chosen]
    return out


@cache
def opened(data: str, profile: str, split_seed: int, fold: int | None) -> "tuple[Any, pd.DataFrame]":
    """Return chips and split of a task; read once a process."""
    return study.chips_and_split(data, profile, split_seed, fold)


def perform(task: Task, threads: int, parent: int = 0) -> float:
    """Do one task in this process; return the seconds it took. Raises as `rtslib.study.study.make`.

    With `parent`, a process id, this process ends when that one is gone: a worker that outlives a killed study
    would write into the runs of the next.
    """
    import torch

    from rtslib.study.scores import predictions

    if parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    start = time.monotonic()
    torch.set_num_threads(threads)
    chipset, split = opened(task.data, task.profile, task.split_seed, task.fold)
    run = study.make(task.name, chipset, split, task.profile, task.seed, task.folder, task.kind, task.landscape)
    for side, hidden in _wanted(task, split):
        predictions(run, chipset, split, side, hidden)
    return time.monotonic() - start


def is_done(task: Task) -> bool:
    """Tell whether a task's run and all its predictions are there. Raises as `rtslib.study.study.is_made`."""
    from rtslib.training.runs import predictions_file

    chipset, split = opened(task.data, task.profile, task.split_seed, task.fold)
    files = [predictions_file(task.folder / task.name, side, hidden) for side, hidden in _wanted(task, split)]
    return all(f.exists() for f in files) and study.is_made(
        task.name, chipset, split, task.profile, task.seed, task.folder, task.kind, task.landscape
    )


def _wanted(task: Task, split: pd.DataFrame) -> list[tuple[str, dict[str, str]]]:
    """List the predictions of a task: (side, what is hidden)."""
    sides = [(side, {}) for side in ("val", "test") if side in set(split["side"])]
    return sides + [("test", {modality: part}) for modality, part in hidden_cases(task)]


def hidden_cases(task: Task) -> list[tuple[str, str]]:
    """List what is hidden from test chips, to see what a run does without: (modality, part); none for most runs.

    All modalities of the run but its primary one, the last one first.
    """
    chipset, _ = opened(task.data, task.profile, task.split_seed, task.fold)
    if task.kind != "two_stage" or task.name not in TRIED_WITHOUT:
        return []
    return [(m, part) for m in reversed(list(chipset.modalities())[1:]) for part in HIDDEN_PARTS]


def perform_all(listed: Sequence[Task], workers: int = 2, say: Callable[[str], None] = print) -> None:
    """Do all tasks, in `workers` processes; the first error stops the rest.

    Raises:
        ConfigError: no worker.
        RtsError: as `perform`; what is finished stays.
    """
    if workers < 1:
        raise ConfigError(f"workers={workers}: give at least one")
    threads = max(1, (os.cpu_count() or 1) // workers)
    done = {task for task in listed if is_done(task)}
    waiting, running = [task for task in listed if task not in done], {}
    if done:
        say(f"{len(done)} of {len(listed)} are there already")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1)
    with _environment("OMP_NUM_THREADS", str(threads)), pool:  # read when a worker imports torch
        while waiting or running:
            for task in [t for t in waiting if _ready(t, listed, done)][: workers - len(running)]:
                waiting.remove(task)
                running[pool.submit(perform, task, threads, os.getpid())] = task
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                _finish(future, running, done, len(listed), say, pool)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable, for processes that are started meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _finish(future: Future, running: dict, done: set, total: int, say: Callable, pool: ProcessPoolExecutor) -> None:
    """Note one finished task; on its error let no other one start."""
    task = running.pop(future)
    if future.exception() is not None:
        pool.shutdown(wait=True, cancel_futures=True)
        say(f"{task.label}: stopped by an error")
        raise future.exception()
    done.add(task)
    say(f"{len(done)} of {total}: {task.label}, {task.profile} {task.data or 'landscape'}, {future.result():.0f} s")


def _ready(task: Task, listed: Sequence[Task], done: set) -> bool:
    """Whether all that a task starts from, and that is on the list, is done."""
    chipset, _ = opened(task.data, task.profile, task.split_seed, task.fold)
    run = study.planned(chipset, task.profile, task.kind)[task.name]
    sources = set(run.starts.values())
    if run.landscape:
        mine = [t for t in listed if t.kind == "two_stage" and not t.data and t.seed == task.seed and t.name in sources]
    else:
        mine = [t for t in listed if t.folder == task.folder and t.name in sources]
    return all(t in done for t in mine)
