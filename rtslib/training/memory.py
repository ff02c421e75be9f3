"""Peak memory of a training or a map: what a card, or a laptop, must have.

On a GPU it is what PyTorch had allocated at most; else the most that the process held in RAM (resident set,
interpreter and libraries included), which Linux can count anew from a given moment.

Source: torch.cuda.max_memory_allocated; proc(5), `clear_refs` and `VmHWM`; mallopt(3), malloc_trim(3).
"""

import ctypes
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Of malloc.h: M_ARENA_MAX; M_MMAP_THRESHOLD, as high as it may be; M_TRIM_THRESHOLD, bytes.
_HEAP = ((-8, 1), (-3, 32 << 20), (-1, 512 << 20))


def reset_peak() -> None:
    """Start counting anew; without effect where the system cannot."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if _RESET.exists():
        try:
            _RESET.write_text("5")
        except OSError:  # a container may forbid it; the peak then spans the whole process
            pass


def share_heap() -> None:
    """Let all threads of this process allocate from one heap, and keep what is freed in it for the next window.

    By default glibc gives each thread a heap of its own, and what is freed in one is of no use to the others: the
    peak then creeps up with the time that threads of different needs run side by side. And Dask starts its workers
    with a heap that shrinks at once (MALLOC_TRIM_THRESHOLD_), so that every tensor's pages are asked for anew, which
    makes a model half as fast. Without effect where the C library is not glibc.
    """
    for what, value in _HEAP:
        _glibc("mallopt", what, value)


def give_back() -> None:
    """Give freed memory back to the system (takes milliseconds); without effect where the C library is not glibc.

    Else tensors of ever other sizes tear the heap into pieces, and a process that has mapped a region holds hundreds
    of MiB more than one that has mapped a window.
    """
    _glibc("malloc_trim", 0)


def _glibc(name: str, *args: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if _STATUS.exists() else None
    if function is not None:
        function(*args)


def peak_mib() -> float | None:
    """Return the peak since `reset_peak` in MiB; None where the system does not tell."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak_resident_mib()


def peak_resident_mib() -> float | None:
    """Return the peak in RAM since `reset_peak` in MiB, with a GPU or without; None where the system does not tell."""
    if not _STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return round(int(lines["VmHWM"].split()[0]) / 1024, 1) if "VmHWM" in lines else None
