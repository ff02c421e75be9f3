"""Arithmetic: the floating point operations of a call, as PyTorch counts them while it runs.

Matrix products, convolutions and attention, forward and backward, a multiply-add as two; RoIAlign, norms and sorting
are not counted. PyTorch's counter passes over the fused attention of CPUs, so its rule is given here, the same as for
the kernels of GPUs. What is counted is what ran: an implementation that pads its matrices computes more.

Source: torch.utils.flop_counter.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def gflop(call: Callable[[], Any]) -> float:
    """Return the operations of one call, 10^9."""
    with FlopCounterMode(display=False, custom_mapping=_ON_CPUS) as counter:
        call()
    return counter.get_total_flops() / 1e9


def _forward(q: torch.Size, k: torch.Size, v: torch.Size, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _backward(
    grad: torch.Size, q: torch.Size, k: torch.Size, v: torch.Size, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(grad, q, k, v)


_ATEN: Any = torch.ops.aten
_ON_CPUS: dict[Any, Any] = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _forward,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}
