"""The order of chips, and the seeds of everything drawn in training.

Order and augmentation depend on (seed, epoch) alone, sampling and stochastic depth on (seed, step). Processes that
train together (`rtslib.training.team`) share the order out; each draws its own samples, by (seed, step, process).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from rtslib.data.samples import ChipDataset
from rtslib.training.team import Team


class EpochSampler(Sampler):
    """A fresh order of all chips every epoch, from (seed, epoch); also tells the data set the epoch.

    Lightning calls `set_epoch` before each epoch. A process of a team takes its share of that order: what all of them
    take for a step is what one alone would.
    """

    def __init__(self, dataset: ChipDataset, seed: int, team: Team | None = None) -> None:
        self.dataset, self.seed, self.epoch, self.team = dataset, seed, 0, team or Team()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.epoch = epoch
        self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.team.size)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
        return iter(self.team.share(torch.randperm(len(self.dataset), generator=generator).tolist()))


def mixed_seed(seed: int, index: int, rank: int = 0) -> int:
    """One 64-bit seed per (run's seed, epoch or step, process)."""
    return int(np.random.SeedSequence([seed, index, rank]).generate_state(1, np.uint64)[0])
