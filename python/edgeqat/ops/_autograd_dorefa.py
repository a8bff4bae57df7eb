# SPDX-License-Identifier: Apache-2.0
"""Autograd of dorefa_fake_quantize: tanh's derivative, straight through the rounding.

The largest magnitude is a constant of the step, as the scale of any quantizer that observes. Backward
keeps x by reference: for a weight, which lives on anyway, that is no extra memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_OPS = torch.ops.edgeqat
_below_autograd = torch._C._AutoDispatchBelowAutograd


class DorefaFakeQuantize(torch.autograd.Function):
    """dorefa_fake_quantize with its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, qmin: int, qmax: int, *granularity: Any) -> Tensor:
        """Squashed weights on their grid."""
        y: Tensor = _OPS.dorefa_fake_quantize(x, qmin, qmax, *granularity)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep x and the mask."""
        x, _, _, *ctx.granularity, mask = inputs
        ctx.save_for_backward(x, mask)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """grad * (1 - tanh^2 x) / tanh(max |x|)."""
        x, mask = ctx.saved_tensors
        grad = dorefa_fake_quantize_backward(grads[0], x, *ctx.granularity, mask)
        return grad, None, None, None, None, None


class DorefaFakeQuantizeBackward(torch.autograd.Function):
    """The gradient's own gradient: linear in grad, and (1 - tanh^2)' = -2 tanh (1 - tanh^2) in x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, x: Tensor, *granularity: Any) -> Tensor:
        """grad times the slope."""
        result: Tensor = _OPS.dorefa_fake_quantize_backward(grad, x, *granularity)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the slope is made of."""
        grad, x, *ctx.granularity, mask = inputs
        ctx.save_for_backward(grad, x, mask)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Through the op again, with another factor for each of its two inputs."""
        grad, x, mask = ctx.saved_tensors
        to_grad = dorefa_fake_quantize_backward(grads[0], x, *ctx.granularity, mask)
        slope = dorefa_fake_quantize_backward(grads[0] * grad, x, *ctx.granularity, mask)
        return to_grad, -2.0 * torch.tanh(x) * slope, None, None, None


def dorefa_fake_quantize(x: Tensor, qmin: int, qmax: int, *granularity: Any) -> Tensor:
    """The right way in the caller's mode: transformed, or through the dispatcher."""
    y: Tensor
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        y = DorefaFakeQuantize.apply(x, qmin, qmax, *granularity)
    else:
        y = _OPS.dorefa_fake_quantize(x, qmin, qmax, *granularity)
    return y


def dorefa_fake_quantize_backward(grad: Tensor, x: Tensor, *granularity: Any) -> Tensor:
    """The same for the backward op."""
    result: Tensor
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        result = DorefaFakeQuantizeBackward.apply(grad, x, *granularity)
    else:
        result = _OPS.dorefa_fake_quantize_backward(grad, x, *granularity)
    return result


# Defaults are spelled out, because backward returns one gradient for each argument.


def _dorefa_fake_quantize(
    x: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    y: Tensor
    if torch.is_grad_enabled() and x.requires_grad:
        y = DorefaFakeQuantize.apply(x, qmin, qmax, axis, group_size, mask)
        return y
    with _below_autograd():
        y = _OPS.dorefa_fake_quantize(x, qmin, qmax, axis, group_size, mask)
    return y


def _dorefa_fake_quantize_backward(
    grad: Tensor,
    x: Tensor,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    result: Tensor
    if torch.is_grad_enabled() and (grad.requires_grad or x.requires_grad):
        result = DorefaFakeQuantizeBackward.apply(grad, x, axis, group_size, mask)
        return result
    with _below_autograd():
        result = _OPS.dorefa_fake_quantize_backward(grad, x, axis, group_size, mask)
    return result


_library = torch.library.Library("edgeqat", "IMPL")
_library.impl("dorefa_fake_quantize", _dorefa_fake_quantize, "Autograd")
_library.impl("dorefa_fake_quantize_backward", _dorefa_fake_quantize_backward, "Autograd")
