# SPDX-License-Identifier: Apache-2.0
"""Autograd formulas of the quantizers with a learned step: from x itself, or from one byte an element.

save 0 ("exact") keeps x by reference, which costs nothing where its producer or the model keeps it
anyway; save 1 ("compact") keeps the int8 residual instead: a quarter of float32 activations.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgeqat.ops._autograd import eager_apply

COMPACT = 1
#: In the lists of axes: per tensor.
NO_AXIS = -(2**31)
_OPS = torch.ops.edgeqat
_below_autograd = torch._C._AutoDispatchBelowAutograd
# The overloads themselves: finding them through the packet costs half a microsecond a call.
_FORWARD = _OPS.lsq_fake_quantize.default
_TRAIN = _OPS.lsq_fake_quantize_train.default
_BACKWARD = _OPS.lsq_fake_quantize_backward.default
_COMPACT_BACKWARD = _OPS.lsq_fake_quantize_compact_backward.default

# Autograd handles each argument of a Function by itself, so those that are no tensors come as two:
#   grid     qmin, qmax, axis, group_size
#   options  activation, rule, grad_scale, delta, damping; compact: the first four
# 6 arguments instead of 14 save 3 of 39 microseconds, forward and backward on 64 elements.


_INFINITY = float("inf")


def _for_forward(options: tuple[Any, ...]) -> tuple[Any, ...]:
    """The options that forward needs; all, where it will refuse one. Passing the other three costs 0.5 microseconds."""
    _, _, grad_scale, delta, *rest = options
    damping = rest[0] if rest else 0.0
    good = grad_scale is None or -_INFINITY < grad_scale < _INFINITY
    return options[:2] if good and 0.0 <= delta < _INFINITY > damping >= 0.0 else options


_REFUSAL = (
    "edgeqat.lsq_fake_quantize: a second derivative was asked for (create_graph=True), but "
    "rounding has only the straight-through estimate of a first one; detach the quantized "
    "tensor or leave the quantizers out of the graph"
)


def _refuse_second_derivative(grad: Tensor) -> None:
    if torch.is_grad_enabled() and grad.requires_grad:
        raise RuntimeError(_REFUSAL)


class FirstDerivative(torch.autograd.Function):
    """A backward op whose own derivative is refused when it is asked for.

    torch.func.grad records every first derivative as if a second one followed, so nothing can be refused earlier.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(op: Any, *arguments: Any) -> tuple[Tensor, ...]:
        """What the op gives."""
        result: tuple[Tensor, ...] = op(*arguments)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """There is none."""
        raise RuntimeError(_REFUSAL)


_first_exact = partial(FirstDerivative.apply, _BACKWARD)
_first_compact = partial(FirstDerivative.apply, _COMPACT_BACKWARD)


class LsqExact(torch.autograd.Function):
    """lsq_fake_quantize in eager training; saves references to its inputs and nothing else."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        """Values on the learned grid."""
        x, scale, offset, mask, grid, options = arguments
        _keep(ctx, arguments[:4], grid, options)
        with _below_autograd():
            y: Tensor = _FORWARD(x, scale, *grid, offset, mask, *_for_forward(options))
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, scale and offset, from x."""
        _refuse_second_derivative(grads[0])
        saved = ctx.saved_tensors  # outside: checkpointing recomputes them, with autograd
        with _below_autograd():
            return _exact_backward(ctx, saved, grads[0])


class LsqCompact(torch.autograd.Function):
    """The same with the residual, one byte an element, saved instead of x."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        """Values on the learned grid; the residuals are kept."""
        x, scale, offset, mask, grid, options = arguments
        with _below_autograd():
            y, residual = _TRAIN(x, scale, *grid, offset, mask, *_for_forward(options))
        _keep(ctx, (residual, scale, offset), grid, options)
        result: Tensor = y
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, scale and offset, from the residuals."""
        _refuse_second_derivative(grads[0])
        saved = ctx.saved_tensors  # outside, as above
        with _below_autograd():
            return _compact_backward(ctx, saved, grads[0])


