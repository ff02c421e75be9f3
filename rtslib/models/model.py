"""What every model has, whatever its engine and fusion; for those that take one."""

from itertools import chain

import torch
from torch import Tensor, nn

from rtslib.config import Config
from rtslib.errors import ConfigError


class Model(nn.Module):
    """A detector.

    Attributes:
        config: its knobs.
        backbones: its branches by name; none of one that has no network (`rtslib.models.trees`).
    """

    config: Config
    backbones: nn.ModuleDict

    def keep_statistics(self, config: Config) -> None:
        """Keep the normalisation statistics of every modality among the weights.

        Raises:
            ConfigError: they are missing or of the wrong length.
        """
        for m, bands in config.modalities.items():
            mean, std = config.modality_mean.get(m, []), config.modality_std.get(m, [])
            if len(mean) != len(bands) or len(std) != len(bands) or min(std, default=0) <= 0:
                raise ConfigError(f"modality {m!r} has no usable modality_mean and modality_std: train fills them in")
            self.register_buffer(f"mean_{m}", torch.tensor(mean).view(-1, 1, 1))
            self.register_buffer(f"std_{m}", torch.tensor(std).view(-1, 1, 1))

    def standardised(self, modality: str, values: Tensor) -> Tensor:
        """Return values float (..., bands, h, w) in physical units as standard deviations from the mean."""
        return (values - getattr(self, f"mean_{modality}")) / getattr(self, f"std_{modality}")


def device_of(model: nn.Module) -> torch.device:
    """Return the device that a model's tensors are on; the CPU if it has none."""
    return next((t.device for t in chain(model.parameters(), model.buffers())), torch.device("cpu"))
