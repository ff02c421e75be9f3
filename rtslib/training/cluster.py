"""Workers: a Dask cluster of processes on this machine, or the scheduler of one that runs already.

On a cluster, Dask's own tools start the workers (dask-jobqueue for Slurm, see the README); what they read and write has
to be there under the same path for all of them.

Source: Rocklin 2015, "Dask: parallel computation with blocked algorithms and task scheduling".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rtslib.errors import ConfigError

if TYPE_CHECKING:
    from dask.distributed import Client


@contextmanager
def client(workers: int, scheduler: str = "") -> Iterator["Client"]:
    """Connect to a scheduler, or start workers here and stop them at the end.

    Args:
        workers: processes of one task each to start here; no matter with a scheduler.
        scheduler: address of a running one, such as `tcp://10.0.0.1:8786`; empty: start a local cluster.

    Raises:
        ConfigError: no worker, or no scheduler at the address.
    """
    from dask.distributed import Client, LocalCluster

    if scheduler:
        try:
            there = Client(scheduler, timeout=30)
        except (OSError, ValueError) as e:
            raise ConfigError(f"no Dask scheduler answers at {scheduler} ({e}): start one, or leave it out") from e
        with there:
            yield there
        return
    if workers < 1:
        raise ConfigError(f"workers={workers}: give at least one")
    knobs = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 40}
    with LocalCluster(processes=True, **knobs) as cluster, Client(cluster) as there:
        yield there
