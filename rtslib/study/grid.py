"""Many runs at once: every run of a study, for several seeds (and folds), by the workers of a Dask cluster.

A run is trained, or recognised as finished, then it predicts on its validation and test chips, also with a modality
missing. It waits for those that it starts from, and has a process of its own (`rtslib.study.process`). A run of a
worker that is lost is done again by another one, from its last epoch; a study that was killed goes on likewise, as
finished runs and predictions are recognised. So a kill of either loses at most an epoch.

Where workers offer the resource GPU (`dask worker --resources GPU=1`, each with a card of its own), a run takes one.
"""

import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rtslib.errors import ConfigError, TrainingError
from rtslib.study.plan import needed
from rtslib.study.process import in_own_process
from rtslib.study.study import Study, StudyRun
from rtslib.training.cluster import client


@dataclass(frozen=True)
class Perform:
    """Makes a run and all its predictions; what travels to the process of the run."""

    run: StudyRun

    def __call__(self) -> float:
        """Return the seconds it took. Raises as `StudyRun.make`."""
        start = time.monotonic()
        self.run.make(progress=False)
        for case in self.run.wanted:
            self.run.predictions(*case)
        return time.monotonic() - start


def study_runs(
    study: Study, names: Sequence[str] = (), seeds: Sequence[int] = (0,), folds: Sequence[int] = ()
) -> list[StudyRun]:
    """List the runs of a study, those that others start from first; for a transfer also those of another study.

    Args:
        study: on one split.
        names: runs of the plan; empty: all.
        seeds: of training.
        folds: which of the folds of cross-validation (`rtslib.study.study.FOLDS`); none: one split.

    Raises:
        ConfigError: no seed, or a name that the plan does not have.
    """
    if not seeds:
        raise ConfigError("no seed given: name at least one")
    parts = [replace(study, fold=fold) for fold in folds] or [study]
    chosen = needed(parts[0].plan, names or parts[0].plan)
    sources = [s for n in chosen for s in parts[0].run(n).starts.values() if s.study != parts[0]]
    out = study_runs(sources[0].study, sorted({s.name for s in sources}), seeds) if sources else []
    return out + [part.run(n, seed) for seed in seeds for part in parts for n in chosen]


def perform_all(
    listed: Sequence[StudyRun], workers: int = 2, scheduler: str = "", say: Callable[[str], None] = print
) -> None:
    """Make all runs, those first that others start from; the first error stops the rest.

    Args:
        listed: each after those it starts from.
        workers: processes to start here; the cores are shared out among them.
        scheduler: address of a Dask scheduler to use instead.
        say: called with a line for each run that is done.

    Raises:
        ConfigError: no worker, or no scheduler at the address.
        RtsError: as `StudyRun.make`; what is finished stays.
    """
    done: set[StudyRun] = set()
    for run in listed:
        if done.issuperset(run.starts.values()) and run.is_done:
            done.add(run)
    waiting = [run for run in listed if run not in done]
    if done:
        say(f"{len(done)} of {len(listed)} are there already")
    if waiting:
        _submit_all(waiting, len(done), workers, scheduler, say)


def _submit_all(
    waiting: Sequence[StudyRun], done: int, workers: int, scheduler: str, say: Callable[[str], None]
) -> None:
    """Give runs to workers, and tell of each when it is done."""
    from dask.distributed import KilledWorker, as_completed

    threads = 0 if scheduler else max(1, (os.cpu_count() or 1) // max(workers, 1))
    total = done + len(waiting)
    with client(workers, scheduler) as there:
        offered = [w.get("resources", {}) for w in there.scheduler_info(n_workers=-1)["workers"].values()]
        resources = {"GPU": 1} if any(r.get("GPU") for r in offered) else None
        futures: dict = {}
        for run in waiting:
            after = [futures[s] for s in set(run.starts.values()) if s in futures]
            task = pickle.dumps(Perform(run))
            futures[run] = there.submit(in_own_process, task, threads, *after, pure=False, resources=resources)
        names = {future.key: run for run, future in futures.items()}
        for future in as_completed(list(futures.values())):
            run = names[future.key]
            if future.status != "finished":
                there.cancel(list(futures.values()))
                say(f"{run.label}: stopped by an error")
                error = future.exception()
                if isinstance(error, KilledWorker):
                    raise TrainingError(f"workers died again and again on {run.label}: give it more memory") from error
                raise error
            done += 1
            where = f"{run.study.profile} {run.study.data or 'landscape'}"
            say(f"{done} of {total}: {run.label}, {where}, {future.result():.0f} s")
