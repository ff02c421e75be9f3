"""What a fresh machine is given: one list of dependencies, a lock, clean notebooks, no trace of a machine."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from rtslib.study.workbook import parameter_names

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: PyPI name -> conda-forge name, where they differ.
CONDA = {"torch": "pytorch", "opencv-python-headless": "py-opencv", "playwright": "playwright-python"}
#: In environment.yml but not in pyproject.toml: tools of conda users.
CONDA_ONLY = {"python", "pip", "setuptools", "detectron2"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXT = {".py", ".ipynb", ".md", ".toml", ".yml", ".lock", ".csv", ".json", ".html", ".log", ".txt", ""}


def tracked() -> list[Path]:
    """Return the text files that git tracks, or would with `git add .`."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout, so there is no list of tracked files")
    names = {n for n in done.stdout.split("\0") if n}
    return sorted(p for n in names if (p := ROOT / n).is_file() and p.suffix in TEXT)


def declared() -> dict[str, Requirement]:
    every = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    return {canonicalize_name(r.name): r for r in map(Requirement, every)}


def test_environment_yml_agrees_with_pyproject():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    found = {}
    for line in lines:
        if match := re.fullmatch(r"  (?:    )?- ([a-z0-9][a-z0-9-]*)(?: +|(?===))?(\S+)?(?:  #.*)?", line):
            found[match[1]] = (match[2] or "").removeprefix("==")
    assert "  - pip:" in lines and "      - -e ." in lines and "  - conda-forge" in lines
    wanted = {CONDA.get(name, name): str(r.specifier).removeprefix("==") for name, r in declared().items()}
    assert {n: v for n, v in found.items() if n not in CONDA_ONLY} == {**wanted, "conda-forge": ""}
    assert found["python"].split(",") == PROJECT["requires-python"].split(",")


def test_every_import_is_a_declared_dependency():
    """A package that is there only because another one needs it may vanish with the next lock."""
    modules = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn"}
    modules["odc-stac"] = "odc"
    known = {modules.get(n, n.replace("-", "_")) for n in declared()} | set(sys.stdlib_module_names)
    # Hard dependencies of declared packages (rasterio, papermill, jupyterlab, lightning, geopandas, timm,
    # pystac-client) that are part of their interfaces; and what is optional, such as detectron2.
    known |= {"rtslib", "affine", "nbformat", "nbclient", "IPython", "tqdm", "packaging", "pyproj", "safetensors"}
    known |= {"pystac", "urllib3"} | CONDA_ONLY
    known |= {"detectron2", "fvcore", "omegaconf"}  # the second engine and what it brings: optional, refused if absent
    known |= {"helpers"}  # tests/helpers
    missing = set()
    for path in [*(ROOT / "rtslib").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            missing |= {f"{path.name}: {n}" for n in names if n.split(".")[0] not in known}
    assert not missing


def test_lock_satisfies_pyproject_and_pins_all():
    lines = [x for x in (ROOT / "requirements.lock").read_text().splitlines() if x and not x.startswith("#")]
    pins = {}
    for line in lines:
        requirement = Requirement(line)  # raises on options, paths and URLs of another form
        (pin,) = requirement.specifier
        assert requirement.url is None and pin.operator == "==" and "*" not in pin.version, line
        pins[canonicalize_name(requirement.name)] = pin.version
    assert len(pins) == len(lines)
    for name, requirement in declared().items():
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]} is not {requirement.specifier}"
    assert {"setuptools"} <= set(pins) and not {"pip", "rtslib"} & set(pins)
    only_linux = {n for n in pins if n.startswith(("nvidia-", "cuda-")) or n == "triton"}
    assert all('sys_platform == "linux"' in x for x in lines if canonicalize_name(Requirement(x).name) in only_linux)


def test_installed_packages_are_those_of_the_lock():
    from importlib.metadata import version

    pins = dict(re.findall(r"^(\S+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.M))
    differ = {n: (version(n), pins[n]) for n in ("torch", "numpy", "rasterio", "papermill") if version(n) != pins[n]}
    assert not differ, f"installed differs from the lock: {differ}"


def test_package_metadata_agrees():
    import rtslib

    assert PROJECT["version"] == rtslib.__version__
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["tool"]["setuptools"]["packages"]["find"]["include"] == ["rtslib*"]


HOSTS = r"py[p]i\.org|pythonhosted\.or[g]|download\.pytorch\.or[g]|conda\.anaconda\.or[g]"
OPTIONS = r"--(?:extra-)?index-ur[l]|--find-link[s]|--trusted-hos[t]"
PATHS = r"(?<![\w.~<>])/(?:home|root|Users|work|tmp)/[\w.]"
TRACES = re.compile(f"{HOSTS}|{OPTIONS}|{PATHS}")


def test_no_index_host_and_no_machine_path_in_any_file():
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if match := TRACES.search(line):
                near = line[max(0, match.start() - 30) : match.end() + 30]
                found.append(f"{path.relative_to(ROOT)}:{number}: {near}")
    assert not found, "\n".join(found[:20])


def test_the_search_for_traces_finds_them():
    slash = "/"
    for trace in (f"see {slash}home/me", f'"{slash}work/main"', f"{slash}tmp/x.py", "https://py" + "pi.org/x"):
        assert TRACES.search(trace), trace
    for harmless in ("results/work/x", f"<venv>{slash}tmp/x", "make -f", "a / home / b"):
        assert not TRACES.search(harmless), harmless


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_sources_are_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert all(not c.outputs and c.execution_count is None for c in code)
    assert notebook.metadata.kernelspec.name == "python3" and set(notebook.metadata) == {"kernelspec", "language_info"}
    assert {"data", "profile", "seed", "out"} <= set(parameter_names(path))  # which also checks that there is one cell
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in code:
        compile(cell.source, path.name, "exec")


def test_notebooks_are_numbered_without_gaps():
    assert [p.name[:3] for p in NOTEBOOKS] == [f"{i:02d}_" for i in range(len(NOTEBOOKS))]


def make(*arguments: str) -> subprocess.CompletedProcess:
    """Run make as from a fresh shell, also when `make test` runs this."""
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "DATA", "PROFILE", "SEED", "OUT", "FOLDS", "PYTHON"}
    ours |= {"RECORD", "SCHEDULER", "DEVICE"}
    env = {k: v for k, v in os.environ.items() if k not in ours}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.+)$", text, re.M)[1].split())
    every = "help install reproduce study bench figures test lint smoke lab docs pictures lock clean"
    assert targets == set(every.split())
    shown = make()  # help is the default
    assert shown.returncode == 0, shown.stderr
    assert set(re.findall(r"^  ([a-z]+) {2,}\S", shown.stdout, re.M)) == targets


