"""Loading: batches of the embedded landscape, eight bands, augmented, as training reads them.

Chips are kept in memory after the first epoch, as training keeps them. A training step beside it tells whether the
loader is ever waited for.
"""

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.utils.data import DataLoader

from rtslib.bands import MODALITIES
from rtslib.benchmarks.cases import Case, Unavailable, Work


def loading(case: Case) -> Work:
    """Return an epoch of a loader, timed by the batch, or a training step. Raises Unavailable: no rasterio."""
    if case.case == "training step":
        from rtslib.benchmarks.detectors import quick

        return quick(case)
    if find_spec("rasterio") is None:
        raise Unavailable("rasterio, which opens chips, is not installed")
    from rtslib.data.opening import open_chips
    from rtslib.data.samples import ChipDataset, collate
    from rtslib.synthetic.chips import write_challenge

    folder = TemporaryDirectory()
    chipset = open_chips(write_challenge(Path(folder.name) / "chips", case.given["chips"], case.px, seed=0))
    modalities = {m: list(b) for m, b in MODALITIES.items()}
    data = ChipDataset(chipset, list(chipset.labelled()), modalities, augment=True)
    workers = case.given["workers"]
    loader: Any = DataLoader(
        data, case.batch, shuffle=True, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> int:
        assert folder  # kept as long as the loader
        return sum(1 for _ in loader)

    return Work(epoch, parts=len(loader), counted=False, note=lambda: f"{len(data)} chips an epoch")
