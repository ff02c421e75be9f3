"""The embedded landscape: Arctic terrain with thaw slumps, so that everything runs without a download."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "chips": ["make_chip", "write_challenge"], "scene": ["write_scene"],
})  # fmt: skip