_apply_exact = eager_apply(LsqExact)
_apply_compact = eager_apply(LsqCompact)


class LsqExactTraced(torch.autograd.Function):
    """lsq_fake_quantize in the form that torch.func, torch.vmap and tracing accept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        """Values on the learned grid."""
        x, scale, offset, mask, grid, options = arguments
        y: Tensor = _FORWARD(x, scale, *grid, offset, mask, *options)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs by reference."""
        _keep(ctx, inputs[:4], *inputs[4:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, scale and offset, from x."""
        return _exact_backward(ctx, ctx.saved_tensors, grads[0], _first_exact)


class LsqTrainTraced(torch.autograd.Function):
    """lsq_fake_quantize_train with its gradient, in the same form."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        """Values on the learned grid and the residuals."""
        x, scale, offset, mask, grid, options = arguments
        result: tuple[Tensor, Tensor] = _TRAIN(x, scale, *grid, offset, mask, *options)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the residuals."""
        ctx.mark_non_differentiable(output[1])
        _keep(ctx, (output[1], *inputs[1:3]), *inputs[4:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, scale and offset, from the residuals."""
        return _compact_backward(ctx, ctx.saved_tensors, grads[0], _first_compact)


class LsqMulti(torch.autograd.Function):
    """lsq_fake_quantize_multi; saves references to its inputs and nothing else."""

    @staticmethod
    def forward(ctx: Any, arguments: tuple[Any, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        """Every x on its learned grid; `tensors` are all x, then all scales."""
        count = len(tensors) // 2
        ctx.arguments = arguments
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(True)
        with _below_autograd():
            result = _OPS.lsq_fake_quantize_multi(tensors[:count], tensors[count:], *arguments)
        return tuple(result)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all x, then of all scales."""
        for grad in grads:
            _refuse_second_derivative(grad)
        saved, count = ctx.saved_tensors, len(grads)
        with _below_autograd():
            result = _OPS.lsq_fake_quantize_multi_backward(
                grads, saved[:count], saved[count:], *ctx.arguments
            )
        return (None, *result)


def _keep(
    ctx: Any, tensors: tuple[Tensor | None, ...], grid: tuple[Any, ...], options: tuple[Any, ...]
) -> None:
    ctx.save_for_backward(*tensors)
    ctx.grid = grid
    ctx.options = options


def _exact_backward(
    ctx: Any, saved: tuple[Tensor | None, ...], grad: Tensor, op: Any = _BACKWARD
) -> tuple[Tensor | None, ...]:
    x, scale, offset, mask = saved
    grad_x, grad_scale, grad_offset = op(grad, x, scale, *ctx.grid, offset, mask, *ctx.options)
    return grad_x, grad_scale, None if offset is None else grad_offset, None, None, None


def _compact_backward(
    ctx: Any, saved: tuple[Tensor | None, ...], grad: Tensor, op: Any = _COMPACT_BACKWARD
) -> tuple[Tensor | None, ...]:
    residual, scale, offset = saved
    grad_x, grad_scale, grad_offset = op(grad, residual, scale, *ctx.grid, offset, *ctx.options)
    return grad_x, grad_scale, None if offset is None else grad_offset, None, None, None


def _wants_gradient(x: Tensor, scale: Tensor, offset: Tensor | None) -> bool:
    return torch.is_grad_enabled() and (
        x.requires_grad or scale.requires_grad or (offset is not None and offset.requires_grad)
    )


def lsq_fake_quantize(
    x: Tensor,
    scale: Tensor,
    offset: Tensor | None,
    mask: Tensor | None,
    grid: tuple[Any, ...],
    options: tuple[Any, ...],
    save: int,
) -> Tensor:
    """The cheapest right way in the caller's mode. `grid` and `options` as above, with damping."""
    y: Tensor
    if torch.compiler.is_compiling():
        y = _OPS.lsq_fake_quantize(x, scale, *grid, offset, mask, *options, save)
    elif torch._C._are_functorch_transforms_active():
        y = _traced(x, scale, offset, mask, grid, options, save)
    elif not _wants_gradient(x, scale, offset):
        with _below_autograd():
            y = _FORWARD(x, scale, *grid, offset, mask, *_for_forward(options))
    elif save == COMPACT:
        y = _apply_compact(x, scale, offset, mask, grid, options[:4])
    else:
        y = _apply_exact(x, scale, offset, mask, grid, options)
    return y


def _traced(
    x: Tensor,
    scale: Tensor,
    offset: Tensor | None,
    mask: Tensor | None,
    grid: tuple[Any, ...],
    options: tuple[Any, ...],
    save: int,
) -> Tensor:
    y: Tensor
    if save == COMPACT:
        y = LsqTrainTraced.apply(x, scale, offset, mask, grid, options[:4])[0]
    else:
        y = LsqExactTraced.apply(x, scale, offset, mask, grid, options)
    return y


# The dispatcher's autograd kernels, for calls of torch.ops.edgeqat.* and for tracing.


def _lsq_fake_quantize(
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
    save: int = 0,
) -> Tensor:
    grid = (qmin, qmax, axis, group_size)
    options = (activation, rule, grad_scale, delta, damping)
    # Without a gradient it stays a single node, which is what exporters look for.
    if _wants_gradient(x, scale, offset):
        return _traced(x, scale, offset, mask, grid, options, save)
    with _below_autograd():
        y: Tensor = _FORWARD(x, scale, *grid, offset, mask, *options, save)
    return y


def _lsq_fake_quantize_train(
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
) -> tuple[Tensor, Tensor]:
    grid, options = (qmin, qmax, axis, group_size), (activation, rule, grad_scale, delta)
    result: tuple[Tensor, Tensor]
    if _wants_gradient(x, scale, offset):
        result = LsqTrainTraced.apply(x, scale, offset, mask, grid, options)
        return result
    with _below_autograd():
        result = _TRAIN(x, scale, *grid, offset, mask, *options)
    return result


def _lsq_fake_quantize_multi(
    x: list[Tensor],
    scale: list[Tensor],
    qmin: list[int],
    qmax: list[int],
    axis: list[int],
    group_size: list[int],
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
) -> list[Tensor]:
    arguments = (qmin, qmax, axis, group_size, rule, grad_scale, delta, damping)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*x, *scale)):
        return list(LsqMulti.apply(arguments, *x, *scale))
    with _below_autograd():
        result: list[Tensor] = _OPS.lsq_fake_quantize_multi(x, scale, *arguments)
    return result


def lsq_fake_quantize_multi(x: list[Tensor], scale: list[Tensor], *arguments: Any) -> list[Tensor]:
    """One autograd node for all tensors; under torch.func one for each, which it can transform."""
    result: list[Tensor]
    if torch.compiler.is_compiling():
        result = _OPS.lsq_fake_quantize_multi(x, scale, *arguments)
    elif torch._C._are_functorch_transforms_active():
        result = _one_by_one(x, scale, *arguments)
    else:
        result = _lsq_fake_quantize_multi(x, scale, *arguments)
    return result


def _one_by_one(
    x: list[Tensor],
    scale: list[Tensor],
    qmin: list[int],
    qmax: list[int],
    axis: list[int],
    group_size: list[int],
    *options: Any,
) -> list[Tensor]:
    result = []
    for value, step, low, high, k, g in zip(x, scale, qmin, qmax, axis, group_size, strict=True):
        grid = (low, high, None if k == NO_AXIS else k, g or None)
        result.append(_traced(value, step, None, None, grid, (0, *options), 0))
    return result


_library = torch.library.Library("edgeqat", "IMPL")
_library.impl("lsq_fake_quantize", _lsq_fake_quantize, "Autograd")
_library.impl("lsq_fake_quantize_train", _lsq_fake_quantize_train, "Autograd")
_library.impl("lsq_fake_quantize_multi", _lsq_fake_quantize_multi, "Autograd")
