"""Several processes that train one run together: which of them this is, what it takes, and how they agree.

Lightning starts them on this machine (`devices`), or finds those that torchrun or Slurm started, on several machines
too (`num_nodes`). A step has the same `batch_size` chips however many share them, so a run stays what it is. The first
process alone writes and speaks, and goes on when the training ends; the others then end.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from rtslib.config import Config
from rtslib.errors import ConfigError, RtsError, one_line

T = TypeVar("T")
#: What the first process says when another one has gone.
LOST = "another process of this training stopped: its own output says why; --resume goes on from the last epoch"
_left: list[int] = []  # the size of a team that this process was in, once it has ended


@dataclass(frozen=True)
class Team:
    """This process among those that train together; alone, where nothing is said.

    Attributes:
        rank: 0 for the first one.
        size: how many there are.
        children: those that this process started.
    """

    rank: int = 0
    size: int = 1
    children: list = field(default_factory=list)

    def __deepcopy__(self, memo: dict) -> "Team":
        """Stay one, as the averaging of weights copies all that trains."""
        return self

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Return what this process takes of `items`, dealt out in turn; the deal ends with the first ones once more,
        where they do not come out even."""
        return list(islice(cycle(items), -(-len(items) // self.size) * self.size))[self.rank :: self.size]

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes."""
        if self.size == 1:
            return x
        total = x.clone()
        distributed.all_reduce(total)
        return total / self.size

    def gathered(self, mine: T) -> list[T]:
        """Return what every process gives here, by rank; it is pickled."""
        every: list[Any] = [mine] * self.size
        if self.size > 1:
            distributed.all_gather_object(every, mine)
        return every

    def said(self, batch: int) -> str:
        """Return a line on how a step's chips are shared; nothing of a process that is alone."""
        return f"{self.size} processes: of a step's {batch} chips each takes {batch // self.size}\n" * (self.size > 1)

    def told(self, error: BaseException) -> BaseException:
        """Return what to raise for an error that all processes met: one of them tells it, and all exit alike."""
        return error if self.first else SystemExit(2)

    def agreed(self, work: Callable[[], T], each: bool = False) -> T:
        """Do some work and tell all processes how it ended.

        Args:
            work: done by the first process, whose answer all get; with `each`, by every one, which keeps its own.

        Raises:
            RtsError: of whichever process failed, on the first one; SystemExit(2) on the others.
        """
        answer: Any = None
        failed: RtsError | None = None
        if each or self.first:
            try:
                answer = work()
            except RtsError as e:
                failed = e
        ends = self.gathered((None if each else answer, failed))
        for error in (e for _, e in ends if e is not None):
            raise self.told(failed or error)
        return answer if each else ends[0][0]

    def synchronised(self, model: nn.Module) -> None:
        """Let batch normalisation that trains see the chips of all processes, in place.

        Raises ConfigError without a GPU, where PyTorch has no such layer.
        """
        from timm.layers import convert_sync_batchnorm

        for name, part in model.named_children() if self.size > 1 else ():
            if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in part.modules()):
                if not torch.cuda.is_available():
                    raise ConfigError(
                        f"{name} has batch normalisation, which processes without a GPU cannot share: set head_norm=GN"
                        " and a backbone without it, or devices=1"
                    )
                setattr(model, name, convert_sync_batchnorm(part))

    def lost(self, error: RuntimeError) -> bool:
        """Tell whether an error in training says that another process has gone."""
        return self.size > 1 and (isinstance(error, distributed.DistError) or "gloo" in str(error))

    def part(self) -> None:
        """End the team: the first process goes on alone, the others exit with 0."""
        if self.size > 1:
            _left.append(self.size)
            distributed.destroy_process_group()
            if not self.first:
                raise SystemExit(0)


def gather(config: Config) -> Team:
    """Bring the processes of a training together, starting them where nobody has; at once for one that is alone.

    Raises:
        ConfigError: there are fewer cards (without a GPU, cores) than `devices`; torchrun or Slurm started another
            number of processes than `devices` times `num_nodes`; or this program cannot be started again.
    """
    size, asked = config.devices * config.num_nodes, f"devices={config.devices} and num_nodes={config.num_nodes}"
    by = "WORLD_SIZE" if distributed.is_torchelastic_launched() else "SLURM_STEP_NUM_TASKS"
    if (started := int(os.environ.get(by, 1))) not in (1, size):
        raise ConfigError(f"{started} processes were started, {asked} make {size}: set devices to those on a machine")
    if size == 1:
        return Team()
    cards = torch.cuda.device_count()
    if config.devices > (there := cards or os.cpu_count() or 1):
        raise ConfigError(f"devices={config.devices}: this machine has {there} {'GPUs' if cards else 'cores, no GPU'}")
    if _left or (sys.argv[0] == "-c" and started == 1):
        raise ConfigError(f"{asked}: such a run is the only one of a command or script: leave them out in a study")
    from lightning import Fabric

    for part in ("fabric", "pytorch"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)  # no lines on backends
    try:
        fabric = Fabric(accelerator="auto", devices=config.devices, num_nodes=config.num_nodes, strategy="ddp")
        fabric.launch()
    except (RuntimeError, ValueError) as e:
        raise ConfigError(f"{asked}: the processes do not come together: {one_line(e)}") from e
    if (met := distributed.get_world_size()) != size:
        raise ConfigError(
            f"{met} process was started, {asked} make {size}: on Slurm, srun --ntasks-per-node starts them"
        )
    return Team(fabric.global_rank, size, getattr(fabric.strategy.launcher, "procs", []))
