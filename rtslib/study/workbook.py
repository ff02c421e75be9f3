"""The workbook: numbered notebooks, run in order without a browser.

A *notebook* is a source, `notebooks/NN_name.ipynb`, kept without outputs, with one cell tagged
`parameters`. Running it leaves an *executed copy*, `OUT/notebooks/NN_name.ipynb`; one that fails leaves
`NN_name.failed.ipynb` instead, with the traceback in it. A *profile* (smoke, quick, overnight, gpu) sets sizes and
knobs (`rtslib.config.PROFILES`). Relative paths in notebooks mean the repository root.

papermill (https://papermill.readthedocs.io) executes; what it leaves open is closed here: parameters that
a notebook does not have are errors, copies appear whole, without paths of this machine and widget state.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtslib.errors import ConfigError, DataError, OutputError, WorkbookError
from rtslib.files import ROOT, whole, write_text
from rtslib.study.manifest import write_manifest
from rtslib.study.profiles import place, settings
from rtslib.study.record import compare
from rtslib.study.scene import why_no_scene
from rtslib.study.study import Study
from rtslib.study.tidy import tidy, tidy_copy

#: Seconds a single cell may take before it is stopped.
CELL_TIMEOUT = 48 * 3600
#: Notebooks that fuse modalities, map a scene, and cut chips: what a data set leaves nothing to do for is left out.
FUSE, MAP, CUT = ("03", "04"), ("05",), ("00",)
#: Notebooks that run only when asked for by number: the whole fusion study takes an hour (`make study`).
ASKED_FOR = ("06",)


def notebooks(folder: str | Path = ROOT / "notebooks", only: str = "") -> list[Path]:
    """Return the numbered notebooks in order.

    Args:
        folder: where they are.
        only: comma-separated numbers (`03` or `3,5`); empty for all but `ASKED_FOR`.

    Raises:
        WorkbookError: there is none, or none with a number asked for.
    """
    found = {p.name[:2]: p for p in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise WorkbookError(f"{folder} holds no notebook named NN_name.ipynb: run this from a checkout")
    wanted = [n.strip().zfill(2) for n in only.split(",") if n.strip()]
    if missing := [n for n in wanted if n not in found]:
        raise WorkbookError(f"no notebook is numbered {', '.join(missing)}: there are {', '.join(found)}")
    return [found[n] for n in (sorted(set(wanted)) or [n for n in found if n not in ASKED_FOR])]


def parameter_names(notebook: str | Path) -> list[str]:
    """Return the names that a notebook's `parameters` cell assigns.

    Raises:
        WorkbookError: the file is no notebook, or it has not exactly one cell tagged `parameters`.
    """
    import nbformat
    import papermill

    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except Exception as e:  # nbformat has no common base class for what it raises
        raise WorkbookError(f"{notebook} is no readable notebook: {_last_line(e)}") from e
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise WorkbookError(f"{notebook} has {len(tagged)} cells tagged `parameters`: tag exactly one")
    return list(papermill.inspect_notebook(str(notebook)))


def check_parameters(notebook: str | Path, given: Mapping[str, Any]) -> None:
    """Check that a notebook has all parameters given.

    Raises:
        WorkbookError: it has not; lists those it has. Or as `parameter_names`.
    """
    names = parameter_names(notebook)
    if unknown := [n for n in given if n not in names]:
        odd = ", ".join(map(repr, unknown))
        raise WorkbookError(f"{Path(notebook).name} has no parameter {odd}: it has {', '.join(names)}")


def execute(
    notebook: str | Path, out: str | Path, parameters: Mapping[str, Any], *, timeout: int = CELL_TIMEOUT
) -> Path:
    """Run one notebook and keep the executed copy.

    Args:
        notebook: the source; it is not changed.
        out: the copy goes to `out/notebooks/`, under the source's name.
        parameters: name -> value, set after the `parameters` cell.
        timeout: seconds that a cell may take.

    Returns:
        Path of the executed copy.

    Raises:
        WorkbookError: a parameter is unknown, or a cell failed or took too long (names the cell and the last
            line of the error; the failed copy is kept beside where the executed one would be).
        OutputError: `out` cannot be written.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    notebook = Path(notebook)
    check_parameters(notebook, parameters)
    target = Path(out) / "notebooks" / notebook.name
    failed = target.with_suffix(".failed.ipynb")
    with whole(target) as part:
        try:
            quiet = ["--IPKernelApp.log_level=CRITICAL"]  # else each kernel warns of its (local) TCP transport
            papermill.execute_notebook(
                str(notebook), str(part), dict(parameters), cwd=str(ROOT), kernel_name="python3",
                log_output=True, progress_bar=False, execution_timeout=timeout, store_widget_state=False,
                extra_arguments=quiet,
            )  # fmt: skip
        except (PapermillExecutionError, CellTimeoutError, DeadKernelError) as e:
            tidy_copy(part, _from_root(notebook), _from_root(failed))
            os.replace(part, failed)
            raise WorkbookError(f"{notebook.name}, {_what_failed(e)} (see {failed})") from e
        tidy_copy(part, _from_root(notebook), _from_root(target))
    failed.unlink(missing_ok=True)
    return target


