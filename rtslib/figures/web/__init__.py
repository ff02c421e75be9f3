"""The interactive map: one HTML file, and the panel in it."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={"page": ["inline", "write_webmap"]})
