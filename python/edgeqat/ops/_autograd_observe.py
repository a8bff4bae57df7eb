# SPDX-License-Identifier: Apache-2.0
"""Autograd of observe_fake_quantize_: the clipped straight-through estimator over an op that writes its state.

torch.library refuses formulas for schemas that write arguments, so eager mode has an autograd.Function
and tracing takes the functional ops, which compute the same in two reads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeqat.ops import _autograd

_OPS = torch.ops.edgeqat
_NO_GRADIENTS = (None,) * 12
_HARDSWISH = 3
# Straight to the kernel, also past the Python kernel that counts versions: 6 microseconds a call.
_below_python = torch._C._AutoDispatchBelowADInplaceOrView
_increment_version = torch._C._increment_version


class ObserveFakeQuantize(torch.autograd.Function):
    """observe_fake_quantize_ in eager training; saves the bits, with hardswish also x."""

    @staticmethod
    def forward(ctx: Any, bits_to: list[Tensor] | None, x: Tensor, *arguments: Any) -> Tensor:
        """Values on the grid of the batches before; the bits of the elements in range are kept."""
        y, bits = _run(x, arguments)
        if bits_to is not None:
            bits_to.append(bits)
        ctx.save_for_backward(*((bits, x) if arguments[-1] == _HARDSWISH else (bits,)))
        ctx.strides = _autograd.strides_of(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Clipped straight-through estimator."""
        grad = _autograd.laid_out(grads[0], ctx.strides)
        return (None, _autograd.clipped_ste(grad, *ctx.saved_tensors), *_NO_GRADIENTS)


def _run(x: Tensor, arguments: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    # A kernel that writes through pointers must say so, or backward would use changed values of a
    # saved tensor instead of refusing them.
    _increment_version(arguments[:5])
    with _below_python():
        result: tuple[Tensor, Tensor] = _OPS.observe_fake_quantize_(x, *arguments)
    return result


_apply = _autograd.eager_apply(ObserveFakeQuantize)


def observe_fake_quantize_(x: Tensor, *arguments: Any) -> Tensor:
    """The cheapest right way in the caller's mode; all twelve arguments behind x are given."""
    y: Tensor
    if torch.compiler.is_compiling():
        y = _traced(x, *arguments)
    elif torch.is_grad_enabled() and x.requires_grad:
        apply = ObserveFakeQuantize.apply if torch._C._are_functorch_transforms_active() else _apply
        y = apply(None, x, *arguments)
    else:
        y = _run(x, arguments)[0]
    return y


def _activate(x: Tensor, activation: int) -> Tensor:
    if activation == _HARDSWISH:
        return F.hardswish(x.float())  # the op computes in float32, without a rounding to 16 bits
    return {0: x, 1: F.relu(x), 2: F.relu6(x)}[activation]


def _traced(
    x: Tensor,
    min_val: Tensor,
    max_val: Tensor,
    count: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    symmetric: bool,
    averaging: float | None,
    axis: int | None,
    mask: Tensor | None,
    activation: int,
) -> Tensor:
    with torch.no_grad():
        fresh = (min_val > max_val).any()
        before = _OPS.choose_qparams(min_val, max_val, qmin, qmax, symmetric)
        seen = _activate(x.detach(), activation)
        _OPS.observe_minmax_(seen, min_val, max_val, count, averaging, axis, mask)
        after = _OPS.choose_qparams(min_val, max_val, qmin, qmax, symmetric)
        scale.copy_(torch.where(fresh, after[0], before[0]))
        zero_point.copy_(torch.where(fresh, after[1], before[1]))
    y: Tensor = _OPS.fake_quantize(x, scale, zero_point, qmin, qmax, axis, None, mask, activation)
    return y


# The dispatcher's kernels, for calls of torch.ops.edgeqat.observe_fake_quantize_.


def _observe_fake_quantize_(
    x: Tensor,
    min_val: Tensor,
    max_val: Tensor,
    count: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    symmetric: bool,
    averaging: float | None = None,
    axis: int | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
) -> tuple[Tensor, Tensor]:
    state = (min_val, max_val, count, scale, zero_point)
    arguments = (*state, qmin, qmax, symmetric, averaging, axis, mask, activation)
    if torch.is_grad_enabled() and x.requires_grad:
        bits: list[Tensor] = []
        y: Tensor = ObserveFakeQuantize.apply(bits, x, *arguments)
        return y, bits[0]
    with torch._C._AutoDispatchBelowAutograd():
        result: tuple[Tensor, Tensor] = _OPS.observe_fake_quantize_(x, *arguments)
    return result


def _count_versions(keyset: Any, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    _increment_version(arguments[:5])
    result: tuple[Tensor, Tensor] = _OPS.observe_fake_quantize_.default.redispatch(
        keyset & torch._C._after_ADInplaceOrView_keyset, x, *arguments
    )
    return result


_library = torch.library.Library("edgeqat", "IMPL")
_library.impl("observe_fake_quantize_", _observe_fake_quantize_, "Autograd")
_library.impl("observe_fake_quantize_", _count_versions, "ADInplaceOrView", with_keyset=True)
