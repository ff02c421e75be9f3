"""The manifest: what produced a folder of results, and what is in it.

`manifest.json` names the commit (and whether tracked sources differed from it), profile, knobs and seeds,
package versions, hardware, seconds per notebook, and SHA-256 of inputs and of every output, so that a number
in a table can be traced to the code and data it came from, and a changed file be seen. It holds no path or
name of the machine.

`seconds` are read from the executed notebooks, where papermill notes them, so that a partial run
(`--only 03`) leaves the times of the others in place.
"""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rtslib.files import read_json, sha256, write_json

ROOT = Path(__file__).resolve().parents[2]
NAME = "manifest.json"
#: Packages whose versions can change numbers or figures.
PACKAGES = (
    "torch", "torchvision", "timm", "lightning", "numpy", "scipy", "scikit-image", "pandas", "pycocotools",
    "rasterio", "geopandas", "shapely", "pyogrio", "matplotlib", "leafmap", "maplibre", "papermill",
    "jupyterlab",
)  # fmt: skip


def write_manifest(out: str | Path, profile: str, data: str = "", seed: int = 0) -> Path:
    """Describe a folder of results in `out/manifest.json`.

    Args:
        out: folder that the notebooks wrote to.
        profile: key of `rtslib.config.PROFILES`.
        data: folder of chips, relative to the repository root; empty for the embedded landscape.
        seed: as given to the notebooks.

    Returns:
        Path of the manifest.

    Raises:
        DataError: a file of the folder cannot be read.
        OutputError: the manifest cannot be written.
    """
    from rtslib.config import PROFILES, Config

    out = Path(out)
    models = ROOT / "runs" / f"{Path(data).name if data else 'synthetic'}-{profile}" / "models"
    found = [p for p in sorted(models.glob("*/*/config.json")) if not p.parent.name.endswith(".previous")]
    runs = {p.parent.relative_to(models).as_posix(): Config.load(p).model_dump(exclude_defaults=True) for p in found}
    value = {
        **commit(),
        "profile": profile,
        "seed": seed,
        "settings": PROFILES[profile],
        "runs": runs,
        "seeds": {name: config.get("seed", 0) for name, config in runs.items()},
        "versions": versions(),
        "hardware": hardware(),
        "seconds": seconds(out),
        "inputs": inputs(out, data),
        "outputs": outputs(out),
    }
    write_json(out / NAME, value)
    return out / NAME


def refresh(out: str | Path) -> None:
    """Write the hashes of a folder's files anew, as after charts were redrawn; nothing without a manifest."""
    path = Path(out) / NAME
    if path.exists():
        write_json(path, {**read_json(path), "outputs": outputs(out)})


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
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_gib": round(memory, 1),
        "gpu": gpus,
    }


def seconds(out: str | Path) -> dict[str, float | None]:
    """Return the wall time in s of each executed notebook, by its name."""
    times = {}
    for path in sorted(Path(out).glob("notebooks/[0-9][0-9]_*.ipynb")):
        if not path.name.endswith(".failed.ipynb"):
            times[path.stem] = read_json(path)["metadata"].get("papermill", {}).get("duration")
    return times


def inputs(out: str | Path, data: str) -> dict[str, Any]:
    """Return the data's description as notebook 01 left it, and SHA-256 of lock and source notebooks."""
    described = Path(out) / "tables" / "data.json"
    return {
        "data": data or "embedded synthetic landscape",
        "chips": read_json(described) if described.exists() else None,
        "lock": sha256(ROOT / "requirements.lock") if (ROOT / "requirements.lock").exists() else None,
        "notebooks": {p.name: sha256(p) for p in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))},
    }


def outputs(out: str | Path) -> dict[str, str]:
    """Return path relative to `out` -> SHA-256 of every file below it, but the manifest and replaced runs."""
    out = Path(out)
    files = sorted(p for p in out.rglob("*") if p.is_file() and p != out / NAME)
    names = [p.relative_to(out) for p in files]
    return {n.as_posix(): sha256(out / n) for n in names if not any(x.endswith(".previous") for x in n.parts)}


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
