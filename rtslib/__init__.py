"""rtslib maps retrogressive thaw slumps (RTS) from several satellite modalities at once.

The library is thin and flat, one idea per file; the notebooks tell the story. Start with
`rtslib.chips.open_chips` (data), `rtslib.detector.build_model` (model), `rtslib.train.train`
(training), `rtslib.evaluate.evaluate` (scores) and `rtslib.mapping.map_region` (maps).
"""

__version__ = "0.1.0"
