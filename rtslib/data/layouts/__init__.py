"""The layouts of chip folders, one a file; `rtslib.data.opening` lists them."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "challenge": ["open_challenge"], "coco": ["open_coco"], "geotiff": ["open_geotiff"],
})  # fmt: skip
