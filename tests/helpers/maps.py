"""Scenes and a model whose right map is known exactly, for tests of mapping."""

import time
from dataclasses import dataclass

import numpy as np
import rasterio
import torch
from affine import Affine
from scipy import ndimage
from shapely.geometry import box

from rtslib.config import Config
from rtslib.data.scenes import open_scene
from rtslib.mapping.maps import map_region
from rtslib.mapping.plan import Options

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 7_700_000)
CONFIG = Config(modalities={"terrain": ["relative_elevation"]})


class Threshold(torch.nn.Module):
    """A "detector": every 8-connected part of a valid band above 5 is an instance of score value / 10."""

    def __init__(self, nan=False):
        super().__init__()
        self.nan, self.batches = nan, []

    def forward(self, batch):
        (image,), (valid,) = batch["images"].values(), batch["valid"].values()
        assert image.dtype == torch.float32 and valid.dtype == torch.bool
        self.batches.append(len(image))
        return [self._one(i[0, :h, :w], v[:h, :w]) for i, v, (h, w) in zip(image, valid, batch["sizes"], strict=True)]

    def _one(self, image, valid):
        labels, n = ndimage.label(((image > 5) & valid).numpy(), structure=np.ones((3, 3)))
        masks = [labels == k for k in range(1, n + 1)]
        scores = [float("nan") if self.nan else float(image[torch.from_numpy(m)].max()) / 10 for m in masks]
        stacked = torch.from_numpy(np.array(masks, dtype=np.float32).reshape(n, *image.shape))
        return {"scores": torch.tensor(scores), "masks": stacked, "labels": torch.ones(n), "boxes": torch.zeros(n, 4)}


def write(path, values, name="relative_elevation", crs="EPSG:32608", transform=TRANSFORM, nodata=-999.0, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "crs": crs,
               "transform": transform, "dtype": values.dtype, "nodata": nodata}  # fmt: skip
    with rasterio.open(path, "w", **profile) as d:
        d.write(values, 1)
        d.descriptions = (name,)
        for k, v in tags.items():
            setattr(d, k, v)


def map_scene(model, config, folder, out, window=256, overlap=64, *, area=None, provenance=None, overwrite=False,
              resume=False, progress=None, **knobs):  # fmt: skip
    """Map a folder; further keywords are `Options`."""
    region = open_scene(folder).stack
    options = Options(window, overlap, **knobs)
    return map_region(
        model, config, region, out, options=options, area=area, provenance=provenance, overwrite=overwrite,
        resume=resume, progress=progress,
    )  # fmt: skip


def on_ground(r0, c0, r1, c1):
    return box(500_000 + 10 * c0, 7_700_000 - 10 * r1, 500_000 + 10 * c1, 7_700_000 - 10 * r0)


@dataclass(frozen=True)
class Slow:
    """Loads, in a worker, a Threshold that takes its time for each batch."""

    seconds: float = 0.0

    def __call__(self):
        model = Threshold()
        model.register_forward_pre_hook(lambda *_: time.sleep(self.seconds))
        return model.eval()


def map_slowly(seconds, folder, out, knobs):
    """Map a folder with a model that takes its time for each batch: what a process does that is to be killed."""
    map_scene(Slow(seconds)(), CONFIG, folder, out, **knobs)


def blobs(folder, side=256, seed=0):
    """A scene of random blobs with distinct scores from 0.6 to 0.95; returns the folder."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 6)
    labels, n = ndimage.label(noise > np.quantile(noise, 0.85), structure=np.ones((3, 3)))
    values = np.linspace(6, 9.5, n + 1, dtype=np.float32)[labels]
    values[labels == 0] = 0
    write(folder / "dem.tif", values)
    return folder
