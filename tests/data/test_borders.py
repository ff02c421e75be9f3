"""Borders of one constant value are noted, and ground is not."""

import numpy as np
import pytest

from helpers.regions import full, write
from rtslib.data.borders import border_notes
from rtslib.data.rasters import open_stack

SHAPE = (120, 160)


def ground(seed):
    return np.random.default_rng(seed).integers(30, 200, SHAPE)


def swath(values, fill, where):
    out = values.copy()
    rows, cols = np.indices(SHAPE)
    out[{"corner": rows + cols < 70, "top": rows < 3, "edge": cols == 0, "round": (rows < 9) | (rows > 110)}[where]] = (
        fill
    )
    return out


@pytest.mark.parametrize("where", ["corner", "top", "edge", "round"])
@pytest.mark.parametrize("fill", [0, 255])
def test_fill_is_noted(tmp_path, where, fill):
    bands = {b: swath(ground(k), fill, where) for k, b in enumerate(("red", "green"))}
    path = write(tmp_path / "a.tif", bands, dtype="uint8")
    (said,) = border_notes(open_stack([path]))
    assert said.startswith(f"{path}: a border of {fill}, and no nodata value") and f"--nodata {path}={fill}" in said
    assert border_notes(open_stack([path]).with_numbers(nodata={path: float(fill)})) == []
    tagged = write(tmp_path / "tagged.tif", bands, dtype="uint8", nodata=fill)
    assert border_notes(open_stack([tagged])) == []
    other = write(tmp_path / "other.tif", bands, dtype="uint8", nodata=7)
    assert "the nodata value 7" in border_notes(open_stack([other]))[0]


def test_ground_is_not(tmp_path):
    dark = ground(1)
    dark[40:60, 40:90] = 0  # a lake
    stacks = {"plain": {"red": ground(1)}, "lake": {"red": dark}, "constant": {"red": full(5, SHAPE)}}
    one_band = {"red": swath(ground(1), 0, "corner"), "green": ground(2)}
    for name, bands in {**stacks, "one": one_band}.items():
        assert border_notes(open_stack([write(tmp_path / f"{name}.tif", bands, dtype="uint8")])) == []
