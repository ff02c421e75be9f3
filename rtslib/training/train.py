"""Training a run: data and config in, run folder out.

The unimodal and the multimodal stage are the same function: the first one trains on one modality, the
second one starts from the runs of the first (`init`).
"""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader

from rtslib.config import Config
from rtslib.data.chips import Chip, ChipSet
from rtslib.data.samples import ChipDataset, band_statistics, collate
from rtslib.data.splits import save_split, split_by_group
from rtslib.errors import TrainingError
from rtslib.evaluation.calibration import fit_temperature, judged, tempered
from rtslib.files import write_json
from rtslib.models.detector import Detector, build_model
from rtslib.training.logs import read_log
from rtslib.training.memory import peak_mib, reset_peak
from rtslib.training.predict import predict, write_results
from rtslib.training.runs import claim, initialise, predictions_file, relative_paths, run_key, save_weights


def train(
    chipset: ChipSet,
    out_dir: str | Path,
    config: Config,
    split: pd.DataFrame | None = None,
    init: Mapping[str, str | Path] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train and write a run folder (`rtslib.training.runs`).

    Args:
        chipset: opened data with labels.
        out_dir: run folder; new, unless `resume`.
        config: knobs; the normalisation statistics are measured on the training side and filled in.
        split: columns chip, name, group, side; None: `split_by_group` with the config's fractions and seed.
        init: runs to start from: modality -> unimodal run, or "all" -> a run of the same make; see
            `rtslib.training.runs.initialise`.
        resume: go on with an unfinished run of the same key; return a finished one at once.
        progress: show a progress bar.

    Returns:
        The run folder.

    Raises:
        ConfigError, DataError, WeightsError: config, data or initial weights do not fit.
        NonFiniteLossError: a loss became NaN or infinite.
        OutputError: the folder holds another run, or cannot be written.
    """
    out = Path(out_dir)
    if split is None:
        split = split_by_group(chipset, config.val_fraction, config.test_fraction, config.seed)
    key = run_key(config, chipset.fingerprint(), split.to_csv(index=False), init)
    if claim(out, key, resume):
        return out
    sides = {side: set(rows["chip"]) for side, rows in split.groupby("side")}
    chips = {side: [c for c in chipset.chips if c.id in ids] for side, ids in sides.items()}
    if not chips.get("train"):
        raise TrainingError(f"{chipset.root}: the split has no training chips")
    config = with_statistics(config, chipset, chips["train"])
    torch.manual_seed(config.seed)
    model = build_model(config)
    if init:
        initialise(model, init)
    record = _start_record(key, config, chipset, relative_paths(init or {}, out))
    save_split(split, out / "split.csv")
    config.save(out / "config.json")
    write_json(out / "run.json", record)
    reset_peak()
    steps = _fit(model, chipset, chips, out, progress)
    memory = peak_mib()
    save_weights(out / "model.pt", model)
    temperature, said = _calibrated(model, chipset, chips.get("val", []), out)
    config.updated(temperature=temperature).save(out / "config.json")
    end = {**_end_record(model, chips, steps, out), "peak_memory_mib": memory, "calibration": said}
    write_json(out / "run.json", {**record, **end})
    (out / "last.ckpt").unlink(missing_ok=True)
    return out


def with_statistics(config: Config, chipset: ChipSet, chips: list[Chip]) -> Config:
    """Return the config with mean and standard deviation of the bands over the training chips. Raises DataError."""
    stats = band_statistics(chipset, chips, config.modalities)
    means, stds = ({m: s[kind] for m, s in stats.items()} for kind in ("mean", "std"))
    return config.updated(modality_mean=means, modality_std=stds)


def _start_record(key: str, config: Config, chipset: ChipSet, init: dict[str, str]) -> dict:
    """Git state and seed first, as DETR logs them."""
    from rtslib.study.manifest import commit, hardware, versions

    return {
        **commit(),
        "seed": config.seed,
        "key": key,
        "finished": False,
        "data": chipset.root.name,
        "data_fingerprint": chipset.fingerprint(),
        "layout": chipset.layout,
        "init": init,
        "versions": versions(),
        "hardware": hardware(),
    }


def _calibrated(model: Detector, chipset: ChipSet, chips: list[Chip], out: Path) -> tuple[float, str]:
    """Fit the temperature of the scores on the validation chips; 1 where that cannot be. Says which.

    The predictions on these chips, with the scaled scores, stay in the run's folder.
    """
    if not chips:
        return 1.0, "no validation side: scores are not calibrated"
    found = predict(model, chipset, chips)
    fitted = fit_temperature(*judged(chipset.coco(chips), found))
    scores = tempered(torch.tensor([r["score"] for r in found]), fitted or 1.0).tolist()
    write_results(predictions_file(out, "val"), [{**r, "score": score} for r, score in zip(found, scores, strict=True)])
    if fitted is None:
        return 1.0, "no right, or no wrong detection on the validation side: scores are not calibrated"
    return fitted, f"temperature {fitted:.3f}, fitted on {len(chips)} validation chips"


def _end_record(model: Detector, chips: dict[str, list[Chip]], steps: int, out: Path) -> dict:
    """What the training took; seconds of all its epochs, also those before it was resumed."""
    return {
        "finished": True,
        "seconds": round(sum(float(row["seconds"]) for row in read_log(out / "log.csv")), 1),
        "steps": steps,
        "passes": model.config.epochs * len(chips["train"]),
        "chips": {side: len(c) for side, c in chips.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_parameters": sum(p.numel() for p in model.parameters()) - _frozen(model),
    }


def _frozen(model: Detector) -> int:
    """Number of parameters that never train."""
    always = model.config.freeze_epochs >= model.config.epochs
    return sum(p.numel() for p in model.backbones.parameters()) if always else 0


def _fit(model: Detector, chipset: ChipSet, chips: dict[str, list[Chip]], out: Path, progress: bool) -> int:
    """Run Lightning's loop, from `last.ckpt` where there is one; leaves the averaged weights in `model`.

    Returns the number of optimiser steps.
    """
    import lightning as L
    from lightning.pytorch.callbacks import EMAWeightAveraging, TQDMProgressBar

    from rtslib.training.loop import EpochLog, EpochSampler, LastCheckpoint, Lit, averaging_decay

    config = model.config
    data = ChipDataset(
        chipset, chips["train"], config.modalities, config.augment, seed=config.seed,
        crop=config.crop, dropout=config.modality_dropout,
    )  # fmt: skip
    shared = {"collate_fn": collate, "num_workers": config.workers, "pin_memory": torch.cuda.is_available()}
    loader = DataLoader(data, config.batch_size, sampler=EpochSampler(data, config.seed), **shared)
    truth, val_loader = None, None
    if config.val_every and chips.get("val"):
        truth = chipset.coco(chips["val"])
        val = ChipDataset(chipset, chips["val"], config.modalities)
        val_loader = DataLoader(val, config.batch_size, **shared)
    steps = config.epochs * len(loader)
    callbacks = [EpochLog(out / "log.csv"), LastCheckpoint(out / "last.ckpt")]
    if config.ema:
        callbacks.insert(0, EMAWeightAveraging(decay=averaging_decay(config, steps)))
    if progress:
        callbacks.append(TQDMProgressBar())
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no hardware lines and advertisements
    with warnings.catch_warnings():
        for known in ("does not have many workers", "have no `val_dataloader`", "LeafSpec.*is deprecated"):
            warnings.filterwarnings("ignore", message=f".*{known}.*")
        trainer = L.Trainer(
            default_root_dir=out,
            max_epochs=config.epochs,
            precision=precision,
            accelerator="auto",
            devices=1,
            gradient_clip_val=config.clip,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            check_val_every_n_epoch=config.val_every or 1,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            deterministic=False,
        )
        last = out / "last.ckpt"
        lit = Lit(model, steps, truth)
        trainer.fit(lit, loader, val_loader, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    model.to("cpu")
    return trainer.global_step
