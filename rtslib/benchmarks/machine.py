"""The machine: how fast it multiplies matrices, which bounds every model, and how soon rtslib starts."""

import subprocess
import sys
from typing import Any

import torch

from rtslib.benchmarks.cases import Case, Work

COMMANDS = {"import rtslib": ["-c", "import rtslib"], "rtslib --help": ["-m", "rtslib", "--help"]}


def matrix_product(case: Case) -> Work:
    """Return the product of two square matrices in a case's precision."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[case.precision]
    a, b = torch.randn(2, case.px, case.px, device=case.device, dtype=kind)
    out = torch.empty_like(a)
    return Work(lambda: torch.mm(a, b, out=out))


def start(case: Case) -> Work:
    """Return a start of Python that imports rtslib, or prints its help."""
    command = [sys.executable, *COMMANDS[case.case]]

    def run() -> Any:
        return subprocess.run(command, capture_output=True, check=True)

    return Work(run, counted=False)
