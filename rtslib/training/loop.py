"""The training loop, by Lightning, and its parts: the module, the log, the checkpoint.

A run that is killed and resumed at an epoch's start ends with the same weights as one that was not
(`rtslib.training.order`).
"""

import logging
import math
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader

from rtslib.config import Config
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.samples import ChipDataset, collate
from rtslib.errors import NonFiniteLossError, TrainingError
from rtslib.evaluation.coco import evaluate
from rtslib.files import whole
from rtslib.models.fusion import Fusion
from rtslib.models.model import Model
from rtslib.training.logs import read_log, write_log
from rtslib.training.order import EpochSampler, mixed_seed
from rtslib.training.prediction import as_results
from rtslib.training.team import LOST, Team


class Lit(L.LightningModule):
    """Optimiser, schedule and losses around a Detector.

    Args:
        model: the detector.
        steps: optimiser steps of the whole run, which the schedule spans.
        truth: COCO ground truth of the validation chips, or None.
        team: the processes that train together; None: this one alone.
    """

    def __init__(self, model: Model, steps: int, truth: dict | None, team: Team | None = None) -> None:
        super().__init__()
        self.model, self.steps, self.truth, self.team = model, steps, truth, team or Team()
        self.found: dict[int, list[dict]] = {}

    def configure_optimizers(self) -> Any:
        """AdamW, linear warm-up, cosine to zero, stepped every optimiser step."""
        c = self.model.config
        optimizer = torch.optim.AdamW(parameter_groups(self.model), lr=c.lr, weight_decay=c.weight_decay, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, self.steps, c.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of all gradients: Lightning refuses fused optimisers in mixed precision, for the sake of scaled
        gradients, which bf16 has none of."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val or float("inf"))

    def on_train_epoch_start(self) -> None:
        """Freeze the backbones in the first `freeze_epochs`, without stochastic depth; then let them train.

        The optimiser holds their parameters from the start and passes over those without a gradient.
        """
        frozen = self.current_epoch < self.model.config.freeze_epochs
        self.model.backbones.requires_grad_(not frozen).train(not frozen)

    def training_step(self, batch: dict, index: int) -> torch.Tensor:
        """Sum of the losses. Raises NonFiniteLossError with all of them if that is NaN or infinite.

        What is logged and checked is the mean over all processes.
        """
        torch.manual_seed(mixed_seed(self.model.config.seed, self.global_step, self.team.rank))
        own = self.model(batch)
        stacked = torch.stack(list(own.values()))
        means = self.team.mean(stacked.detach())
        losses, total = dict(zip(own, means)), means.sum()
        if not torch.isfinite(total):
            raise self.team.told(NonFiniteLossError({k: v.item() for k, v in losses.items()}, self.global_step))
        n = len(batch["sizes"])
        self.log("loss", total, prog_bar=True, on_step=False, on_epoch=True, batch_size=n)
        grouped = {"rpn": "loss_objectness loss_rpn_box_reg", "mask": "loss_mask"}
        shown = {k: sum(losses[name] for name in names.split()) for k, names in grouped.items()}
        shown["box"] = sum(v for k, v in losses.items() if "_stage" in k)
        self.log_dict(shown, prog_bar=True, on_step=True, on_epoch=False, batch_size=n)
        self.log_dict(losses, on_step=False, on_epoch=True, batch_size=n)
        return stacked.sum()

    def validation_step(self, batch: dict, index: int) -> None:
        """Collect COCO results; the averaged weights are in place by then."""
        for image_id, output in zip(batch["image_ids"], self.model(batch)):
            self.found[image_id] = as_results(image_id, output, self.model.config.max_dets)

    def on_validation_epoch_end(self) -> None:
        """Log `val_AP` and `val_AP50` of the masks (fractions 0-1), over the chips of all processes, each once."""
        found = {chip: results for part in self.team.gathered(self.found) for chip, results in part.items()}
        self.found = {}
        if not self.team.first:
            return
        scores = evaluate(self.truth, [r for results in found.values() for r in results])["segm"]
        for name in ("AP", "AP50"):
            if scores[name] is not None:
                self.log(f"val_{name}", scores[name], prog_bar=True, rank_zero_only=True)


def rate(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate at `step` of `steps`: linear rise over the share `warmup`, then cosine to 0."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def parameter_groups(model: Model) -> list[dict[str, Any]]:
    """AdamW groups: backbones at `lr * backbone_lr`, what fuses at `lr * fusion_lr`; decay on the weights of
    linear layers and convolutions alone."""
    c, every = model.config, list(model.modules())
    factor = {id(p): c.backbone_lr for p in model.backbones.parameters()}
    factor |= {id(p): c.fusion_lr for m in every if isinstance(m, Fusion) for p in m.parameters()}
    decayed = {id(m.weight) for m in every if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)}
    groups: dict[tuple[float, bool], list] = {}
    for p in model.parameters():
        if p.requires_grad:
            groups.setdefault((factor.get(id(p), 1.0), id(p) in decayed), []).append(p)
    return [
        {"params": ps, "lr": c.lr * times, "weight_decay": c.weight_decay if decay else 0.0}
        for (times, decay), ps in groups.items()
    ]


def averaging_decay(config: Config, steps: int) -> float:
    """EMA decay: `ema`, less on short runs, so that the average spans at most the last tenth of the steps."""
    return min(config.ema, max(0.0, 1 - 10 / steps))


class EpochLog(Callback):
    """`log.csv`: one row an epoch with its number, seconds of training alone, learning rate and every logged mean.

    The file is written whole after each epoch; resuming keeps the rows of finished epochs.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.started, self.stopped = path, 0.0, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop the clock."""
        self.stopped = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Let it run on."""
        self.started += time.monotonic() - self.stopped

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Rewrite the table with this epoch's row at its end."""
        rows = read_log(self.path)[: trainer.current_epoch]
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0  # else `val_` are old
        means = {
            k: v.item() for k, v in trainer.callback_metrics.items()
            if k not in ("rpn", "mask", "box") and (validated or not k.startswith("val_"))  # those are of one step
        }  # fmt: skip
        row = {
            "epoch": trainer.current_epoch, "step": trainer.global_step,
            "seconds": round(time.monotonic() - self.started, 3), "lr": trainer.optimizers[0].param_groups[-1]["lr"],
        }  # fmt: skip
        write_log(self.path, [*rows, {**row, **means}])


class EpochLines(Callback):
    """A line an epoch: the run's name, the loss and, where it was validated, AP50; for logs and executed notebooks."""

    def __init__(self, name: str, to: TextIO) -> None:
        self.name, self.to = name, to

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Say where the training is."""
        done, means = trainer.current_epoch + 1, trainer.callback_metrics
        validated = "val_AP50" in means and done % trainer.check_val_every_n_epoch == 0
        seen = f", AP50 {means['val_AP50']:.3f} on validation chips" if validated else ""
        line = f"{self.name}, epoch {done} of {trainer.max_epochs}: loss {means['loss']:.3f}{seen}"
        print(line, file=self.to, flush=True)


def shown_by(name: str) -> list[Callback]:
    """Return what shows a run's progress: on a terminal a bar, in a file a line an epoch, as a bar would write one a
    step; in a notebook both, as its executed copy keeps the lines alone."""
    notebook = "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    bar: list[Callback] = [TQDMProgressBar()] if notebook or sys.stderr.isatty() else []
    lines: list[Callback] = [EpochLines(name, sys.stdout if notebook else sys.stderr)] if notebook or not bar else []
    return bar + lines


class LastCheckpoint(Callback):
    """`last.ckpt` after every epoch, whole or not at all; what a resumed run starts from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the checkpoint."""
        with whole(self.path) if trainer.is_global_zero else nullcontext(self.path) as part:  # the first one writes
            trainer.save_checkpoint(part)


def fit(
    model: Model, chipset: ChipSet, chips: dict[str, list[Chip]], out: Path, progress: bool, team: Team | None = None
) -> int:
    """Train, from `last.ckpt` where there is one; leaves the averaged weights in `model`, on the CPU.

    Args:
        model: in training mode; `model.config` holds the knobs.
        chipset: opened data; chips: side -> those of it.
        out: folder of log and checkpoint.
        progress: show it, as `shown_by` says.
        team: the processes that train together, of which the first one shows and writes; None: this one alone.

    Returns:
        The number of optimiser steps.
    """
    config, team = model.config, team or Team()
    loader, val_loader, truth = _loaders(config, chipset, chips, team)
    steps = config.epochs * len(loader)
    ema = [EMAWeightAveraging(decay=averaging_decay(config, steps))] if config.ema else []
    log: list[Callback] = [EpochLog(out / "log.csv")] if team.first else []
    callbacks: list[Callback] = [*ema, *log, LastCheckpoint(out / "last.ckpt")]
    if progress and team.first:
        callbacks += shown_by(out.name)
        print(team.said(config.batch_size), file=sys.stderr, end="")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no hardware lines and advertisements
    with warnings.catch_warnings():
        for known in (
            "does not have many workers",
            "have no `val_dataloader`",
            "LeafSpec.*is deprecated",
            "in eval mode at the start",
            "recommended to use `self.log",  # what is logged is a mean over all processes already
        ):
            warnings.filterwarnings("ignore", message=f".*{known}.*")
        trainer = _trainer(config, callbacks, out, team)
        last = out / "last.ckpt"
        lit = Lit(model, steps, truth, team)
        launcher: Any = trainer.strategy.launcher
        if team.children:  # a signal that ends this process ends them
            launcher.procs = team.children
        try:
            trainer.fit(lit, loader, val_loader, ckpt_path=last if last.exists() else None, weights_only=True)
        except RuntimeError as e:
            if not team.lost(e):
                raise
            raise team.told(TrainingError(LOST)) from e
    if trainer.interrupted:
        raise KeyboardInterrupt
    model.to("cpu")
    return trainer.global_step


def _trainer(config: Config, callbacks: list[Callback], out: Path, team: Team) -> L.Trainer:
    """Return Lightning's Trainer of a run."""
    precision: Any = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    return L.Trainer(
        default_root_dir=out, max_epochs=config.epochs, precision=precision, accelerator="auto",
        gradient_clip_val=config.clip, callbacks=callbacks, logger=False, enable_checkpointing=False,
        enable_progress_bar=any(isinstance(c, TQDMProgressBar) for c in callbacks), enable_model_summary=False,
        check_val_every_n_epoch=config.val_every or 1, num_sanity_val_steps=0, log_every_n_steps=1,
        deterministic=False, **_together(config, team),
    )  # fmt: skip


def _together(config: Config, team: Team) -> dict[str, Any]:
    """Return what Lightning's Trainer is told of devices; alone, it is to look for no torchrun and no Slurm."""
    if team.size == 1:
        return {"devices": 1, "plugins": [LightningEnvironment()]}
    unused = config.strategy.endswith("true") or config.freeze_epochs > 0
    ddp = DDPStrategy(find_unused_parameters=unused, broadcast_buffers=False)  # buffers are the same everywhere
    # `EpochSampler` shares the order out: Lightning's own sampler would shuffle by another rule.
    return {
        "devices": config.devices, "num_nodes": config.num_nodes, "strategy": ddp, "use_distributed_sampler": False
    }  # fmt: skip


def _loaders(
    config: Config, chipset: ChipSet, chips: dict[str, list[Chip]], team: Team | None = None
) -> tuple[DataLoader, DataLoader | None, dict | None]:
    """Return the loader of the training side; that of the validation side and its COCO truth, if it is to be scored;
    each of what this process takes."""
    team = team or Team()
    data = ChipDataset(
        chipset, chips["train"], config.modalities, config.augment, seed=config.seed,
        crop=config.crop, dropout=config.modality_dropout, crop_slumps=config.crop_slumps,
        scale_jitter=config.scale_jitter, paste=config.paste, jitter=config.jitter, hue=config.hue,
    )  # fmt: skip
    shared: dict[str, Any] = {
        "collate_fn": collate, "num_workers": config.workers, "pin_memory": torch.cuda.is_available(),
        "persistent_workers": config.workers > 0,  # they keep what they have read; the epoch reaches them
    }  # fmt: skip
    batch = config.batch_size // team.size
    loader = DataLoader(data, batch, sampler=EpochSampler(data, config.seed, team), **shared)
    if not (config.val_every and chips.get("val")):
        return loader, None, None
    val = ChipDataset(chipset, team.share(chips["val"]), config.modalities)
    return loader, DataLoader(val, batch, **shared), chipset.coco(chips["val"])
