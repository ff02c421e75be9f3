"""Planting trees: a run of the baseline `rtslib.models.trees`, from the training side of its recipe.

Pixels are drawn once, each with the chance that gives `tree_pixels` of slumps and as many of other ground; where there
are fewer, as of slumps mostly, all are taken. So that nothing hangs on how many were drawn, what the trees say is
shifted to as if both were as common: b = b of the fit + log(others / slumps). The drawing depends on the seed and on
the chip's place among the training chips. With `modality_dropout` modalities are hidden from training chips as in other
models' training; turning and flipping would change no feature.

Source: HistGradientBoostingClassifier of scikit-learn, with every knob that is not ours at its default but
`early_stopping`, which would hold out single pixels of slumps that the others show.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.masks import decode
from rtslib.data.missing import draw, hide
from rtslib.data.samples import ChipDataset
from rtslib.errors import TrainingError, WeightsError
from rtslib.files import write_json
from rtslib.models.trees import Trees
from rtslib.training.beginning import begun, prepared
from rtslib.training.calibrating import calibrated
from rtslib.training.memory import peak_resident_mib, reset_peak
from rtslib.training.runs import Recipe, Run
from rtslib.training.weights import best_device, save_weights


def plant(recipe: Recipe, run: Run, resume: bool) -> Run:
    """Fit trees into a run's folder, or recognise them as fitted; a fit that was stopped begins anew.

    Args:
        recipe: with fusion `trees`; it starts from no other run.
        run: the folder to make.
        resume: allow a folder that holds this training, unfinished or not.

    Returns:
        The run, as `rtslib.training.trainer.train` leaves it but for the log of epochs: there are none.

    Raises:
        ConfigError, DataError, TrainingError, WeightsError: config or data do not fit, or there is a run to start from.
        OutputError: the folder holds something else, or cannot be written.
    """
    if recipe.claim(run, resume):
        return run
    if recipe.start:
        raise WeightsError(f"trees start from no other run, given is one for {next(iter(recipe.start))}: leave it out")
    config, chips = prepared(recipe)
    model, chipset = Trees(config), recipe.chipset
    record = begun(recipe, run, config)
    reset_peak()
    start = time.monotonic()
    counts = fit_trees(model, chipset, chips["train"])
    spent = {"seconds": round(time.monotonic() - start, 1), "peak_memory_mib": peak_resident_mib()}
    save_weights(run.weights, model)
    numbers, said = calibrated(model.to(best_device()), chipset, chips.get("val", []), run)
    config.updated(**numbers).save(run.folder / "config.json")
    sizes = {"parameters": model.fitted_numbers, "trained_parameters": model.fitted_numbers}
    end = {"finished": True, **spent, "steps": 0, "passes": len(chips["train"]), **sizes, "gates": {}, "pixels": counts}
    sides = {side: len(c) for side, c in chips.items()}
    write_json(run.folder / "run.json", {**record, **end, "chips": sides, "calibration": said})
    return run


def fit_trees(model: Trees, chipset: ChipSet, chips: Sequence[Chip]) -> dict[str, int]:
    """Fit the trees of a model to the pixels of chips.

    Args:
        model: whose config has the knobs.
        chipset: opened data; chips: of its training side.

    Returns:
        The number of pixels fitted to: `slump` and `other`.

    Raises:
        TrainingError: there is no pixel of a slump, or none of other ground.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    c = model.config
    pixels, slump = drawn_pixels(model, chipset, chips)
    counts = {"slump": int(slump.sum()), "other": int((~slump).sum())}
    if not min(counts.values()):
        raise TrainingError(f"{chipset.root}: the training side has no pixel of {min(counts, key=counts.__getitem__)}")
    fitted = HistGradientBoostingClassifier(
        max_iter=c.tree_rounds, max_leaf_nodes=c.tree_leaves, learning_rate=c.tree_rate, early_stopping=False,
        random_state=c.seed,
    ).fit(pixels, slump)  # fmt: skip
    base = fitted._baseline_prediction.item() + np.log(counts["other"] / counts["slump"])
    model.fill([tree.nodes for (tree,) in fitted._predictors], base)
    return counts


def drawn_pixels(model: Trees, chipset: ChipSet, chips: Sequence[Chip]) -> tuple[np.ndarray, np.ndarray]:
    """Draw pixels of chips; returns their features, float32 (n, features), NaN for a gap, and bool (n,): of a slump."""
    c = model.config
    dataset = ChipDataset(chipset, chips, c.modalities, cache=False)
    slumps = [_slump(chipset, chip) for chip in chips]
    count, every = sum(int(s.sum()) for s in slumps), sum(s.size for s in slumps)
    chance = {True: c.tree_pixels / max(count, 1), False: c.tree_pixels / max(every - count, 1)}
    features, labels = [], []
    for i, slump in enumerate(slumps):
        rng = np.random.default_rng([c.seed, i])
        sample = dataset[i]
        images, valid = sample["images"], sample["valid"]
        if c.modality_dropout:
            hide(images, valid, draw(c.modalities, c.modality_dropout, rng))
        seen = torch.stack(list(valid.values())).any(0).numpy()
        taken = (rng.random(slump.shape) < np.where(slump, chance[True], chance[False])) & seen
        features.append(model.described(images, valid)[:, torch.from_numpy(taken)].T.numpy())
        labels.append(slump[taken])
    return np.concatenate(features), np.concatenate(labels)


def _slump(chipset: ChipSet, chip: Chip) -> np.ndarray:
    """Return bool (h, w): the pixels of any of a chip's instances."""
    out = np.zeros((chip.height, chip.width), dtype=bool)
    for instance in chipset.instances[chip.id]:
        out |= decode(instance.rle)
    return out
