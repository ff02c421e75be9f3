"""Calibrating a run: what its validation side says of its scores, kept in its folder (`rtslib.evaluation.calibration`).

Every kind of training ends with it, whatever was trained.
"""

import torch

from rtslib.data.chips import Chip, ChipSet
from rtslib.evaluation.calibration import fit_platt
from rtslib.evaluation.ledger import ledger
from rtslib.files import save_table
from rtslib.models.model import Model
from rtslib.models.platt import platt
from rtslib.training.prediction import predict, write_results
from rtslib.training.runs import Run


def calibrated(model: Model, chipset: ChipSet, chips: list[Chip], run: Run) -> tuple[dict[str, float], str]:
    """Fit what calibrates the scores on the validation chips; nothing where that cannot be. Says which.

    The predictions on these chips, with calibrated scores, and what was right of them stay in the run's folder.

    Args:
        model: trained, with a config that does not calibrate yet.
        chipset: opened data; chips: its validation side, which may be empty.
        run: whose folder is written to.

    Returns:
        The knobs `temperature` and `score_shift`, {} where none can be fitted, and a sentence for `run.json`.

    Raises:
        OutputError: the folder cannot be written.
    """
    if not chips:
        return {}, "no validation side: scores are not calibrated"
    found = predict(model, chipset, chips)
    rows = ledger(chipset.coco(chips), found, {c.id: c.group for c in chips})
    known = rows[rows["score"].notna()]
    fitted = fit_platt(known["score"].to_numpy(), known["right"].to_numpy())
    temperature, shift = fitted or (1.0, 0.0)
    scores = platt(torch.tensor([r["score"] for r in found], dtype=torch.float64), temperature, shift).tolist()
    write_results(run.predictions("val"), [{**r, "score": score} for r, score in zip(found, scores, strict=True)])
    save_table(rows, run.ledger)
    if fitted is None:
        return {}, "no right, or no wrong detection on the validation side: scores are not calibrated"
    said = f"temperature {temperature:.3f}, shift {shift:.3f}, fitted on {len(chips)} validation chips"
    return {"temperature": temperature, "score_shift": shift}, said
