"""Spreading: the blocks of a map over several processes or machines, with Dask.

One task is one block. A worker loads the model once, reads its own windows and writes its own shard, so only places
and counts travel. Blocks of a worker that is lost are done by another one; a block that is on disk already is not
done again. The folder of the map, the run and the rasters have to be there under the same path for all workers.

Without the address of a scheduler a `LocalCluster` of processes is started on this machine. On a cluster, Dask's
own tools start the workers (dask-jobqueue for Slurm, see the README).

Source: Rocklin 2015, "Dask: parallel computation with blocked algorithms and task scheduling".
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtslib.errors import ConfigError, one_line
from rtslib.mapping.plan import Block, Plan
from rtslib.mapping.shards import finished

if TYPE_CHECKING:
    from dask.distributed import Client
    from torch import nn

#: The models that this process has loaded.
_LOADED: dict[Any, "nn.Module"] = {}


@dataclass(frozen=True)
class FromRun:
    """Loads the model of a run, on the GPU if there is one."""

    run: str

    def __call__(self) -> "nn.Module":
        """Return the model. Raises as `rtslib.training.runs.load_run`."""
        from rtslib.training.runs import load_onto_device

        return load_onto_device(self.run)[0]


@dataclass(frozen=True)
class Spread:
    """Does the blocks of a map with Dask; give it to `rtslib.mapping.maps.map_region` in place of a model.

    Args:
        load: returns the model, in a worker; hashable and picklable, such as `FromRun`.
        workers: processes to start on this machine; no matter with a scheduler.
        scheduler: address of a running one, such as `tcp://10.0.0.1:8786`; empty: start a local cluster.
        threads: of PyTorch in each worker; 0: the cores of this machine, shared out.
    """

    load: Callable[[], "nn.Module"]
    workers: int = 2
    scheduler: str = ""
    threads: int = 0

    def __call__(self, todo: Plan, blocks: Sequence[Block], shards: Path, done: Callable[[dict], None]) -> None:
        """Do blocks of a plan; `done` is called with each marker as it comes.

        Raises:
            ConfigError: no worker, or no scheduler at the address.
            RtsError: as `rtslib.mapping.judging.run_blocks`, from the worker that failed first; finished shards stay.
        """
        from dask.distributed import KilledWorker, as_completed

        if not blocks:
            return
        lean = replace(todo, blocks=())  # travels with every task, so that no worker's loss takes it away
        threads = self.threads or max(1, (os.cpu_count() or 1) // max(self.workers, 1))
        with _client(self.workers, self.scheduler) as client:
            place = str(Path(shards).resolve())
            futures = [client.submit(_do, self.load, lean, block, place, threads, pure=False) for block in blocks]
            try:
                for _, marker in as_completed(futures, with_results=True):
                    done(marker)
            except KilledWorker as e:
                raise ConfigError(
                    f"workers died again and again on one block ({one_line(e)}): most often for lack of memory; resume "
                    "with fewer workers or a smaller batch_size"
                ) from e


def _do(load: Callable[[], "nn.Module"], todo: Plan, block: Block, shards: str, threads: int) -> dict[str, Any]:
    """Do one block in a worker, unless it is on disk; returns its marker."""
    import torch

    from rtslib.mapping.judging import run_blocks

    there = finished(shards, block.index)
    if there is not None:
        return there
    torch.set_num_threads(threads)
    if load not in _LOADED:
        _LOADED[load] = load()
    markers: list[dict] = []
    run_blocks(_LOADED[load], todo, [block], shards, markers.append)
    return markers[0]


@contextmanager
def _client(workers: int, scheduler: str) -> Iterator["Client"]:
    """Connect to a scheduler, or start workers here and stop them at the end."""
    from dask.distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout=30)
        except (OSError, ValueError) as e:
            raise ConfigError(
                f"no Dask scheduler answers at {scheduler} ({e}): start one, or leave the address out"
            ) from e
        with client:
            yield client
        return
    if workers < 1:
        raise ConfigError(f"workers={workers}: give at least one")
    knobs = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 40}
    with LocalCluster(processes=True, **knobs) as cluster, Client(cluster) as client:
        yield client
