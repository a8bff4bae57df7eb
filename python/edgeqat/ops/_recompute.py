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

_aten = torch.ops.aten
#: Elements of a weight from which it is rounded again: 4 MiB in float32. Below, the hundred microseconds that this costs
#: a layer are more than the copy is worth: all weights of ResNet-20 are 1 of 150 MB of a training step.
RECOMPUTED_FROM = 1 << 20


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
        quantizer: module that rounds the weight, `weight_arguments[0]`.
        weight_arguments: what the quantizer is called with.
        x: input of the layer.
        options: the arguments of `op` behind the weight, the bias first.
    """
    weight = weight_arguments[0]
    if (
        weight.numel() < RECOMPUTED_FROM
        or op not in _BACKWARD
        or not quantizer.training  # in eval mode the scale is a buffer that other nodes may keep
        or torch.compiler.is_compiling()  # the compiler decides itself what it computes again
        or not torch.is_grad_enabled()
        or torch._C._are_functorch_transforms_active()
        or getattr(quantizer, "_is_replica", False)  # DataParallel: it has no parameters to ask for
        or (op is not _LINEAR and x.dim() != weight.dim())
    ):
        return op(x, quantizer(*weight_arguments), *options)
    bias = options[0] if options else None
    # views, because the engine does not tell of leaves whether it goes on to them
    tensors = [t if t is None else t.view_as(t) for t in (x, weight, bias, *quantizer.parameters())]
    y: Tensor = _Recomputed.apply(op, quantizer, tuple(weight_arguments[1:]), options[1:], *tensors)
    return y


class _Recomputed(torch.autograd.Function):
    """The layer with references to its input and its float weight saved, and nothing else."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        op, quantizer, extra, options, x, weight, bias, *parameters = arguments
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
        ctx.op, ctx.quantizer, ctx.extra, ctx.options = op, quantizer, extra, options
        ctx.input_dtype, ctx.bias_shape = x.dtype, None if bias is None else bias.shape
        ctx.bias_dtype = None if bias is None else bias.dtype
        x = x.to(dtype)
        ctx.save_for_backward(x, weight, *parameters)
        value = quantizer(weight, *extra).to(dtype)
        y: Tensor = op(x, value, None if bias is None else bias.to(dtype), *options)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *_ = ctx.saved_tensors  # parameters too: they must be those of forward
        again = torch.is_grad_enabled()  # create_graph=True: the formula is differentiated itself
        asked = [_is_asked(node) for node, _ in ctx.next_functions]
        wants_bias = ctx.bias_shape is not None and asked.pop(2)
        wants_x, wants_weight, *_ = asked
        with torch.enable_grad():
            source = weight if again else weight.detach().requires_grad_(wants_weight)
            value = ctx.quantizer(source, *ctx.extra)
        sources = (source, *ctx.quantizer.parameters())
        wanted = [t for t, ask in zip(sources, asked[1:], strict=True) if ask]
        needs = (wants_x, bool(wanted), wants_bias)
        used = (value if again else value.detach()).to(x.dtype)
        grad_x, grad_value, grad_bias = _BACKWARD[ctx.op](
            grads[0], x, used, ctx.bias_shape, ctx.options, needs
        )
        found: list[Tensor | None] = []
        if wanted and grad_value is not None:
            incoming = grad_value.to(value.dtype)
            root = torch.autograd.graph.get_gradient_edge(value)
            del value, used, grad_value  # the rounded copy makes room for the gradient
            found = list(
                torch.autograd.grad(root, wanted, incoming, create_graph=again, allow_unused=True)
            )
        results = [found.pop(0) if ask else None for ask in asked[1:]]
        if grad_x is not None:
            grad_x = grad_x.to(ctx.input_dtype)
        if grad_bias is not None:
            grad_bias = grad_bias.to(ctx.bias_dtype)
        return (None, None, None, None, grad_x, results[0], grad_bias, *results[1:])


def _is_asked(node: Any) -> bool:
    """Whether this backward pass goes on to `node`: torch.autograd.grad of x alone leaves the weight out."""
    return node is not None and torch._C._will_engine_execute_node(node)


def _linear_backward(
    grad: Tensor, x: Tensor, weight: Tensor, _bias: Any, _options: Any, needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
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
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    dims = weight.dim() - 2
    given: list[Any] = [*options, *[1, 0, 1, 1][len(options) :]]
    sizes = [[v] if isinstance(v, int) else list(v) for v in given[:3]]
    stride, padding, dilation = [v if len(v) == dims else v * dims for v in sizes]
    result: tuple[Tensor | None, Tensor | None, Tensor | None] = _aten.convolution_backward(
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
_BACKWARD: dict[Any, Callable[..., tuple[Tensor | None, Tensor | None, Tensor | None]]] = {
    _LINEAR: _linear_backward,
    _aten.conv1d.default: _convolution_backward,
    _aten.conv2d.default: _convolution_backward,
    _aten.conv3d.default: _convolution_backward,
}
#: The operators that can round their weight again.
RECOMPUTING = frozenset(_BACKWARD)
