"""Figures: charts from tables, pictures of chips and scenes, and the interactive map."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "attention": ["readings"], "charts": ["run_curves"], "chips": ["gallery"],
    "diagrams": ["cascade", "fused_detector", "residual_attention"], "examples": ["detections_figure", "pick"],
    "scenes": ["map_figure"], "web": ["inline", "leafmap_map", "write_webmap"], "studies": ["comparison", "stage_rows"],
    "style": ["save", "show"],
})  # fmt: skip
