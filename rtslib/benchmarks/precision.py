"""Precision: in which numbers a case runs, and with or without gradients."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from rtslib.benchmarks.cases import Case


@contextmanager
def running(case: Case, training: bool) -> Iterator[None]:
    """Run in a case's precision: fp32 as PyTorch is set, or bf16 by autocast; without gradients unless training."""
    with ExitStack() as stack:
        if not training:
            stack.enter_context(torch.inference_mode())
        if case.precision == "bf16":
            stack.enter_context(torch.autocast(case.device, torch.bfloat16))
        yield