def test_make_says_plainly_that_python_does_not_fit():
    done = make("lock", "PYTHON=/bin/false")
    assert done.returncode != 0
    assert "error: no Python 3.11 or 3.12" in done.stderr


def test_make_keeps_real_sets_out_of_results():
    plan = make("-n", "reproduce", "DATA=some/where/chips/", "PROFILE=gpu").stdout
    assert '--data "some/where/chips/"' in plan and "--out" not in plan  # runs/chips-gpu, see test_workbook
    done = make("-n", "study", "DATA=chips", "RECORD=1")
    assert done.returncode and "RECORD=1 keeps results of the embedded landscape alone" in done.stderr


def test_make_writes_results_of_record_only_when_asked():
    assert "--out" not in make("-n", "reproduce", "RECORD=0").stdout
    assert '--out "mine"' in make("-n", "reproduce", "OUT=mine").stdout
    assert '--out "results/quick"' in make("-n", "reproduce", "RECORD=1").stdout
    assert '--out "scratch/smoke/synthetic"' in make("-n", "smoke").stdout
    assert '--only 06 --out "mine"' in make("-n", "study", "OUT=mine").stdout
    assert '--only 06 --out "results/study"' in make("-n", "study", "RECORD=1").stdout
    assert '--device "cpu"  --out "runs/bench"' in make("-n", "bench").stdout
    assert (
        '--device "cuda" --in-process --out "results/bench_cuda"'
        in make("-n", "bench", "DEVICE=cuda", "RECORD=1").stdout
    )
    assert '--set scheduler="tcp://host:8786"' in make("-n", "study", "SCHEDULER=tcp://host:8786").stdout
    plan = make("-n", "study", "DATA=chips", "FOLDS=0,1").stdout
    assert '--only 06  --set folds="0,1" --set kind=transfer' in plan
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {".venv/", "/runs/", "/scratch/"} <= set(ignored)


def test_continuous_integration_runs_tests_and_smoke():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111 and "set -euo pipefail" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert set(re.findall(r'^ *timed "[^"]+" make (\w+)', script.read_text(), re.M)) == {"lint", "test", "smoke"}


def test_lab_reaches_results_from_notebooks():
    plan = make("-n", "lab").stdout
    assert f'--ServerApp.root_dir="{ROOT}"' in plan and "--LabApp.default_url=/lab/tree/notebooks" in plan


def test_the_dockerfile_agrees_with_makefile_and_pyproject():
    """No Docker at hand: at least its Python is one that we support, and its commands are targets that exist."""
    text = (ROOT / "Dockerfile").read_text()
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    steps = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    assert [name for name, _ in steps] == "FROM RUN WORKDIR COPY RUN ENV CMD".split()
    given = dict(steps)
    python = re.fullmatch(r"python:(3\.\d+)-slim-\w+", given["FROM"])[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    assert given["RUN"].endswith("make install") and json.loads(given["CMD"]) == ["make", "reproduce"]
    assert {"git", "make"} <= set(steps[1][1].split())  # all that README asks for beside Python
    where = given["WORKDIR"]
    assert f"safe.directory {where} " in given["RUN"] and given["ENV"] == f'PATH="{where}/.venv/bin:$PATH"'
    assert f"$PWD/runs:{where}/runs" in text and f"$PWD/runs:{where}/runs" in (ROOT / "docs/install.md").read_text()
    assert make("-n", "install").returncode == make("-n", "reproduce").returncode == 0
    assert {".venv", "runs", "scratch"} <= set((ROOT / ".dockerignore").read_text().split())


def test_the_entry_point_is_the_command_line():
    module, name = PROJECT["scripts"]["rtslib"].split(":")
    from rtslib.cli.main import main

    assert getattr(importlib.import_module(module), name) is main


def test_manifests_describe_the_files_beside_them():
    from rtslib.files import sha256

    manifests = sorted((ROOT / "results").glob("*/manifest.json"))
    if not manifests:
        pytest.skip("no results are committed yet")
    for manifest in manifests:
        outputs = json.loads(manifest.read_text())["outputs"]
        for name, digest in outputs.items():
            if (manifest.parent / name).exists():  # weights are not committed
                assert sha256(manifest.parent / name) == digest, f"{manifest.parent.name}/{name} has changed"
