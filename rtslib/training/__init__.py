"""Training: from data and knobs to a run's folder, and from that to predictions."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "trainer": ["train"], "prediction": ["predict", "write_results"], "runs": ["Recipe", "Run"],
    "weights": ["load_model", "load_onto_device"], "heldout": ["chips_on_side"],
    "evidence": ["calibrated_ledger", "shown_from"],
})  # fmt: skip
