# SPDX-License-Identifier: Apache-2.0
"""Autograd formulas over the backward ops, and by name why the other ops have none.

The derivative of fake_quantize is the clipped straight-through estimator (STE): the incoming
gradient where the value fell inside [qmin, qmax], 0 elsewhere. Forward keeps one bit per element
for it: a layer of 4 MiB of float32 activations keeps 128 KiB instead of the activations themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

#: Ops without a derivative and why; they run under autograd and their results do not require grad.
NON_DIFFERENTIABLE: dict[str, str] = {
    "observe_minmax_": "statistics are state, not a function of the loss",
    "choose_qparams": "scale and zero point of an observer are constants of the step",
    "learned_step": "the gradient of the scale comes with lsq_fake_quantize",
    "lsq_fake_quantize_backward": "rounding has no second derivative",
    "lsq_fake_quantize_compact_backward": "rounding has no second derivative",
    "lsq_fake_quantize_multi_backward": "rounding has no second derivative",
    "quantize": "integer codes have no gradient",
    "dequantize": "integer codes have no gradient",
    "pack": "packed bytes have no gradient",
    "unpack": "integer codes have no gradient",
}

_NO_GRADIENTS = (None,) * 8
_HARDSWISH = 3  # the one activation whose derivative is no bit
_OPS = torch.ops.edgeqat
# Straight to the kernel, past the Python kernels at the end of this file: 5 microseconds a call.
_below_autograd = torch._C._AutoDispatchBelowAutograd


def _refuse_gradient_of(scale: Tensor) -> None:
    if scale.requires_grad:
        raise RuntimeError(
            "edgeqat.fake_quantize: scale requires grad, but the clipped straight-through estimator "
            "has no gradient for it, so training would leave it unchanged; pass scale.detach()"
        )


def strides_of(y: Tensor) -> tuple[int, ...] | None:
    """What `laid_out` needs to know of forward's result: None for row-major."""
    return None if y.is_contiguous() else y.stride()


def laid_out(grad: Tensor, strides: tuple[int, ...] | None) -> Tensor:
    """`grad` in the memory layout of forward's result, so that its producer sees one layout throughout.

    A mean over the pixels of a channels_last tensor sends a row-major gradient back, and sums hand it on:
    BatchNorm's backward then takes four times as long (ResNet-20, batch 128: 174 ms instead of 43).
    """
    if strides is None or grad.stride() == strides:
        return grad
    return torch.empty_strided(grad.shape, strides, dtype=grad.dtype, device=grad.device).copy_(
        grad
    )


class FakeQuantize(torch.autograd.Function):
    """fake_quantize in eager training; saves the bits (0.125 byte an element), with hardswish also x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, *arguments: Any) -> Tensor:
        """Values on the grid; the bits of the elements in range are kept."""
        _refuse_gradient_of(scale)
        with _below_autograd():
            y, bits = _OPS.fake_quantize_train(x, scale, *arguments)
        ctx.save_for_backward(*_saved(x, bits, arguments[6:]))
        ctx.strides = strides_of(y)
        result: Tensor = y
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Clipped straight-through estimator."""
        grad = laid_out(grads[0], ctx.strides)
        return (clipped_ste(grad, *ctx.saved_tensors), *_NO_GRADIENTS)


