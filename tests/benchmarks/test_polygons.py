"""Benchmark of polygons: what is made is joined to as many slumps as asked for, and every step is timed."""

import numpy as np
import pandas as pd
import pytest

from rtslib.benchmarks.polygons import CELL, IN_CELL, cells, made_pieces
from rtslib.cli.main import main
from rtslib.mapping.seams import merge


def test_pieces_are_joined_to_the_slumps_that_were_made():
    pieces = list(made_pieces(100))
    slumps, duplicates = merge(pieces)
    assert len(slumps) == IN_CELL * cells(100) ** 2 == 100 and duplicates == 0
    assert len(pieces) - 100 == sum(s.windows - 1 for s in slumps) and 10 < len(pieces) - 100 < 45
    assert max(s.row for s in slumps) < cells(100) * CELL and min(s.mask.sum() for s in slumps) >= 10


def test_the_command_writes_a_row_a_number(tmp_path, capsys):
    assert main(["benchmark", "polygons", "--out", str(tmp_path), "--counts", "4,30"]) == 0
    table = pd.read_csv(tmp_path / "tables" / "polygons.csv")
    assert list(table["slumps"]) == [4, 36] and "slumps 36" in capsys.readouterr().out
    assert (table["peak_mib"] > 50).all()
    steps = table[[f"{step}_s" for step in ("read", "join", "outline", "count", "write")]]
    assert (steps > 0).all(axis=None) and np.allclose(steps.sum(axis=1), table["seconds"])


@pytest.mark.parametrize("counts", ["0", "ten", "10,-1"])
def test_other_numbers_are_refused(counts, tmp_path, capsys):
    assert main(["benchmark", "polygons", "--out", str(tmp_path), "--counts", counts]) == 2
    assert "whole numbers above 0" in capsys.readouterr().err
