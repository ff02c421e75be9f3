"""The house: folders that import only downwards, no circle, light doors, small files.

Imports are read from the syntax tree, so that those inside functions and under TYPE_CHECKING count too.
"""

import ast
import importlib
import subprocess
import sys
import time
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Folder -> floor; "" holds the words everyone uses. A module imports from its own folder and from lower floors.
FLOORS = {
    "": 0, "data": 1, "synthetic": 1, "models": 2, "evaluation": 2, "training": 3, "mapping": 4, "figures": 5,
    "study": 6, "benchmarks": 7, "cli": 8,
}  # fmt: skip
#: What one floor's neighbours may take from each other.
NEIGHBOURS = {("synthetic", "data")}
#: Doors of the house: they name verbs and commands of every floor.
DOORS = {"rtslib", "rtslib.__main__", "rtslib.workbook"}


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Module name -> file; a package has the name of its folder."""
    found = {}
    for path in sorted((root / "rtslib").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of rtslib that a file names in any import statement, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "rtslib"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rtslib":
            found |= {module_of(node.module, a.name, known) for a in node.names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"
    return found


def module_of(module: str, name: str, known: dict[str, Path]) -> str:
    """The module that `from module import name` reads: a submodule, or where a folder's `__init__` has it from."""
    if f"{module}.{name}" in known:
        return f"{module}.{name}"
    if module not in known or known[module].name != "__init__.py":
        return module
    for node in ast.walk(ast.parse(known[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            places = ast.literal_eval(node.value)
            return next((f"{module}.{sub}" for sub, names in places.items() if name in names), module)
    return module


def folder(module: str) -> str:
    """The folder of `rtslib` that a module lies in, "" for the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else ""


def climbs(root: Path = ROOT) -> list[str]:
    """Imports that go up, or across to a neighbour of the same floor."""
    known, found = modules(root), []
    for name, path in known.items():
        for other in imports(path, known) if name not in DOORS else ():
            here, there = folder(name), folder(other)
            down = here == there or FLOORS[there] < FLOORS[here] or (here, there) in NEIGHBOURS
            if not down or other in DOORS - {"rtslib"}:
                found.append(f"{name} imports {other}")
    return found


def circle(root: Path = ROOT) -> list[str]:
    """One circle of imports, or an empty list."""
    known = modules(root)
    try:
        TopologicalSorter({n: imports(p, known) - {n} for n, p in known.items()}).prepare()
    except CycleError as e:
        return e.args[1]
    return []


def test_no_import_climbs():
    assert climbs() == []


def test_no_circle_of_imports():
    assert circle() == []


def test_modules_import_from_modules():
    """Not from the names that a folder offers to others: so a reader, and `code_hash`, sees where a thing is."""
    packages = {n for n, p in modules().items() if p.name == "__init__.py"}
    known = modules()
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in packages:
                wrong = {a.name for a in node.names if f"{node.module}.{a.name}" not in known} - {"__version__"}
                assert not wrong, f"{name} takes {wrong} from {node.module}"


def test_every_folder_has_a_floor():
    here = {p.name for p in (ROOT / "rtslib").iterdir() if p.is_dir() and list(p.glob("*.py"))}
    assert here == set(FLOORS) - {""}


def a_house(tmp_path: Path, **files: str) -> Path:
    for name, text in {"rtslib/__init__": "", **{k.replace("__", "/", 1): v for k, v in files.items()}}.items():
        path = tmp_path / (name if name.startswith("rtslib") else f"rtslib/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text)
    return tmp_path


def test_a_lazy_import_that_climbs_is_seen(tmp_path):
    house = a_house(tmp_path, data__a="def f():\n    from rtslib.models import b\n", models__b="")
    assert climbs(house) == ["rtslib.data.a imports rtslib.models.b"]
    assert climbs(a_house(tmp_path / "2", models__b="from rtslib.evaluation.c import d", evaluation__c="d = 1"))
    assert not climbs(a_house(tmp_path / "3", models__b="import rtslib.data.a", data__a=""))


def test_a_lazy_circle_is_seen(tmp_path):
    back = "def f():\n    import rtslib.data.a\n"
    house = a_house(tmp_path, data__a="from rtslib.data import b", data__b=back)
    assert set(circle(house)) == {"rtslib.data.a", "rtslib.data.b"}


def test_a_circle_through_the_names_of_a_folder_is_seen(tmp_path):
    names = "x = attach(__name__, submod_attrs={'b': ['run']})"
    house = a_house(
        tmp_path, data____init__=names, data__a="from rtslib.data import run", data__b="from rtslib.data import a"
    )
    assert set(circle(house)) == {"rtslib.data.a", "rtslib.data.b"}


@pytest.mark.parametrize("name", ["rtslib", *(f"rtslib.{f}" for f in sorted(FLOORS) if f not in ("", "cli"))])
def test_names_of_a_folder_are_sorted_and_there(name):
    package = importlib.import_module(name)
    assert package.__doc__ and list(package.__all__) == sorted(package.__all__)
    for each in package.__all__:
        assert getattr(package, each) is not None


def test_the_root_offers_the_verbs():
    import rtslib

    verbs = {"open_chips", "build_model", "train", "predict", "evaluate", "map_region", "Config"}
    assert verbs <= set(dir(rtslib))
    assert all(callable(getattr(rtslib, verb)) for verb in verbs)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import rtslib", ("numpy", "torch", "pandas", "rasterio")),
        ("import rtslib.cli.main", ("torch", "pandas", "rasterio", "matplotlib")),
        ("import rtslib.study.redraw", ("torch", "lightning")),
        ("import rtslib.mapping.review", ("torch", "lightning")),
        ("import rtslib.figures.web.page", ("torch", "lightning", "leafmap")),
        ("import rtslib.benchmarks.detectors, rtslib.benchmarks.speed", ("rasterio", "shapely", "geopandas", "dask")),
    ],
)
def test_a_door_is_light(code, heavy):
    """What a module loads is what its start costs; a clock would tell of the machine's other work as well."""
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
                          cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    assert not set(heavy) & set(done.stdout.split())


@pytest.mark.parametrize(("command", "limit"), [(["-c", "import rtslib"], 0.3), (["-m", "rtslib", "--help"], 0.7)])
def test_start_is_quick(command, limit):
    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(once() for _ in range(5)) < limit  # the best of five: other work only adds


def test_files_and_functions_are_small():
    files = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in modules().values()}
    assert not {name: n for name, text in files.items() if (n := len(text.splitlines())) > 320}
    long = {}
    for name, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                doc = node.body[0] if ast.get_docstring(node) else None
                size = node.end_lineno - node.lineno - (doc.end_lineno - doc.lineno if doc else 0)
                long |= {f"{name}: {node.name}": size} if size > 50 else {}
    assert not long
