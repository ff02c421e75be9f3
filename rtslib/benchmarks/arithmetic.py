"""Arithmetic: the floating point operations of a call, as PyTorch counts them while it runs.

Matrix products, convolutions and attention, forward and backward, a multiply-add as two; RoIAlign, norms and sorting
are not counted. Two of PyTorch's rules are replaced: it passes over the fused attention of CPUs, and counts the
gradient of a grouped convolution's weights as if it had one group. What is counted is what ran: an implementation that
pads its matrices computes more.

*Kept* is what autograd holds from the forward for the backward pass, most of a training step's memory. Neither number
hangs on the machine, so that a test can keep both from growing.

Source: torch.utils.flop_counter; torch.autograd.graph.saved_tensors_hooks.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count


def gflop(call: Callable[[], Any]) -> float:
    """Return the operations of one call, 10^9."""
    with FlopCounterMode(display=False, custom_mapping=_RULES) as counter:
        call()
    return counter.get_total_flops() / 1e9


def kept_mib(call: Callable[[], Any]) -> float:
    """Return what autograd keeps of one call with gradients, MiB; weights, which are there anyway, are among it."""
    sizes: dict[int, int] = {}
    tensors = []  # alive until all are counted, or another could lie at the same address

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        tensors.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(sizes.values()) / 2**20


def _attention(q: torch.Size, k: torch.Size, v: torch.Size, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(
    grad: torch.Size, q: torch.Size, k: torch.Size, v: torch.Size, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(grad, q, k, v)


def _convolution_backward(
    grad: torch.Size, x: torch.Size, weight: torch.Size, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, mask: list[bool], out_shape: Any = None,
) -> int:  # fmt: skip
    return conv_flop_count(list(x), list(weight), list(grad), transposed) * (mask[0] + mask[1])


_ATEN: Any = torch.ops.aten
_RULES: dict[Any, Any] = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    _ATEN.convolution_backward: _convolution_backward,
}
