"""A tiny landscape, and runs of one epoch on it, as fixtures. All tests read the same: copy what is to be changed."""

import pytest

from helpers.models import SMALL
from helpers.shared import shared
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.synthetic.chips import write_challenge
from rtslib.training.trainer import train

TINY = {**SMALL, "epochs": 3, "batch_size": 4, "lr": 1e-3, "drop_path": 0.1, "ema": 0.9}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with shared(tmp_path_factory, "synthetic", lambda folder: write_challenge(folder, 18, 64, seed=3)) as folder:
        yield folder


def config(data, *names, **knobs):
    found = open_chips(data).modalities()
    return Config.make({"modalities": {m: list(found[m]) for m in names or found}, **TINY, **knobs})


@pytest.fixture(scope="module")
def unimodal(data, tmp_path_factory):
    def make(runs):
        for m in ("rgb", "terrain"):
            train(open_chips(data), runs / m, config(data, m, epochs=1), progress=False)

    with shared(tmp_path_factory, "unimodal", make) as runs:
        yield runs
