# SPDX-License-Identifier: Apache-2.0
"""Autograd of the quantizers whose gradient is the incoming one, or 0 where a mask prunes it.

per_token_fake_quantize clips nothing, because every row's range is its own, and ternary weights have
a straight-through gradient (Li et al. 2016). Neither keeps anything for backward but the mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeqat.ops._autograd import eager_apply

_OPS = torch.ops.edgeqat
_below_autograd = torch._C._AutoDispatchBelowAutograd


class PerTokenFakeQuantize(torch.autograd.Function):
    """per_token_fake_quantize with the gradient of the identity; saves nothing."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, qmin: int, qmax: int, symmetric: bool) -> Tensor:
        """Every row on the grid of its own range."""
        y: Tensor = _OPS.per_token_fake_quantize(x, qmin, qmax, symmetric)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Straight through."""
        return grads[0], None, None, None


class PerTokenFakeQuantizeEager(torch.autograd.Function):
    """The same in the form that costs 14 microseconds less in eager training."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        """Every row on the grid of its own range."""
        with _below_autograd():
            y: Tensor = _OPS.per_token_fake_quantize(*arguments)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Straight through."""
        return grads[0], None, None, None


_apply_per_token = eager_apply(PerTokenFakeQuantizeEager)


def per_token_fake_quantize(x: Tensor, qmin: int, qmax: int, symmetric: bool) -> Tensor:
    """The cheapest right way in the caller's mode: traced, transformed, training or plain."""
    y: Tensor
    if torch.compiler.is_compiling():
        y = _OPS.per_token_fake_quantize(x, qmin, qmax, symmetric)
    elif torch._C._are_functorch_transforms_active():
        y = PerTokenFakeQuantize.apply(x, qmin, qmax, symmetric)
    elif torch.is_grad_enabled() and x.requires_grad:
        y = _apply_per_token(x, qmin, qmax, symmetric)
    else:
        with _below_autograd():
            y = _OPS.per_token_fake_quantize(x, qmin, qmax, symmetric)
    return y


def _per_token_fake_quantize(x: Tensor, qmin: int, qmax: int, symmetric: bool) -> Tensor:
    y: Tensor
    if torch.is_grad_enabled() and x.requires_grad:
        y = PerTokenFakeQuantize.apply(x, qmin, qmax, symmetric)
        return y
    with _below_autograd():
        y = _OPS.per_token_fake_quantize(x, qmin, qmax, symmetric)
    return y


class TernaryFakeQuantize(torch.autograd.Function):
    """ternary_fake_quantize with the straight-through gradient; keeps the mask by reference."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, axis: int | None, group_size: int | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Ternary values and their scale."""
        result: tuple[Tensor, Tensor] = _OPS.ternary_fake_quantize(x, axis, group_size, mask)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the mask; the scale is a statistic."""
        ctx.mark_non_differentiable(output[1])
        ctx.masked = inputs[3] is not None
        if ctx.masked:
            ctx.save_for_backward(inputs[3])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Straight through where the mask keeps the element."""
        grad = torch.where(ctx.saved_tensors[0], grads[0], 0) if ctx.masked else grads[0]
        return grad, None, None, None


def _ternary_fake_quantize(
    x: Tensor, axis: int | None = None, group_size: int | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    # defaults spelled out, because backward returns one gradient for each of the four
    result: tuple[Tensor, Tensor]
    if torch.is_grad_enabled() and x.requires_grad:
        result = TernaryFakeQuantize.apply(x, axis, group_size, mask)
        return result
    with _below_autograd():
        result = _OPS.ternary_fake_quantize(x, axis, group_size, mask)
    return result


def ternary_fake_quantize(
    x: Tensor, axis: int | None, group_size: int | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The right way in the caller's mode: transformed, or through the dispatcher."""
    result: tuple[Tensor, Tensor]
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        result = TernaryFakeQuantize.apply(x, axis, group_size, mask)
    else:
        result = _OPS.ternary_fake_quantize(x, axis, group_size, mask)
    return result


_library = torch.library.Library("edgeqat", "IMPL")
_library.impl("ternary_fake_quantize", _ternary_fake_quantize, "Autograd")
_library.impl("per_token_fake_quantize", _per_token_fake_quantize, "Autograd")
