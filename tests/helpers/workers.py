"""Processes that start at once."""

import multiprocessing
from multiprocessing import forkserver

import dask
import pytest


@pytest.fixture
def warm_workers(monkeypatch):
    """Dask's workers are processes still, but forked from one that has imported what a map needs, which takes seconds.

    Yields the context of `multiprocessing` that starts processes likewise. That a fresh one has all it needs is for
    tests without this fixture.
    """
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # as Dask gives its workers
        multiprocessing.set_forkserver_preload(["distributed", "rtslib.mapping.maps", "rtslib.training.weights"])
        forkserver.ensure_running()  # before Dask asks for another preload
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield multiprocessing.get_context("forkserver")
