"""The interactive map: one HTML file, the scripts in it, and a leafmap map of the same."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "live": ["leafmap_map"], "page": ["inline", "write_webmap"],
})  # fmt: skip
