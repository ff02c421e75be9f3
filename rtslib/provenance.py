"""Provenance: the commit, the versions and the machine that made a result. None of it names the machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rtslib.files import ROOT

#: Packages whose versions can change numbers or figures.
PACKAGES = (
    "torch", "torchvision", "timm", "lightning", "numpy", "scipy", "scikit-image", "scikit-learn", "pandas",
    "pycocotools", "rasterio", "geopandas", "shapely", "pyogrio", "matplotlib", "leafmap", "maplibre", "papermill",
    "jupyterlab",
)  # fmt: skip


def commit(root: str | Path = ROOT) -> dict[str, Any]:
    """Return `commit` (40 digits, or None outside a repository or before its first commit) and `dirty`.

    Dirty means that tracked files other than results differ from the commit; None if there is no commit.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return {"commit": None, "dirty": None}
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    return {"commit": head, "dirty": bool(changed)}


def versions() -> dict[str, str | None]:
    """Return Python's version and those of `PACKAGES`; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def hardware() -> dict[str, Any]:
    """Return system, CPU model, number of cores this process may use, memory in GiB, and GPUs if any."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}", "cpu": _cpu_model(), "cores": cores,
        "memory_gib": round(memory, 1), "gpu": gpus,
    }  # fmt: skip


def _git(root: str | Path, *args: str) -> str:
    """Return what git prints, stripped; empty where git, the repository or the answer is missing."""
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    """Return the processor's name: from /proc on Linux, else as Python knows it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
