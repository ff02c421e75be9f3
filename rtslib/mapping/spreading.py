"""Spreading: the blocks of a map over several processes or machines, with Dask.

One task is one block. A worker loads the model once, reads its own windows and writes its own shard, so only places
and counts travel. Blocks of a worker that is lost are done by another one; a block that is on disk already is not
done again. The folder of the map, the run and the rasters have to be there under the same path for all workers.

Without the address of a scheduler, processes are started on this machine (`rtslib.training.cluster`).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rtslib.errors import ConfigError, WeightsError, one_line
from rtslib.mapping.judging import run_blocks
from rtslib.mapping.plan import Block, Plan
from rtslib.mapping.shards import finished
from rtslib.models.model import Model
from rtslib.models.tta import turned
from rtslib.training.cluster import client
from rtslib.training.runs import Run
from rtslib.training.weights import load_onto_device

#: The models that this process has loaded.
_LOADED: dict[Any, Model] = {}


@dataclass(frozen=True)
class FromRun:
    """Loads the model of a run, on the GPU if there is one.

    Args:
        run: its folder.
        digest: `rtslib.training.runs.Run.digest`, by which a worker knows that what it has loaded is another model, or
            that its own view of the folder is; empty: not known.
        tta: it sees windows turned (`rtslib.models.tta`), also where the run's config does not say so.
    """

    run: str
    digest: str = ""
    tta: bool = False

    def __call__(self) -> Model:
        """Return the model. Raises WeightsError if the run is another one now; or as `load_model`."""
        run = Run(Path(self.run))
        if self.digest and run.digest != self.digest:
            raise WeightsError(f"{run}: its weights or knobs changed since the map began: map anew (--overwrite)")
        return turned(load_onto_device(run)) if self.tta else load_onto_device(run)


@dataclass(frozen=True)
class Spread:
    """Does the blocks of a map with Dask; give it to `rtslib.mapping.maps.map_region` in place of a model.

    Args:
        load: returns the model, in a worker; hashable and picklable, such as `FromRun`.
        workers: processes to start on this machine; no matter with a scheduler.
        scheduler: address of a running one, such as `tcp://10.0.0.1:8786`; empty: start a local cluster.
        threads: of PyTorch in each worker; 0: the cores of this machine, shared out.
    """

    load: Callable[[], Model]
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
        with client(self.workers, self.scheduler) as there:
            place = str(Path(shards).resolve())
            futures = [there.submit(_do, self.load, lean, block, place, threads, pure=False) for block in blocks]
            try:
                for _, marker in as_completed(futures, with_results=True):
                    done(marker)
            except KilledWorker as e:
                raise ConfigError(
                    f"workers died again and again on one block ({one_line(e)}): most often for lack of memory; resume "
                    "with fewer workers or a smaller batch_size"
                ) from e


def _do(load: Callable[[], Model], todo: Plan, block: Block, shards: str, threads: int) -> dict[str, Any]:
    """Do one block in a worker, unless it is on disk; returns its marker."""
    there = finished(shards, block.index)
    if there is not None:
        return there
    torch.set_num_threads(threads)
    if load not in _LOADED:
        _LOADED.clear()  # one model is in memory, however many maps a worker lives through
        _LOADED[load] = load()
    markers: list[dict] = []
    run_blocks(_LOADED[load], todo, [block], shards, markers.append)
    return markers[0]
