"""Timing: how long a call takes and how much memory it needs, on CPU or CUDA.

A call is warmed up, then repeated; the median counts, least and most say how quiet the machine was. On CUDA, which
works behind Python's back, the clock stops when the device has finished. *Peak* is what a call needs beyond what was
held before it (weights, inputs): of resident memory on the CPU, of what PyTorch allocated on CUDA.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from rtslib.training.memory import give_back, peak_resident_mib, reset_peak

#: Calls before the clock runs: on CUDA kernels are chosen and memory is found on the way.
WARM_UP = {"cpu": 1, "cuda": 3}


class Measured(NamedTuple):
    """Seconds a call (median, least, most) and its peak memory in MiB (None where the system does not tell)."""

    median_s: float
    min_s: float
    max_s: float
    peak_mib: float | None


def measure(call: Callable[[], Any], device: str, repeats: int, parts: int = 1) -> Measured:
    """Warm a call up, then time it.

    Args:
        call: what is measured; what it returns is dropped at once.
        device: cpu or cuda, where it works.
        repeats: times it is timed.
        parts: like things that one call does; seconds are of one of them.
    """
    base = _start_peak(device)
    taken = []
    for _ in range(WARM_UP[device] + repeats):
        start = time.perf_counter()
        call()
        wait(device)
        taken.append((time.perf_counter() - start) / parts)
    timed = taken[WARM_UP[device] :]
    return Measured(statistics.median(timed), min(timed), max(timed), _grown(device, base))


def wait(device: str) -> None:
    """Let CUDA finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def _start_peak(device: str) -> float | None:
    """Count the peak anew; return what is held now, MiB."""
    gc.collect()
    if device == "cuda":
        wait(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    give_back()
    reset_peak()
    return peak_resident_mib()


def _grown(device: str, base: float | None) -> float | None:
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else peak_resident_mib()
    return None if base is None or peak is None else max(0.0, peak - base)
