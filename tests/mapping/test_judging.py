"""Windows of a map are read as training read its chips."""

import numpy as np
import torch
from rasterio.windows import Window

from helpers.regions import SIZE, write
from rtslib.config import Config
from rtslib.data.rasters import open_stack
from rtslib.mapping.judging import read_window
from rtslib.mapping.plan import Options, plan


def test_windows_of_a_levelled_model_are_levelled(tmp_path):
    """Digital numbers of two halves with other light; each window gets the training's mean and spread."""
    config = Config(modalities={"rgb": ["red"]}, modality_mean={"rgb": [0.1]}, modality_std={"rgb": [0.02]})
    values = np.random.default_rng(0).normal(0.4, 0.1, SIZE).clip(0.01)
    values[:, SIZE[1] // 2 :] *= 0.5
    region = open_stack([write(tmp_path / "a.tif", {"red": values})])
    plain, matched = (plan(config.updated(level=level), region, Options(32, 8)) for level in (False, True))
    for column in (0, SIZE[1] - 32):
        window = Window(column, 0, 32, 32)
        as_is, seen = (read_window(todo, window)["images"]["rgb"] for todo in (plain, matched))
        assert torch.allclose(as_is[0], torch.from_numpy(values[:32, column : column + 32]).float())
        assert abs(float(seen.mean()) - 0.1) < 1e-3 and abs(float(seen.std()) - 0.02) < 1e-3
