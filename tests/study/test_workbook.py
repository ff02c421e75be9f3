"""The workbook runner and the manifest: parameters, failures, whole copies, no trace of the machine."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from rtslib.cli.main import main
from rtslib.config import parse_pairs
from rtslib.errors import DataError, OutputError, WorkbookError
from rtslib.files import sha256
from rtslib.study import workbook


def make_notebook(path: Path, *sources: str, tags: int = 1) -> Path:
    """Write a notebook whose first cell (or first `tags` cells) holds the parameters."""
    cells = [nbformat.v4.new_code_cell(s) for s in sources]
    for cell in cells[:tags]:
        cell.metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def texts(path: Path) -> str:
    """Return all stream text of an executed notebook."""
    outputs = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", [])]
    return "".join(o.get("text", "") for o in outputs)


def test_execute_sets_parameters_and_leaves_a_clean_copy(tmp_path):
    source = make_notebook(
        tmp_path / "01_a.ipynb",
        "seed = 0\nname = 'x'",
        "import os, sys, warnings\nprint(seed * 2, name)\nprint('in', os.getcwd())\nwarnings.warn('look')",
    )
    before = source.read_bytes()
    copy = workbook.execute(source, tmp_path / "out", {"seed": 21})
    assert copy == tmp_path / "out" / "notebooks" / "01_a.ipynb"
    assert "42 x" in texts(copy) and "\nin .\n" in texts(copy)  # the root of the checkout, named "."
    assert "look" in texts(copy) and "<cell>" in texts(copy)
    raw = copy.read_text()
    assert str(workbook.ROOT) not in raw and "ipykernel_" not in raw and "widgets" not in json.loads(raw)["metadata"]
    assert json.loads(raw)["metadata"]["papermill"]["output_path"].endswith("out/notebooks/01_a.ipynb")
    assert source.read_bytes() == before
    assert sorted(p.name for p in copy.parent.iterdir()) == ["01_a.ipynb"]  # no temporary file stays


def test_execute_refuses_an_unknown_parameter(tmp_path):
    source = make_notebook(tmp_path / "01_a.ipynb", "seed = 0\nprofile = 'quick'", "print(seed)")
    with pytest.raises(WorkbookError, match=r"01_a.ipynb has no parameter 'sead': it has seed, profile"):
        workbook.execute(source, tmp_path / "out", {"sead": 1})
    assert not (tmp_path / "out").exists()


def test_execute_keeps_the_failed_copy_and_names_the_cell(tmp_path):
    source = make_notebook(
        tmp_path / "02_b.ipynb", "n = 0", "print('before')", "raise ValueError(f'one\\ntwo {1 / n}')"
    )
    with pytest.raises(WorkbookError, match=r"02_b.ipynb, cell \[4\]: ZeroDivisionError: division by zero"):
        workbook.execute(source, tmp_path, {"n": 0})  # cell 2 is the one that sets parameters
    with pytest.raises(WorkbookError, match=r"cell \[4\]: ValueError: two 0.5 \(see .*02_b.failed.ipynb\)"):
        workbook.execute(source, tmp_path, {"n": 2})
    kept = tmp_path / "notebooks"
    assert [p.name for p in kept.iterdir()] == ["02_b.failed.ipynb"]
    assert "before" in texts(kept / "02_b.failed.ipynb")
    make_notebook(source, "n = 0", "print('mended')")
    workbook.execute(source, tmp_path, {"n": 2})
    assert [p.name for p in kept.iterdir()] == ["02_b.ipynb"]  # the failed copy went


def test_execute_stops_a_cell_that_takes_too_long(tmp_path):
    source = make_notebook(tmp_path / "01_a.ipynb", "n = 30", "import time; time.sleep(n)")
    with pytest.raises(WorkbookError, match="01_a.ipynb, CellTimeoutError"):
        workbook.execute(source, tmp_path, {}, timeout=1)
    assert (tmp_path / "notebooks" / "01_a.failed.ipynb").exists()


@pytest.mark.parametrize("tags", [0, 2])
def test_a_notebook_has_exactly_one_parameters_cell(tmp_path, tags):
    source = make_notebook(tmp_path / "01_a.ipynb", "a = 1", "b = 2", tags=tags)
    with pytest.raises(WorkbookError, match=f"has {tags} cells tagged `parameters`: tag exactly one"):
        workbook.parameter_names(source)


def test_a_broken_notebook_is_named(tmp_path):
    (tmp_path / "01_a.ipynb").write_text("{")
    with pytest.raises(WorkbookError, match="01_a.ipynb is no readable notebook"):
        workbook.parameter_names(tmp_path / "01_a.ipynb")


def test_notebooks_come_in_order_and_by_number(tmp_path):
    for name in ("02_b", "01_a", "10_c", "draft"):
        make_notebook(tmp_path / f"{name}.ipynb", "a = 1")
    assert [p.stem for p in workbook.notebooks(tmp_path)] == ["01_a", "02_b", "10_c"]
    assert [p.stem for p in workbook.notebooks(tmp_path, "10, 2")] == ["02_b", "10_c"]
    with pytest.raises(WorkbookError, match="no notebook is numbered 07: there are 01, 02, 10"):
        workbook.notebooks(tmp_path, "7")
    with pytest.raises(WorkbookError, match="holds no notebook"):
        workbook.notebooks(tmp_path / "nowhere")


def test_run_writes_copies_log_and_manifest(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "sources"
    folder.mkdir()
    common = "data = ''\nprofile = 'quick'\nseed = 0\nout = ''"
    write = "from pathlib import Path\nPath(out, 't.csv').write_text(f'{profile},{seed}')\nprint('wrote it')"
    make_notebook(folder / "01_a.ipynb", common, write)
    make_notebook(folder / "02_b.ipynb", common + "\nextra = 1", "print(extra)")
    real = workbook.notebooks
    monkeypatch.setattr(workbook, "notebooks", lambda only="": real(folder, only))
    with pytest.raises(WorkbookError, match="01_a.ipynb has no parameter 'extra'"):  # before anything runs
        workbook.run("smoke", out=str(tmp_path / "out"), extra={"extra": 2})
    assert not (tmp_path / "out").exists()
    workbook.run("smoke", seed=3, out=str(tmp_path / "out"))
    assert (tmp_path / "out" / "t.csv").read_text() == "smoke,3"
    assert "wrote it" in (tmp_path / "out" / "workbook.log").read_text()
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert written["seed"] == 3 and written["profile"] == "smoke" and written["seconds"].keys() == {"01_a", "02_b"}
    assert all(s > 0 for s in written["seconds"].values())
    names = ["notebooks/01_a.ipynb", "notebooks/02_b.ipynb", "t.csv", "workbook.log"]
    assert written["outputs"] == {n: sha256(tmp_path / "out" / n) for n in names}
    assert written["versions"]["python"] == sys.version.split()[0]
    assert str(workbook.ROOT) not in json.dumps(written)
    assert "2 notebooks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("only", "seed", "ending"), [("", 0, ""), ("", 2, "-seed2"), ("6", 0, "-study"), ("1,6", 1, "-seed1")]
)
def test_results_have_a_folder_by_set_profile_and_seed(tmp_path, monkeypatch, only, seed, ending):
    for name in ("01_a", "06_b"):
        make_notebook(tmp_path / f"{name}.ipynb", "data = ''\nprofile = 'quick'\nseed = 0\nout = ''", "print(out)")
    real = workbook.notebooks
    monkeypatch.setattr(workbook, "notebooks", lambda only="": real(tmp_path, only))
    monkeypatch.setattr(workbook, "execute", lambda *args, **knobs: None)
    monkeypatch.setattr("rtslib.files.ROOT", tmp_path)
    assert workbook.run("smoke", only=only, seed=seed) == tmp_path / "runs" / f"synthetic-smoke{ending}"


def test_run_checks_its_input_first(tmp_path):
    with pytest.raises(WorkbookError, match="no profile 'fast': choose one of "):
        workbook.run("fast", out=str(tmp_path / "out"))
    with pytest.raises(DataError, match="no such folder"):
        workbook.run("smoke", data=str(tmp_path / "none"), out=str(tmp_path / "out"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        workbook.run("smoke", out=str(tmp_path / "file"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--profile", "fast"], "error: no profile 'fast'"),
        (["run", "--only", "77"], "error: no notebook is numbered 77"),
        (["run", "--set", "oops"], "error: --set 'oops': write key=value"),
        (["run", "--set", "nonsense=1"], "error: 00_your_own_data.ipynb has no parameter 'nonsense'"),
        (["run", "--sead", "1"], "error: No such option"),
    ],
)
def test_command_line_errors_are_one_line(arguments, said, capsys):
    assert main(["workbook", *arguments]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(said) and stderr.count("\n") == 1


def test_pairs_are_json_or_text():
    assert parse_pairs(["a=1", "b=x y", "c=[1,2]", "d="]) == {"a": 1, "b": "x y", "c": [1, 2], "d": ""}