def run(
    profile: str = "quick", *, data: str = "", seed: int = 0, out: str = "", only: str = "",
    extra: Mapping[str, Any] | None = None, timeout: int = CELL_TIMEOUT,
) -> Path:  # fmt: skip
    """Run the notebooks, write `manifest.json`, and say how the scores compare with those on record.

    Args:
        profile: a key of `rtslib.config.PROFILES`.
        data: folder of chips; empty for the embedded landscape.
        seed: of everything random.
        out: folder for all results; empty for `runs/SET-PROFILE` (`-study` for `ASKED_FOR` alone, `-seedN` but for 0),
            which git ignores.
        only: numbers of notebooks to run; empty for all but `ASKED_FOR`.
        extra: further notebook parameters; each notebook that runs must have them.
        timeout: seconds that a cell may take.

    Returns:
        The folder of the results.

    Raises:
        WorkbookError: unknown profile, number or parameter (before anything runs), or a failed notebook.
        DataError: `data` is no folder.
        OutputError: `out` cannot be written.
    """
    try:
        settings(profile)
    except ConfigError as e:
        raise WorkbookError(str(e)) from None
    if data and not Path(data).is_dir():
        raise DataError(data, "no such folder", "a folder of chips")
    chosen = notebooks(only=only)
    study = all(notebook.name[:2] in ASKED_FOR for notebook in chosen)
    ending = ("-study" if study else "") + (f"-seed{seed}" if seed else "")
    folder = Path(out) if out else place(data, profile, ending)
    values = {"data": _from_root(data), "profile": profile, "seed": seed, "out": _from_root(folder), **(extra or {})}
    for notebook in chosen:
        check_parameters(notebook, values)
    start = time.monotonic()
    with _log_file(folder / "workbook.log") as log:
        print(f"{len(chosen)} notebooks, profile {profile}; their output is logged to {log}", flush=True)
        for notebook in chosen:
            begin = time.monotonic()
            print(f"  {notebook.stem} ...", end="", flush=True)
            if why := why_left_out(notebook, data, profile, seed):
                print(f" left out. {why}", flush=True)
                continue
            execute(notebook, folder, values, timeout=timeout)
            print(f" {time.monotonic() - begin:.0f} s", flush=True)
    manifest = write_manifest(folder, profile, values["data"], seed)
    print(f"done in {time.monotonic() - start:.0f} s; results in {folder}, listed in {manifest.name}")
    print(compare(folder))
    return folder


def why_left_out(notebook: Path, data: str, profile: str, seed: int) -> str:
    """Say in one sentence why a data set leaves nothing to do for a notebook; empty where there is.

    Raises:
        DataError, ConfigError: the set cannot be opened.
    """
    number = notebook.name[:2]
    if not data or number not in FUSE + MAP + CUT:
        return ""
    if number in CUT:
        return "These chips are cut already."
    study = Study(data, profile, seed)
    return study.why_no_fusion if number in FUSE else why_no_scene(study.chipset, data)


def _from_root(path: str | Path) -> str:
    """Return a path relative to the repository root; an empty one stays empty."""
    return os.path.relpath(Path(path).resolve(), ROOT) if str(path) else ""


def _what_failed(error: Any) -> str:
    if count := getattr(error, "exec_count", None):
        return f"cell [{count}]: {error.ename}: {_last_line(error.evalue)}"
    return f"{type(error).__name__}: {_last_line(error)}"


def _last_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


@contextmanager
def _log_file(path: Path) -> Iterator[Path]:
    """Send papermill's log, with all cell output, to a file, without paths of this machine once closed."""
    logger = logging.getLogger("papermill")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror}: choose a writable place with room") from e
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    before, logger.propagate = (logger.level, logger.propagate), False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]
        write_text(path, tidy(path.read_text(encoding="utf-8")))
