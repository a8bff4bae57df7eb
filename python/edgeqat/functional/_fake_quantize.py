# SPDX-License-Identifier: Apache-2.0
"""The clipped straight-through quantizer and its backward."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeqat.functional._activation import Activation, activation_code
from edgeqat.functional._call import as_tensors, call
from edgeqat.ops import _autograd

_OPS = torch.ops.edgeqat


def fake_quantize(
    x: Tensor,
    scale: Tensor | float,
    zero_point: Tensor | int,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
    activation: Activation = None,
) -> Tensor:
    """Round x to the grid it will have after deployment, in floating point.

    `y = (clamp(round_half_even(x / scale) + zero_point, qmin, qmax) - zero_point) * scale`,
    computed in float32 and rounded to the dtype of x. This is ONNX QuantizeLinear followed by
    DequantizeLinear, bit for bit. NaN stays NaN; infinities saturate.

    The gradient is the clipped straight-through estimator: the incoming gradient where
    `qmin <= round(x / scale) + zero_point <= qmax` (and for NaN), 0 elsewhere. Training keeps one
    bit per element for it. Under autocast the dtype of x is kept and scale stays float32.

    With `activation`, x stands for `activation(x)` in both: one pass instead of two, and the gradient
    is that of the activation too. The bit tells the gradient of relu and relu6; hardswish keeps x
    beside the bits.

    Args:
        x: float32, bfloat16 or float16, any shape.
        scale: float32, finite and > 0; a Python number for per tensor.
        zero_point: int32 within `[qmin, qmax]`, same shape; a Python number for per tensor.
        qmin: lowest code.
        qmax: highest code.
        axis: channel axis, or None for per tensor.
        group_size: elements along `axis` that share a scale, or None.
        mask: bool in the shape of x; where False, y is +0 and the gradient 0.
        activation: "relu", "relu6" or "hardswish", applied to x first; None for none.

    Returns:
        y in the shape and dtype of x.

    Raises:
        ValueError: wrong dtype, shape, device, axis, group size, range, scale, zero point or
            activation.
        RuntimeError: scale requires grad.

    Example:
        >>> fake_quantize(torch.tensor([0.2, 0.3, 9.0]), 0.25, 0, -8, 7)
        tensor([0.2500, 0.2500, 1.7500])
        >>> x = torch.tensor([0.2, 0.3, 9.0], requires_grad=True)
        >>> fake_quantize(x, 0.25, 0, -8, 7).sum().backward()
        >>> x.grad
        tensor([1., 1., 0.])
        >>> fake_quantize(torch.tensor([-1.0, 0.3, 9.0]), 0.25, 0, -8, 7, activation="relu")
        tensor([0.0000, 0.2500, 1.7500])
    """
    scale, zero_point = as_tensors("fake_quantize", scale, zero_point, x=x)
    y: Tensor = call(
        _autograd.fake_quantize,
        x,
        scale,
        zero_point,
        qmin,
        qmax,
        axis,
        group_size,
        mask,
        activation_code(activation),
    )
    return y


def fake_quantize_train(
    x: Tensor,
    scale: Tensor | float,
    zero_point: Tensor | int,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
    activation: Activation = None,
) -> tuple[Tensor, Tensor]:
    """:func:`fake_quantize` that also returns what its backward pass needs.

    Use it to write an autograd function of your own around the pair; models call `fake_quantize`.

    Args:
        x: see :func:`fake_quantize`.
        scale: see there.
        zero_point: see there.
        qmin: lowest code.
        qmax: highest code.
        axis: channel axis, or None.
        group_size: elements along `axis` that share a scale, or None.
        mask: bool in the shape of x, or None.
        activation: applied to x first, see there.

    Returns:
        y, and the bits: uint8 `[ceil(n / 8)]`, one bit per element in row-major order (element 0 in
        the lowest bit of byte 0), set where the gradient passes. For hardswish they tell the range
        alone: give x and the activation to :func:`fake_quantize_backward`.

    Raises:
        ValueError: as :func:`fake_quantize`.

    Example:
        >>> y, bits = fake_quantize_train(torch.tensor([0.2, 9.0, 0.3]), 0.25, 0, -8, 7)
        >>> bits
        tensor([5], dtype=torch.uint8)
    """
    scale, zero_point = as_tensors("fake_quantize_train", scale, zero_point, x=x)
    result: tuple[Tensor, Tensor] = call(
        _OPS.fake_quantize_train,
        x,
        scale,
        zero_point,
        qmin,
        qmax,
        axis,
        group_size,
        mask,
        activation_code(activation),
    )
    return result


def fake_quantize_backward(
    grad: Tensor, bits: Tensor, x: Tensor | None = None, activation: Activation = None
) -> Tensor:
    """Clipped straight-through estimator: the gradient where the bit is set, +0 elsewhere.

    After a fused hardswish it is `grad * hardswish'(x)` where the bit is set, in float32; the other
    activations' gradients are in the bits, so they need neither x nor the activation.

    Args:
        grad: float32, bfloat16 or float16, any shape with n elements.
        bits: uint8 `[ceil(n / 8)]` from :func:`fake_quantize_train`.
        x: the input of the forward pass, for hardswish.
        activation: that of the forward pass.

    Returns:
        The gradient for x in the shape and dtype of `grad`. A NaN passes where its bit is set.

    Raises:
        ValueError: wrong dtype, bits of another length, or hardswish without x.

    Example:
        >>> bits = torch.tensor([5], dtype=torch.uint8)
        >>> fake_quantize_backward(torch.tensor([1.0, 2.0, 3.0]), bits)
        tensor([1., 0., 3.])
    """
    result: Tensor = call(_OPS.fake_quantize_backward, grad, bits, x, activation_code(activation))
    return result
