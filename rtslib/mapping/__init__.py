"""Mapping: a model over a whole region, into polygons that a person can review."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "maps": ["CANDIDATES", "map_region"], "plan": ["Options"], "spreading": ["FromRun", "Spread"],
    "polygons": ["MAP_FILE", "to_polygons"],
    "review": ["apply_review", "precision_so_far", "read_review", "write_review"], "arts": ["to_arts"],
})  # fmt: skip
