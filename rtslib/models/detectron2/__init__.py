"""The second engine: the same model out of detectron2's modules, where it is installed."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={"model": ["FusedRCNN"]})
