"""The manifest: what produced a folder of results, and what is in it.

`manifest.json` names the commit (and whether tracked sources differed from it), profile, knobs and seeds,
package versions, hardware, seconds per notebook, and SHA-256 of inputs and of every output, so that a number
in a table can be traced to the code and data it came from, and a changed file be seen. It holds no path or
name of the machine.

`seconds` are read from the executed notebooks, where papermill notes them, so that a partial run
(`--only 03`) leaves the times of the others in place.
"""

from pathlib import Path
from typing import Any

from rtslib.config import Config
from rtslib.files import ROOT, read_json, sha256, write_json
from rtslib.provenance import commit, hardware, versions
from rtslib.study.profiles import place, settings
from rtslib.training.runs import Run

NAME = "manifest.json"


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
    out = Path(out)
    models = place(data, profile) / "models"
    found = [p for p in sorted(models.glob("*/*/config.json")) if not p.parent.name.endswith(".previous")]
    runs = {p.parent.relative_to(models).as_posix(): Config.load(p).model_dump(exclude_defaults=True) for p in found}
    value = {
        **commit(), "profile": profile, "seed": seed, "settings": settings(profile), "runs": runs,
        "seeds": {name: config.get("seed", 0) for name, config in runs.items()}, "versions": versions(),
        "hardware": hardware(), "seconds": seconds(out), "inputs": inputs(out, data), "outputs": outputs(out),
    }  # fmt: skip
    write_json(out / NAME, value)
    return out / NAME


def say_how(out: str | Path, run: Run) -> None:
    """Describe a folder of measurements of one run: commit, the run and its weights, versions, hardware, hashes.

    Raises:
        DataError: the run has no weights. OutputError: the manifest cannot be written.
    """
    made = {**commit(), "run": run.name, **run.provenance, "versions": versions(), "hardware": hardware()}
    write_json(Path(out) / NAME, {**made, "outputs": outputs(out)})


def refresh(out: str | Path) -> None:
    """Write the hashes of a folder's files anew, as after charts were redrawn; nothing without a manifest."""
    path = Path(out) / NAME
    if path.exists():
        write_json(path, {**read_json(path), "outputs": outputs(out)})


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
    """Return path relative to `out` -> SHA-256 of every file below it, but the manifest and the runs in `models/`."""
    out = Path(out)
    files = [p.relative_to(out) for p in sorted(out.rglob("*")) if p.is_file() and p != out / NAME]
    return {n.as_posix(): sha256(out / n) for n in files if n.parts[0] != "models"}
