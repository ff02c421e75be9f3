"""Parity: how far do our engine and detectron2 differ on the same weights?

    python -m rtslib benchmark parity --commit NAME [--data FOLDER]...

writes `results/parity/parity.csv`: one row a comparison, with the largest absolute difference, the limit it
has to stay under, and versions. All parameters are redrawn from a fixed generator first: initial ones
(relative positions and gains of 0, logits near constant) hide errors. Proposals and detections are compared
as sets, since neighbours in score may change places by rounding. `rtslib.models.detectron2.model` says how to get
detectron2; its MViT, which its main branch alone has, is compared where it is there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import torchvision
from torch import Tensor, nn

from rtslib.benchmarks.made import normalised_config, redraw, their_mvit
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.data.samples import ChipDataset, collate
from rtslib.data.statistics import with_statistics
from rtslib.files import write_text
from rtslib.models.build import build_model
from rtslib.models.model import Model
from rtslib.models.mvit import MViT
from rtslib.models.names import common_weights, fit_weights
from rtslib.models.pixels import network_input

SIZES_PX = ((224, 224), (256, 256), (512, 512), (160, 288))  # the last one is not square
#: Heads as detectron2's config has them, fewer proposals and samples.
KNOBS: dict[str, Any] = {
    "backbone": "tiny", "mvit_like": "detectron2", "head_norm": "BN", "drop_path": 0.0, "score_thresh": 0.0,
    "proposals": 100, "rpn_pre_nms": 200, "max_dets": 50, "roi_samples": 64,
}  # fmt: skip


class Row(NamedTuple):
    """One comparison: what, at which size (px, or a data set's chips), difference, limit."""

    what: str
    size: str
    max_abs_difference: float
    limit: float


def both_engines(config: Config, seed: int = 0) -> tuple[Model, Model]:
    """Return (Detector, FusedRCNN) of a config with the same redrawn weights. Raises EngineError."""
    ours = build_model(config.updated(engine="torchvision"))
    redraw(ours, seed)
    theirs = build_model(config.updated(engine="detectron2"))
    fit_weights(theirs, common_weights(ours), "the default engine")
    return ours.eval(), theirs.eval()


def random_batch(config: Config, sizes: list[tuple[int, int]], seed: int = 0) -> dict[str, Any]:
    """Return a batch as `rtslib.data.samples.collate` makes it: smooth noise, a nodata hole, two instances."""
    generator = torch.Generator().manual_seed(seed)
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    images, valid, targets = {}, {}, []
    for m, bands in config.modalities.items():
        coarse = torch.randn(len(sizes), len(bands), height // 8, width // 8, generator=generator)
        images[m] = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        valid[m] = torch.zeros(len(sizes), height, width, dtype=torch.bool)
        for i, (h, w) in enumerate(sizes):
            valid[m][i, :h, :w] = True
    valid[config.primary][0, 40:60, 30:90] = False
    for h, w in sizes:
        masks = torch.zeros(2, h, w, dtype=torch.bool)
        masks[0, 20:60, 30:80], masks[1, h // 2 : h // 2 + 40, w // 2 : w // 2 + 30] = True, True
        boxes = torch.tensor([[30.0, 20, 80, 60], [w // 2, h // 2, w // 2 + 30, h // 2 + 40]])
        targets.append({"boxes": boxes, "labels": torch.ones(2, dtype=torch.long), "masks": masks})
    return {"images": images, "valid": valid, "sizes": sizes, "targets": targets}


def made_up_config(**knobs: Any) -> Config:
    """Return the config of the comparisons, normalised by mean 0 and standard deviation 1."""
    return normalised_config(**{**KNOBS, **knobs})


def far(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference of two tensors of one shape; infinite if shapes differ."""
    return (a - b).abs().max().item() if a.shape == b.shape else float("inf")


def pairing(a: Tensor, b: Tensor) -> Tensor:
    """Index (n,) of the box of b nearest to each box of a (n, 4), by the largest coordinate difference."""
    return torch.cdist(a, b, p=float("inf")).argmin(1)


@torch.inference_mode()
def compare_mvits() -> Iterator[Row]:
    """The four normalised maps of MViTv2-T, with and without windows."""
    for windows in (True, False):
        ours = MViT("tiny", windows=windows, like="detectron2").eval()
        redraw(ours)
        theirs = their_mvit(ours, "tiny", windows)
        for height, width in SIZES_PX if theirs else ():
            x = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
            a, b = ours(x), theirs(x).values()
            name = f"MViTv2-T maps, {'windows' if windows else 'no windows'}"
            yield Row(name, f"{height}x{width}", max(map(far, a, b)), 1e-4)


@torch.inference_mode()
def compare_answers(ours: Any, theirs: Any, batch: dict[str, Any], size: str) -> Iterator[Row]:
    """Pyramid, proposals and detections of both engines on a batch."""
    from detectron2.structures import ImageList
    from torchvision.models.detection.image_list import ImageList as Listed

    images, valid, sizes = network_input(batch, ours.config.scale)
    stacked = torch.cat([x.masked_fill(~valid[m][:, None], torch.nan) for m, x in images.items()], dim=1)
    a, b = ours.pyramid(images, valid), theirs.backbone(stacked)
    yield Row("FPN maps", size, max(map(far, a.values(), b.values())), 1e-4)
    here, _ = ours.rpn(Listed(stacked, sizes), a)
    there, _ = theirs.proposal_generator(ImageList(stacked, sizes), b, None)
    there = [p.proposal_boxes.tensor for p in there]
    gaps = [far(p, q[pairing(p, q)]) if len(p) == len(q) else float("inf") for p, q in zip(here, there, strict=True)]
    yield Row("proposals (px)", size, max(gaps), 1e-3)
    found = list(zip(ours(batch), theirs(batch), strict=True))
    same = all(len(x["boxes"]) == len(y["boxes"]) > 0 for x, y in found)
    for key, unit in (("boxes", " (px)"), ("scores", ""), ("masks", " (probability)")):
        gaps = [far(x[key], y[key][pairing(x["boxes"], y["boxes"])]) if same else float("inf") for x, y in found]
        yield Row(f"detections: {key}{unit}", size, max(gaps), 1e-3)


def compare_whole() -> Iterator[Row]:
    """Our model of one modality against one that is all detectron2's: its MViT under its other parts."""
    side = 256
    config = normalised_config(("rgb",), **KNOBS)
    ours: Any
    theirs: Any
    ours, theirs = both_engines(config)
    theirs.backbone.bottom_up = their_mvit(ours.backbones["rgb"], config.backbone)
    if theirs.backbone.bottom_up is not None:
        batch = random_batch(config, [(side, side)])
        batch["valid"]["rgb"].fill_(True)  # detectron2 knows no nodata
        yield from compare_answers(ours, theirs, batch, f"{side}x{side}, all detectron2")


def compare_losses(ours: Model, theirs: Model, batch: dict[str, Any], size: str) -> Iterator[Row]:
    """All losses; one seed makes both engines draw the same samples, since they draw in the same order."""
    found = []
    for model in (ours, theirs):
        model.train()
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(model(batch))
        model.eval()
    for name in found[0]:
        yield Row(f"training: {name}", size, far(found[0][name], found[1][name]), 1e-4)


def real_batch(folder: Path, count: int = 2) -> tuple[Config, dict[str, Any], str]:
    """Return config, batch and name of the first labelled chips of a data set. Raises DataError."""
    chipset = open_chips(folder)
    chips = [c for c in chipset.chips if c.labelled][:count]
    config = Config.make({**KNOBS, "modalities": {m: list(b) for m, b in chipset.modalities().items()}})
    config = with_statistics(config, chipset, chips)
    data = ChipDataset(chipset, chips, config.modalities)
    return config, collate([data[i] for i in range(len(chips))]), f"{folder.name}, {len(chips)} chips"


def measure(folders: list[Path]) -> list[Row]:
    """Make all comparisons, printing each. Raises EngineError, and DataError for a folder without chips."""
    rows = []

    def add(new: Iterator[Row]) -> None:
        for row in new:
            print(f"{row.what:42} {row.size:24} {row.max_abs_difference:.1e}")
            rows.append(row)

    config = made_up_config()
    models = both_engines(config)
    add(compare_mvits())
    add(compare_whole())
    for sizes in ([(256, 256), (200, 240)], [(160, 288)]):
        batch, size = random_batch(config, sizes), " and ".join(f"{h}x{w}" for h, w in sizes)
        add(compare_answers(*models, batch, size))
        add(compare_losses(*models, batch, size))
    for folder in folders:
        config, batch, size = real_batch(folder)
        models = both_engines(config)
        add(compare_answers(*models, batch, size))
        add(compare_losses(*models, batch, size))
    return rows


def write_parity(out: Path, commit: str, folders: list[Path]) -> list[str]:
    """Measure and write the table, keeping the rows of other commits; returns what is over its limit.

    Args:
        out: CSV to write.
        commit: which detectron2 it is, a commit or tag; its rows are replaced.
        folders: of real chips.

    Raises:
        EngineError, DataError: as `measure`. OutputError: the table cannot be written.
    """
    table = pd.DataFrame(measure(folders))
    table["detectron2"], table["torch"] = commit, torch.__version__
    table["torchvision"], table["device"] = torchvision.__version__, "cpu"
    over = table[~(table.max_abs_difference < table.limit)]
    if out.exists():
        kept = pd.read_csv(out, dtype={"detectron2": str})
        table = pd.concat([kept[kept.detectron2 != commit], table])
    write_text(out, table.to_csv(index=False, float_format="%.3g"))
    return list(over.what + " " + over["size"])