def eager_apply(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply` for calls outside of torch.func, without its search for dead wrappers of functorch.

    The search looks at every argument: 2.5 of the 12 microseconds that the forward of a learned step takes on 64 elements.
    """
    apply: Callable[..., Any] = super(torch.autograd.Function, function).apply  # type: ignore[misc]
    return apply


_apply = eager_apply(FakeQuantize)


class FakeQuantizeTrain(torch.autograd.Function):
    """fake_quantize_train with its gradient, in the form that torch.func and torch.vmap accept.

    That form costs 14 microseconds more in forward, so eager training does without it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        """Values on the grid and the bits of the elements in range."""
        _refuse_gradient_of(scale)
        result: tuple[Tensor, Tensor] = _OPS.fake_quantize_train(x, scale, *arguments)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the bits, and x for hardswish."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*_saved(inputs[0], output[1], inputs[8:]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Clipped straight-through estimator."""
        return (clipped_ste(grads[0], *ctx.saved_tensors), *_NO_GRADIENTS)


class FakeQuantizeBackward(torch.autograd.Function):
    """fake_quantize_backward is linear in the gradient: its own gradient is the same selection.

    With respect to x it is a constant: the second derivative of hardswish is left out.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, bits: Tensor, x: Tensor | None = None, activation: int = 0) -> Tensor:
        """The gradient where the bit is set, +0 elsewhere."""
        result: Tensor = _OPS.fake_quantize_backward(grad, bits, x, activation)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the bits, and x for hardswish, by reference."""
        ctx.save_for_backward(*_saved(inputs[2], inputs[1], inputs[3:]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Double backward: the same bits again."""
        return clipped_ste(grads[0], *ctx.saved_tensors), None, None, None


def _saved(x: Any, bits: Tensor, activation: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return (bits, x) if activation == (_HARDSWISH,) else (bits,)


def clipped_ste(grad: Tensor, bits: Tensor, x: Tensor | None = None) -> Tensor:
    # x was saved for hardswish only
    arguments = (grad, bits, x, 0 if x is None else _HARDSWISH)
    if torch._C._are_functorch_transforms_active():
        result: Tensor = FakeQuantizeBackward.apply(*arguments)
        return result
    return _fake_quantize_backward(*arguments)


def fake_quantize(x: Tensor, scale: Tensor, *arguments: Any) -> Tensor:
    """The cheapest right way in the caller's mode: traced, transformed, training or plain.

    Measured forward + backward on 64 elements: 22 microseconds, of which the autograd.Function alone
    takes 20; through the dispatcher's Python autograd kernel it is 53.
    """
    y: Tensor
    if torch.compiler.is_compiling():
        y = _OPS.fake_quantize(x, scale, *arguments)
    elif torch._C._are_functorch_transforms_active():
        y = FakeQuantizeTrain.apply(x, scale, *arguments)[0]
    elif torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad):
        y = _apply(x, scale, *arguments)
    else:
        with _below_autograd():
            y = _OPS.fake_quantize(x, scale, *arguments)
    return y


# The dispatcher's autograd kernels, for calls of torch.ops.edgeqat.* and for tracing.
# torch.library.register_autograd costs twice as much and its formulas would have to save x.


def _fake_quantize(x: Tensor, scale: Tensor, *arguments: Any) -> Tensor:
    # Where a gradient is wanted the single node becomes the train pair, which saves the bits: 1/32
    # of x. Without one it stays a single node, which is what exporters look for.
    if torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad):
        return _fake_quantize_train(x, scale, *arguments)[0]
    with _below_autograd():
        y: Tensor = _OPS.fake_quantize(x, scale, *arguments)
    return y


def _fake_quantize_train(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
) -> tuple[Tensor, Tensor]:
    # defaults spelled out, because backward returns one gradient for each of the nine
    arguments = (x, scale, zero_point, qmin, qmax, axis, group_size, mask, activation)
    result: tuple[Tensor, Tensor]
    if torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad):
        result = FakeQuantizeTrain.apply(*arguments)
        return result
    with _below_autograd():
        result = _OPS.fake_quantize_train(*arguments)
    return result


def _fake_quantize_backward(
    grad: Tensor, bits: Tensor, x: Tensor | None = None, activation: int = 0
) -> Tensor:
    result: Tensor
    if torch.is_grad_enabled() and grad.requires_grad:
        result = FakeQuantizeBackward.apply(grad, bits, x, activation)
        return result
    with _below_autograd():
        result = _OPS.fake_quantize_backward(grad, bits, x, activation)
    return result


def _observe_minmax_(keyset: Any, x: Tensor, *state: Any) -> None:
    # A kernel that writes through pointers must say so, or backward would use changed values of a
    # saved tensor instead of refusing them.
    increment_version(state[:3])
    _OPS.observe_minmax_.default.redispatch(
        keyset & torch._C._after_ADInplaceOrView_keyset, x, *state
    )


_library = torch.library.Library("edgeqat", "IMPL")
_library.impl("observe_minmax_", _observe_minmax_, "ADInplaceOrView", with_keyset=True)
_library.impl("fake_quantize", _fake_quantize, "Autograd")
_library.impl("fake_quantize_train", _fake_quantize_train, "Autograd")
_library.impl("fake_quantize_backward", _fake_quantize_backward, "Autograd")
