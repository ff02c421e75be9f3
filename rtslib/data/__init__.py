"""Chips and rasters: whatever a user brings, as named bands in physical units with known slumps."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "opening": ["open_chips"], "chips": ["Chip", "ChipSet", "Instance"],
    "scenes": ["Scene", "mosaic_group", "open_scene"], "region": ["open_region"],
    "lookalikes": ["lookalike_pairs", "with_groups"], "rasters": ["open_stack"],
    "vectors": ["read_area", "read_polygons", "read_truth"],
    "splits": ["folds_by_group", "load_split", "save_split", "split_by_group"],
    "samples": ["ChipDataset", "collate"], "statistics": ["band_statistics", "with_statistics"],
    "tables": ["bands_table", "instances_table", "sides_table"],
    "derive": ["ndvi", "ndwi", "relative_elevation", "shaded_relief"],
})  # fmt: skip
