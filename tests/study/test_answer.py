"""The answer stands at the head of an executed copy, and nowhere else."""

import nbformat

from rtslib.study.workbook import execute


def test_an_executed_copy_shows_the_answer_where_its_place_was_kept(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("from rtslib.study import Answer\nanswer = Answer()"),
        nbformat.v4.new_code_cell("answer.give(f'{6 * 7} slumps')"),
    ]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "09_a.ipynb")
    copy = nbformat.read(execute(tmp_path / "09_a.ipynb", tmp_path / "out", {}), as_version=4)
    shown = [[o["data"]["text/markdown"] for o in c.get("outputs", []) if "data" in o] for c in copy.cells]
    assert [s for s in shown if s] == [["**Answer:** 42 slumps"]]
