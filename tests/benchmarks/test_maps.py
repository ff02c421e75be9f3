"""Benchmarks of mapping, on a scene of a few windows: what is measured is a map, and the chart shows the table."""

import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from helpers.models import TINY_KNOBS as TINY
from rtslib.benchmarks import maps as mapbench
from rtslib.cli.main import main
from rtslib.data.scenes import open_scene
from rtslib.errors import RtsError
from rtslib.figures import studies as studycharts
from rtslib.mapping.plan import Options
from rtslib.synthetic.scene import write_scene
from rtslib.training.memory import give_back, share_heap


def test_a_crop_is_the_upper_left_with_its_tags(tmp_path):
    scene = write_scene(tmp_path / "scene", 300, seed=0)
    crop = mapbench.crop_scene(scene, 1, tmp_path / "whole")
    half = mapbench.crop_scene(scene, 2, tmp_path / "half")
    every, same, part = (open_scene(folder).stack for folder in (scene, crop, half))
    np.testing.assert_array_equal(same.read(), every.read())
    assert part.bands == every.bands and (part.height, part.width) == (150, 150) and part.transform == every.transform
    for name in ("rgb", "terrain"):
        with rasterio.open(scene / f"{name}.tif") as a, rasterio.open(half / f"{name}.tif") as b:
            np.testing.assert_array_equal(a.read()[:, :150, :150], b.read())


def test_maps_are_measured_in_processes_of_their_own(tmp_path):
    run = tmp_path / "run"
    assert main(["synth", str(tmp_path / "data"), "--chips", "8", "--size", "64", "--seed", "3"]) == 0
    knobs = [arg for knob in TINY for arg in ("--set", knob)]
    assert main(["train", "--data", str(tmp_path / "data"), "--out", str(run), *knobs]) == 0
    scene, options = write_scene(tmp_path / "scene", 128, seed=0), Options(64, 32, batch_size=1, block=2)
    table = mapbench.memory_table(run, scene, tmp_path / "maps", (2, 1), options)
    assert table["side"].tolist() == [64, 128] and table["area"].tolist() == [1, 4]
    assert table["windows"].tolist() == [1, 9] and table["growth"].iloc[0] == 0
    assert (table["peak_mib"] > 100).all() and table["model_share"].between(0, 1).all()
    assert (tmp_path / "maps" / "1" / "detections.gpkg").exists()
    with pytest.raises(RtsError, match="failed: .*no such folder"):
        mapbench.measure_map(run, tmp_path / "none", tmp_path / "out")


def test_the_chart_starts_at_zero(tmp_path):
    rows = {"windows": [25, 121], "peak_mib": [1024, 2048], "model_share": [0.9, 1.0]}
    pd.DataFrame(rows).to_csv(tmp_path / "memory.csv")
    left, right = studycharts.memory(tmp_path / "memory.csv").axes
    assert left.lines[0].get_ydata().tolist() == [1, 2] and left.get_ylim()[0] == right.get_ylim()[0] == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give memory back by themselves")
def test_freed_memory_goes_back_to_the_system():
    share_heap()
    blocks = [bytearray(b"1" * 65536) for _ in range(3200)]  # 200 MiB, on the heap
    pins = blocks[::64]  # what lies on top of a heap keeps it from shrinking, wherever its top is
    del blocks
    before = rss_mib()
    give_back()
    assert len(pins) == 50 and rss_mib() < before - 150


def rss_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
