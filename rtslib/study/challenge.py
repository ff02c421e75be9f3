"""The challenge's recipe: one frozen set of knobs, trained on all chips, that predicts new ones.

`CHALLENGE` of `rtslib.config` holds the knobs, `CHALLENGE_GPU` those for a GPU. A small validation side, whole groups
of look-alikes (`rtslib.data.lookalikes`), fits the calibration of scores; there is no test side, as the new chips are
that. Nothing here looks at them before they are predicted.
"""

from pathlib import Path

from rtslib import config
from rtslib.bands import check_modalities
from rtslib.config import Config
from rtslib.data.chips import ChipSet
from rtslib.data.lookalikes import lookalikes, with_groups
from rtslib.data.splits import split_by_group
from rtslib.errors import ConfigError, DataError
from rtslib.evaluation.submission import validate
from rtslib.study.profiles import in_epochs
from rtslib.training.prediction import predict, write_results
from rtslib.training.runs import Recipe, Run
from rtslib.training.trainer import obtain
from rtslib.training.weights import load_onto_device

RUN, RESULTS = "run", "results.json"


def train_challenge(chipset: ChipSet, new: ChipSet, out: str | Path, gpu: bool = False, progress: bool = True) -> Run:
    """Train the recipe on all labelled chips, go on with one that was stopped, or recognise it as finished.

    Args:
        chipset: opened data with labels; all modalities that it has are read.
        new: the chips that are to be predicted, whose bands are checked before anything is trained.
        out: folder whose `run/` the run goes to.
        gpu: take the recipe for a GPU; two cores take a night for it.
        progress: show a progress bar, or a line an epoch.

    Raises:
        ConfigError: the chips have no complete modality, or the new ones lack a band of one.
        DataError, TrainingError, OutputError: as `rtslib.training.trainer.obtain`.
    """
    modalities = {m: list(bands) for m, bands in chipset.modalities().items()}
    if not modalities:
        raise ConfigError(f"{chipset.root} has bands {', '.join(chipset.bands)}, which fill no modality")
    check_modalities(modalities, new.bands)
    if not chipset.has_groups:
        chipset = with_groups(chipset, lookalikes(chipset))
    knobs = {**(config.CHALLENGE_GPU if gpu else config.CHALLENGE), "modalities": modalities}
    fractions = Config.make({k: v for k, v in knobs.items() if k != "steps"})
    split = split_by_group(chipset, fractions.val_fraction, 0.0, fractions.seed)
    frozen = in_epochs(knobs, int((split["side"] == "train").sum()))
    return obtain(Recipe(frozen, chipset, split), Run(Path(out) / RUN), progress)


def predict_challenge(run: Run, new: ChipSet, out: str | Path, name: str = RESULTS) -> list[dict]:
    """Predict the unlabelled chips of a set, or all of one that has none, and write them in the challenge's format.

    Args:
        run: from `train_challenge`.
        new: opened chips with the bands that the run reads.
        out: folder that gets the file.
        name: of the file.

    Returns:
        COCO results, as `rtslib.training.prediction.predict`.

    Raises:
        ConfigError: the chips lack a band. DataError: a rule of the challenge is broken.
    """
    chips = [c for c in new.chips if not c.labelled] or list(new.chips)
    results = predict(load_onto_device(run), new, chips)
    file = Path(out) / name
    write_results(file, results)
    if faults := validate(file, new):
        raise DataError(file, faults[0], "what the challenge takes")
    return results


def submission_name(run: Run) -> str:
    """Return a name for a submission that says which model made it: the run's and 8 digits of its weights and knobs.

    The challenge takes any name. Raises DataError: the run has no weights.
    """
    return f"submission-{run.name}-{run.digest[:8]}.json"
