"""Benchmarks: what a map takes, how fast models are beside others, and parity with detectron2."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__, submod_attrs={"maps": ["measure_map"], "parity": ["measure"], "speed": ["measure_speed"]}
)
