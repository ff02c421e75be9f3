"""What every model has, whatever its engine and fusion; for those that take one."""

from torch import nn

from rtslib.config import Config


class Model(nn.Module):
    """A detector.

    Attributes:
        config: its knobs.
        backbones: its branches by name.
    """

    config: Config
    backbones: nn.ModuleDict
