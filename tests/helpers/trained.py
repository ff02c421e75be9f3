"""A tiny landscape, and runs of one epoch on it, as fixtures."""

import pytest

from helpers.models import SMALL
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.synthetic.chips import write_challenge
from rtslib.training.trainer import train

TINY = {**SMALL, "epochs": 3, "batch_size": 4, "lr": 1e-3, "drop_path": 0.1, "ema": 0.9}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_challenge(folder, chips=18, size=64, seed=3)
    return folder


def config(data, *names, **knobs):
    found = open_chips(data).modalities()
    return Config.make({"modalities": {m: list(found[m]) for m in names or found}, **TINY, **knobs})


@pytest.fixture(scope="module")
def unimodal(data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    for m in ("rgb", "terrain"):
        train(open_chips(data), runs / m, config(data, m, epochs=1), progress=False)
    return runs
