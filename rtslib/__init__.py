"""rtslib maps retrogressive thaw slumps (RTS) from several satellite modalities at once.

One folder a step of the way (ARCHITECTURE.md): `data` and `synthetic`, `models` and `evaluation`, `training`,
`mapping`, `figures`, `study`, `benchmarks`, `cli`. The verbs stand here.
"""

import lazy_loader as lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=["benchmarks", "data", "evaluation", "figures", "mapping", "models", "study", "synthetic", "training"],
    submod_attrs={
        "config": ["Config"],
        "data": ["open_chips"],
        "evaluation": ["evaluate"],
        "mapping": ["map_region"],
        "models": ["build_model"],
        "training": ["predict", "train"],
    },
)
