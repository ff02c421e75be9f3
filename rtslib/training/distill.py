"""Distillation: a small MViTv2 learns to give the four maps of a network that knows ImageNet.

No package ships weights of a transformer of these sizes, but EfficientNet-Lite0's come with one (`rtslib.models.
timm_branch`). The *teacher* sees three bands of a chip of the embedded landscape, the *student* sees the same, and at
every scale s (strides 4 to 32)

    loss = sum over s of mean |C_s(student_s) - LN(teacher_s)|^2

with C_s a 1x1 convolution that is thrown away after, and LN a normalisation of each place over its channels, so that no
scale and no loud channel rules. Bands are drawn anew for each batch, true colour every other time: the branches that
start from this read indices and terrain, too. The landscape is the generator's alone, so the weights may be shipped.

Source: features of an intermediate layer as a target, Romero et al. 2015 (FitNets, arXiv 1412.6550). Differs: all four
scales at once, a convolutional teacher for a transformer, and no labels at all.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from rtslib.bands import CHALLENGE_BANDS
from rtslib.data.chips import ChipSet
from rtslib.data.samples import ChipDataset, collate
from rtslib.data.statistics import band_statistics
from rtslib.errors import NonFiniteLossError
from rtslib.files import whole
from rtslib.models.mvit import MViT
from rtslib.models.timm_branch import TimmBranch, load_pretrained
from rtslib.training.loop import rate
from rtslib.training.order import EpochSampler
from rtslib.training.weights import best_device

COLOUR = ("red", "green", "blue")
#: Standardised values beyond are cut off: the teacher never saw outliers of terrain.
LIMIT = 4.0


def distill(
    size: str, chipset: ChipSet, out: str | Path, steps: int = 1500, batch: int = 8, lr: float = 1e-3, seed: int = 0,
    every: int = 100,
) -> list[dict[str, float]]:  # fmt: skip
    """Teach an MViTv2 of three bands and save its weights.

    Args:
        size: nano, tiny, ... (`rtslib.models.mvit.SIZES`).
        chipset: with the challenge's bands; its labelled chips are shown, their labels are not read.
        out: file for the weights: float16 tensors under `MViT`'s names, for `rtslib.models.mvit.load_imagenet`.
        steps, batch, lr, seed: of AdamW; the rate rises over the first twentieth and falls to 0 as a cosine.
        every: steps between rows of the log.

    Returns:
        The log: step, loss (mean since the row before).

    Raises:
        WeightsError: the teacher's weights are not installed. OutputError: `out` cannot be written.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    torch.manual_seed(seed)
    teacher = TimmBranch("lite0", 3)
    load_pretrained(teacher, "lite0")
    student, device = MViT(size, 3), best_device()
    bridge = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(student.channels, teacher.channels, strict=True))
    for part in (teacher.eval().requires_grad_(False), student.train(), bridge):
        part.to(device)
    optimizer = torch.optim.AdamW([*student.parameters(), *bridge.parameters()], lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps, 0.05))
    log, recent = [], []
    for step, x in enumerate(_views(chipset, steps, batch, seed), start=1):
        loss = likeness(student(x.to(device)), teacher(x.to(device)), bridge)
        if not torch.isfinite(loss):
            raise NonFiniteLossError({"loss": loss.item()}, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if step % every == 0 or step == steps:
            log.append({"step": step, "loss": float(np.mean(recent))})
            recent = []
    with whole(out) as part:
        torch.save({k: v.half().cpu() for k, v in student.state_dict().items()}, part)
    return log


def likeness(student: Sequence[Tensor], teacher: Sequence[Tensor], bridge: nn.ModuleList) -> Tensor:
    """Return the loss of the module's text.

    Args:
        student, teacher: maps (B, C_s, h_s, w_s) of the four scales; channels may differ.
        bridge: a 1x1 convolution a scale, from the student's channels to the teacher's.
    """
    wanted = [F.layer_norm(t.permute(0, 2, 3, 1), t.shape[1:2]).permute(0, 3, 1, 2) for t in teacher]
    parts = [F.mse_loss(conv(s), t) for conv, s, t in zip(bridge, student, wanted, strict=True)]
    return torch.stack(parts).sum()


def _views(chipset: ChipSet, steps: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield `steps` batches of three standardised bands, float32 (batch, 3, H, W), 0 where there is no data."""
    bands = {"all": list(CHALLENGE_BANDS)}
    chips = chipset.labelled()
    measured: Any = band_statistics(chipset, chips, bands)["all"]
    mean, std = (torch.tensor(measured[k])[:, None, None] for k in ("mean", "std"))
    data = ChipDataset(chipset, chips, bands, augment=True, seed=seed)
    loader = DataLoader(data, batch, sampler=EpochSampler(data, seed), collate_fn=collate, drop_last=True)
    rng, colour = np.random.default_rng(seed), [CHALLENGE_BANDS.index(b) for b in COLOUR]
    done, epoch = 0, 0
    while done < steps:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for found in loader:
            if done == steps:
                return
            x = ((found["images"]["all"] - mean) / std).clamp(-LIMIT, LIMIT) * found["valid"]["all"][:, None]
            yield x[:, colour if done % 2 else rng.permutation(len(CHALLENGE_BANDS))[:3].tolist()]
            done += 1
        epoch += 1
