"""Held-out chips: which chips of a data set a run has not learnt from.

A run keeps its split (`rtslib.data.splits`) and the fingerprint of the data it was trained on. Scores on chips of
its `train` side tell how well it remembers, those on `val` are biased by any choice made there, and only
`test` tells how well it maps new places. On other data every chip is held out, as far as the run knows.
"""

from pathlib import Path

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.splits import load_split
from rtslib.errors import DataError
from rtslib.training.runs import Run


def chips_on_side(run: str | Path, chipset: ChipSet, side: str = "all") -> tuple[list[Chip], str]:
    """Choose the labelled chips of one side of a run's split.

    Args:
        run: folder of a run (`rtslib.training.runs`).
        chipset: the opened data set.
        side: "train", "val", "test", or "all".

    Returns:
        The chips in the order of the set, and a sentence on how many of them the run has learnt from ("" if
        none, or if it was trained on other data).

    Raises:
        DataError: there is no labelled chip; or, if `side` is not "all", the run was trained on other data or
            its split has no chip there.
    """
    run, chips = Run(Path(run)), list(chipset.labelled())
    if not chips:
        raise DataError(chipset.root, "no labelled chips", "some to score against")
    if run.record.get("data_fingerprint") != chipset.fingerprint():
        if side != "all":
            found = f"other data than {run} was trained on"
            raise DataError(chipset.root, found, f"the same for side {side}, or side all")
        return chips, ""
    split = load_split(run.folder / "split.csv", chipset)
    sides = dict(zip(split["chip"], split["side"], strict=True))
    chosen = [c for c in chips if side in ("all", sides[c.id])]
    if not chosen:
        raise DataError(run.folder / "split.csv", f"no chip on side {side}", f"one of {sorted(set(sides.values()))}")
    trained, chose = (sum(sides[c.id] == s for c in chosen) for s in ("train", "val"))
    told = f"{trained} of these {len(chosen)} chips were used in training, {chose} in validation"
    return chosen, told if trained or chose else ""
