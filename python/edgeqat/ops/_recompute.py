# SPDX-License-Identifier: Apache-2.0
"""Layers over rounded weights: backward rounds a large weight again instead of keeping the rounded copy.

A linear layer or convolution keeps its weight for backward. The float weight is there anyway; the rounded one would
live from forward to backward beside it, a second copy of the network where weights and not activations fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_aten = torch.ops.aten
#: Elements of a weight from which it is rounded again: 4 MiB in float32. Below, the 170 microseconds that this costs a
#: layer are more than the copy is worth: all weights of ResNet-20 are 1 of the 197 MB of a training step of 128 images.
RECOMPUTED_FROM = 1 << 20

_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def weighted(
    op: Callable[..., Tensor],
    quantizer: nn.Module,
    weight_arguments: Sequence[Any],
    x: Tensor,
    *options: Any,
) -> Tensor:
    """``op(x, quantizer(*weight_arguments), *options)``; a large rounded weight is not kept for backward.

    Args:
        op: an aten overload of a linear layer or convolution; any other callable is called as it is.
        quantizer: module that rounds the weight, `weight_arguments[0]`. It says how to do it again:
            where its attribute `rounds_again` is true, ``quantizer.rounding(*weight_arguments)`` after a call is a function of
            the weight and of the tensors `quantizer.learned()` that gives what the call gave.
        weight_arguments: what the quantizer is called with.
        x: input of the layer.
        options: the arguments of `op` behind the weight, the bias first.
    """
    weight = weight_arguments[0]
    if (
        weight.numel() < RECOMPUTED_FROM
        or op not in _BACKWARD
        or torch.compiler.is_compiling()  # the compiler decides itself what it computes again
        or not torch.is_grad_enabled()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or not getattr(quantizer, "rounds_again", False)
        or (op is not _LINEAR and x.dim() != weight.dim())
    ):
        return op(x, quantizer(*weight_arguments), *options)
    bias = options[0] if options else None
    dtype = _autocast_dtype(x)
    if dtype is not None:  # here, where autograd sees it
        x, bias = x.to(dtype), None if bias is None else bias.to(dtype)
    # views, because the engine does not tell of leaves whether it goes on to them
    tensors = [t if t is None else t.view_as(t) for t in (x, weight, bias, *quantizer.learned())]  # type: ignore[operator]
    y: Tensor = _Recomputed.apply(
        op, quantizer, tuple(weight_arguments[1:]), options[1:], dtype, *tensors
    )
    return y


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    """What autocast would turn `x` into, or None."""
    device = x.device.type
    if not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return None
    return torch.get_autocast_dtype(device) if x.is_floating_point() else None


class _Recomputed(torch.autograd.Function):
    """The layer with its input, its float weight and what is learned for the rounding saved, all by reference."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        op, quantizer, extra, options, dtype, x, weight, bias, *learned = arguments
        value = quantizer(weight, *extra)
        # by value from here on: nothing that happens to the module before backward changes what is rounded again
        ctx.again = quantizer.rounding(weight, *extra)
        ctx.op, ctx.options, ctx.dtype = op, options, dtype
        ctx.bias_shape = None if bias is None else bias.shape
        ctx.save_for_backward(x, weight, *learned)
        y: Tensor = op(x, value if dtype is None else value.to(dtype), bias, *options)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors  # the weight and what is learned
        differentiable = torch.is_grad_enabled()  # create_graph=True
        asked = [_is_asked(node) for node, _ in ctx.next_functions]
        wants_bias = ctx.bias_shape is not None and asked.pop(2)
        wants_x, *wants = asked
        if not differentiable:
            saved = [t.detach().requires_grad_(want) for t, want in zip(saved, wants, strict=True)]
        with torch.enable_grad():
            value = ctx.again(*saved)
        wanted = [t for t, want in zip(saved, wants, strict=True) if want]
        needs = (wants_x, bool(wanted) and value.requires_grad, wants_bias)
        used = value if differentiable else value.detach()
        used = used if ctx.dtype is None else used.to(ctx.dtype)
        grad_x, grad_value, grad_bias = _BACKWARD[ctx.op](
            grads[0], x, used, ctx.bias_shape, ctx.options, needs
        )
        found: list[Tensor | None] = [None] * len(wanted)
        if grad_value is not None:
            incoming = grad_value.to(value.dtype)
            root = torch.autograd.graph.get_gradient_edge(value)
            del value, used, grad_value  # the rounded copy makes room for the gradient
            found = list(
                torch.autograd.grad(
                    root, wanted, incoming, create_graph=differentiable, allow_unused=True
                )
            )
        grad_weight, *grad_learned = [found.pop(0) if want else None for want in wants]
        return (None, None, None, None, None, grad_x, grad_weight, grad_bias, *grad_learned)


def _is_asked(node: Any) -> bool:
    """Whether this backward pass goes on to `node`: torch.autograd.grad of x alone leaves the weight out."""
    return node is not None and torch._C._will_engine_execute_node(node)


def _linear_backward(
    grad: Tensor, x: Tensor, weight: Tensor, _bias: Any, _options: Any, needs: tuple[bool, ...]
) -> _Gradients:
    rows = grad.reshape(-1, grad.shape[-1])
    grad_x = grad.matmul(weight) if needs[0] else None
    grad_weight = rows.t().mm(x.reshape(-1, x.shape[-1])) if needs[1] else None
    return grad_x, grad_weight, rows.sum(0) if needs[2] else None


def _convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Any,
    options: tuple[Any, ...],
    needs: tuple[bool, ...],
) -> _Gradients:
    dims = weight.dim() - 2
    given: list[Any] = [*options, *[1, 0, 1, 1][len(options) :]]
    sizes = [[v] if isinstance(v, int) else list(v) for v in given[:3]]
    stride, padding, dilation = [v if len(v) == dims else v * dims for v in sizes]
    result: _Gradients = _aten.convolution_backward(
        grad,
        x,
        weight,
        None if bias is None else list(bias),
        stride,
        padding,
        dilation,
        False,
        [0] * dims,
        given[3],
        list(needs),
    )
    return result


_LINEAR = _aten.linear.default
_BACKWARD: dict[Any, Callable[..., _Gradients]] = {
    _LINEAR: _linear_backward,
    _aten.conv1d.default: _convolution_backward,
    _aten.conv2d.default: _convolution_backward,
    _aten.conv3d.default: _convolution_backward,
}
#: The operators that can round their weight again.
RECOMPUTING = frozenset(_BACKWARD)
