"""rtslib maps retrogressive thaw slumps (RTS) from several satellite modalities at once.

The library is thin and flat, one idea per file; the notebooks tell the story. Start with
`rtslib.data.opening.open_chips` (data), `rtslib.models.build.build_model` (model), `rtslib.training.train.train`
(training), `rtslib.evaluation.coco.evaluate` (scores) and `rtslib.mapping.maps.map_region` (maps).
"""

__version__ = "0.1.0"
