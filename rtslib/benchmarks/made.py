"""Made-up weights and batches: what benchmarks feed to models, ours and others', without data on disk.

Nothing here reads rasters, so that speed can be measured on machines that have PyTorch and little else.
"""

import importlib
from functools import partial
from typing import Any

import torch
from torch import nn

from rtslib.bands import MODALITIES
from rtslib.config import Config
from rtslib.models.model import Model
from rtslib.models.mvit import SIZES
from rtslib.models.names import mvit_names, renamed


def redraw(model: nn.Module, seed: int = 0) -> None:
    """Draw parameters and running statistics anew, in place: weights at 1/sqrt(inputs), norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.1
            centre = 1.0 if p.ndim == 1 and p.mean() > 0.5 else 0.0
            p.copy_(torch.randn(p.shape, generator=generator, device="cpu") * spread + centre)
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(torch.randn(b.shape, generator=generator, device="cpu") * 0.1)
            elif name.endswith("running_var"):
                b.copy_(torch.rand(b.shape, generator=generator, device="cpu") + 0.5)


def their_mvit(ours: Any, size: str, windows: bool = True) -> Model | None:
    """Return detectron2's MViT with the weights of ours; None where detectron2 has none."""
    modeling = importlib.import_module("detectron2.modeling")
    if not hasattr(modeling, "MViT"):
        return None
    last = torch.tensor(SIZES[size].depths).cumsum(0) - 1
    theirs = modeling.MViT(
        embed_dim=ours.channels[0], depth=int(last[-1]) + 1, last_block_indexes=tuple(last.tolist()),
        norm_layer=partial(nn.LayerNorm, eps=1e-6), adaptive_window_size=56 if windows else 0,
    )  # fmt: skip
    theirs.load_state_dict(renamed(ours.state_dict(), mvit_names(size)))
    return theirs.eval()


def normalised_config(names: tuple[str, ...] = tuple(MODALITIES), **knobs: Any) -> Config:
    """Return a config on the bands of some modalities, normalised by mean 0 and standard deviation 1."""
    modalities = {m: list(MODALITIES[m]) for m in names}
    means, stds = ({m: [v] * len(b) for m, b in modalities.items()} for v in (0.0, 1.0))
    return Config.make({"modalities": modalities, "modality_mean": means, "modality_std": stds, **knobs})


def whole_batch(config: Config, side: int, count: int, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
    """Return a batch as `rtslib.data.samples.collate` makes it: smooth noise, valid everywhere, two squares a chip.

    Args:
        config: its modalities.
        side: px of a chip, a multiple of 8.
        count: chips.
        device: cpu or cuda.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    images, valid, targets = {}, {}, []
    for m, bands in config.modalities.items():
        coarse = torch.randn(count, len(bands), side // 8, side // 8, generator=generator)
        images[m] = nn.functional.interpolate(coarse, (side, side), mode="bilinear").to(device)
        valid[m] = torch.ones(count, side, side, dtype=torch.bool, device=device)
    for _ in range(count):
        masks, corners = torch.zeros(2, side, side, dtype=torch.bool), (side // 8, side // 2)
        boxes = torch.tensor([[c, c, c + side // 4, c + side // 4] for c in corners], dtype=torch.float32)
        for mask, c in zip(masks, corners, strict=True):
            mask[c : c + side // 4, c : c + side // 4] = True
        labels = torch.ones(2, dtype=torch.long)
        targets.append({k: t.to(device) for k, t in (("boxes", boxes), ("labels", labels), ("masks", masks))})
    sizes = [(side, side)] * count
    return {"image_ids": list(range(count)), "images": images, "valid": valid, "sizes": sizes, "targets": targets}
