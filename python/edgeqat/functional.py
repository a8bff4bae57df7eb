# SPDX-License-Identifier: Apache-2.0
"""Every op of edgeqat as a typed function, in data-flow order: observe, choose, quantize, pack.

Quantization parameters come in three granularities, told by `axis` and `group_size`:

| granularity | axis | group_size | shape of scale (float32) and zero_point (int32) |
|---|---|---|---|
| per tensor  | None | None | one element (or Python numbers) |
| per channel | k    | None | `[x.size(k)]` |
| per group   | k    | g    | `x.shape` with dimension k replaced by `x.size(k) / g` |

A negative axis counts from the end. Data may be float32, bfloat16 or float16 in any memory layout;
arithmetic is float32; float64 is refused. Results are the same for every number of threads and for
every instruction set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from edgeqat.ops import _autograd

__all__ = [
    "choose_qparams",
    "dequantize",
    "fake_quantize",
    "fake_quantize_backward",
    "fake_quantize_train",
    "observe_minmax_",
    "pack",
    "quantize",
    "unpack",
]

_OPS = torch.ops.edgeqat
# "edgeqat::pack: ..." of the operators' checks, "pack: ..." of the core's; "CUDA error: ..." is none
_REFUSAL = re.compile(r"(edgeqat::)?\w+: ")


def observe_minmax_(
    x: Tensor,
    min_val: Tensor,
    max_val: Tensor,
    count: Tensor,
    averaging: float | None = None,
    axis: int | None = None,
) -> None:
    """Update running minima and maxima with one batch, in place.

    With `averaging=None` the new range is the union of the old range and the batch's. With a
    constant c in (0, 1], the first batch sets the range and every later one moves it:
    `v += c * (batch - v)`. NaN and infinities are left out and counted; an empty batch is no batch.

    Args:
        x: the batch, any shape.
        min_val: float32 `[1]`, or `[x.size(axis)]`; start it at `+inf`.
        max_val: same shape; start it at `-inf`.
        count: int64 `[2]`: batches seen, non-finite values skipped; start it at 0.
        averaging: None for the running range, or the averaging constant.
        axis: None for one range, or the channel axis.

    Raises:
        ValueError: wrong dtype, shape or device of the statistics, axis or averaging out of range.

    Example:
        >>> min_val, max_val = torch.tensor([torch.inf]), torch.tensor([-torch.inf])
        >>> count = torch.zeros(2, dtype=torch.int64)
        >>> observe_minmax_(torch.tensor([-1.0, 3.0, torch.nan]), min_val, max_val, count)
        >>> min_val, max_val, count
        (tensor([-1.]), tensor([3.]), tensor([1, 1]))
    """
    # detached: a gradient history on the statistics would keep every step's graph alive
    _call(_OPS.observe_minmax_, x.detach(), min_val, max_val, count, averaging, axis)


def choose_qparams(
    min_val: Tensor, max_val: Tensor, qmin: int, qmax: int, symmetric: bool
) -> tuple[Tensor, Tensor]:
    """Scale and zero point for an observed range.

    Symmetric: `scale = max(|min|, |max|) / ((qmax - qmin) / 2)` and zero point 0 (where
    `qmin >= 0`, the middle code). Affine: the range is widened to contain 0,
    `scale = (max - min) / (qmax - qmin)`,
    `zero_point = clamp(round_half_even(qmin - min / scale), qmin, qmax)`. Computed in double. A
    dead or never observed channel gets scale 1.

    Args:
        min_val: float32, any shape.
        max_val: float32, same shape.
        qmin: lowest code.
        qmax: highest code.
        symmetric: which of the two rules.

    Returns:
        Scale (float32) and zero point (int32) in the shape of `min_val`.

    Raises:
        ValueError: wrong dtype or shape, or `qmin >= qmax`.

    Example:
        >>> choose_qparams(torch.tensor([-1.0]), torch.tensor([3.0]), 0, 4, symmetric=False)
        (tensor([1.]), tensor([1], dtype=torch.int32))
        >>> choose_qparams(torch.tensor([-1.0]), torch.tensor([254.0]), -127, 127, symmetric=True)
        (tensor([2.]), tensor([0], dtype=torch.int32))
    """
    result: tuple[Tensor, Tensor] = _call(
        _OPS.choose_qparams, min_val, max_val, qmin, qmax, symmetric
    )
    return result


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
) -> Tensor:
    """Round x to the grid it will have after deployment, in floating point.

    `y = (clamp(round_half_even(x / scale) + zero_point, qmin, qmax) - zero_point) * scale`,
    computed in float32 and rounded to the dtype of x. This is ONNX QuantizeLinear followed by
    DequantizeLinear, bit for bit. NaN stays NaN; infinities saturate.

    The gradient is the clipped straight-through estimator: the incoming gradient where
    `qmin <= round(x / scale) + zero_point <= qmax` (and for NaN), 0 elsewhere. Training keeps one
    bit per element for it. Under autocast the dtype of x is kept and scale stays float32.

    Args:
        x: float32, bfloat16 or float16, any shape.
        scale: float32, finite and > 0; a Python number for per tensor.
        zero_point: int32 within `[qmin, qmax]`, same shape; a Python number for per tensor.
        qmin: lowest code.
        qmax: highest code.
        axis: channel axis, or None for per tensor.
        group_size: elements along `axis` that share a scale, or None.
        mask: bool in the shape of x; where False, y is +0 and the gradient 0.

    Returns:
        y in the shape and dtype of x.

    Raises:
        ValueError: wrong dtype, shape, device, axis, group size, range, scale or zero point.
        RuntimeError: scale requires grad.

    Example:
        >>> fake_quantize(torch.tensor([0.2, 0.3, 9.0]), 0.25, 0, -8, 7)
        tensor([0.2500, 0.2500, 1.7500])
        >>> x = torch.tensor([0.2, 0.3, 9.0], requires_grad=True)
        >>> fake_quantize(x, 0.25, 0, -8, 7).sum().backward()
        >>> x.grad
        tensor([1., 1., 0.])
    """
    scale, zero_point = _as_tensors(scale, zero_point, x)
    y: Tensor = _call(
        _autograd.fake_quantize, x, scale, zero_point, qmin, qmax, axis, group_size, mask
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

    Returns:
        y, and the bits: uint8 `[ceil(n / 8)]`, one bit per element in row-major order (element 0 in
        the lowest bit of byte 0), set where the gradient passes.

    Raises:
        ValueError: as :func:`fake_quantize`.

    Example:
        >>> y, bits = fake_quantize_train(torch.tensor([0.2, 9.0, 0.3]), 0.25, 0, -8, 7)
        >>> bits
        tensor([5], dtype=torch.uint8)
    """
    scale, zero_point = _as_tensors(scale, zero_point, x)
    result: tuple[Tensor, Tensor] = _call(
        _OPS.fake_quantize_train, x, scale, zero_point, qmin, qmax, axis, group_size, mask
    )
    return result


def fake_quantize_backward(grad: Tensor, bits: Tensor) -> Tensor:
    """Clipped straight-through estimator: the gradient where the bit is set, +0 elsewhere.

    Args:
        grad: float32, bfloat16 or float16, any shape with n elements.
        bits: uint8 `[ceil(n / 8)]` from :func:`fake_quantize_train`.

    Returns:
        The gradient for x in the shape and dtype of `grad`. A NaN passes where its bit is set.

    Raises:
        ValueError: wrong dtype, or bits of another length.

    Example:
        >>> bits = torch.tensor([5], dtype=torch.uint8)
        >>> fake_quantize_backward(torch.tensor([1.0, 2.0, 3.0]), bits)
        tensor([1., 0., 3.])
    """
    result: Tensor = _call(_OPS.fake_quantize_backward, grad, bits)
    return result


def quantize(
    x: Tensor,
    scale: Tensor | float,
    zero_point: Tensor | int,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
) -> Tensor:
    """Integer codes: `clamp(round_half_even(x / scale) + zero_point, qmin, qmax)`.

    Infinities saturate; NaN gets the zero point, the code of the value 0.

    Args:
        x: float32, bfloat16 or float16, any shape.
        scale: see :func:`fake_quantize`.
        zero_point: see there.
        qmin: lowest code, at least -128.
        qmax: highest code, at most 127 where `qmin < 0`, else at most 255.
        axis: channel axis, or None.
        group_size: elements along `axis` that share a scale, or None.

    Returns:
        int8 where `qmin < 0`, else uint8, in the shape of x.

    Raises:
        ValueError: as :func:`fake_quantize`, or a range that does not fit one byte.

    Example:
        >>> quantize(torch.tensor([0.2, -0.4, 9.0]), 0.25, 0, -8, 7)
        tensor([ 1, -2,  7], dtype=torch.int8)
    """
    scale, zero_point = _as_tensors(scale, zero_point, x)
    result: Tensor = _call(
        _OPS.quantize, x, scale, zero_point, qmin, qmax, axis=axis, group_size=group_size
    )
    return result


def dequantize(
    codes: Tensor,
    scale: Tensor | float,
    zero_point: Tensor | int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
) -> Tensor:
    """Values of integer codes: `(codes - zero_point) * scale` in float32.

    Args:
        codes: int8 or uint8, any shape.
        scale: see :func:`fake_quantize`.
        zero_point: int32 that fits the dtype of `codes`, same shape; or a Python number.
        axis: channel axis, or None.
        group_size: elements along `axis` that share a scale, or None.

    Returns:
        float32 in the shape of `codes`.

    Raises:
        ValueError: wrong dtype, shape, device, axis, group size or scale.

    Example:
        >>> dequantize(torch.tensor([1, -2, 7], dtype=torch.int8), 0.25, 0)
        tensor([ 0.2500, -0.5000,  1.7500])
    """
    scale, zero_point = _as_tensors(scale, zero_point, codes)
    result: Tensor = _call(
        _OPS.dequantize, codes, scale, zero_point, axis=axis, group_size=group_size
    )
    return result


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack 2-, 4- or 8-bit codes into bytes, first code in the low bits (ONNX order).

    Args:
        codes: int8 or uint8, any shape with n elements, read in row-major order.
        bits: 2, 4 or 8.

    Returns:
        uint8 `[ceil(n * bits / 8)]`; unused high bits of the last byte are 0.

    Raises:
        ValueError: wrong dtype, another number of bits, or a code that does not fit.

    Example:
        >>> pack(torch.tensor([1, -2, 7], dtype=torch.int8), 4)
        tensor([225,   7], dtype=torch.uint8)
    """
    result: Tensor = _call(_OPS.pack, codes, bits)
    return result


def unpack(packed: Tensor, bits: int, shape: Sequence[int], signed: bool) -> Tensor:
    """Inverse of :func:`pack`.

    Args:
        packed: uint8 `[ceil(n * bits / 8)]`.
        bits: 2, 4 or 8.
        shape: shape of the result, n elements.
        signed: whether the codes are two's complement.

    Returns:
        int8 where `signed`, else uint8, in `shape`.

    Raises:
        ValueError: wrong dtype, another number of bits, or a byte count that contradicts the shape.

    Example:
        >>> unpack(torch.tensor([225, 7], dtype=torch.uint8), 4, (3,), signed=True)
        tensor([ 1, -2,  7], dtype=torch.int8)
    """
    result: Tensor = _call(_OPS.unpack, packed, bits, list(shape), signed)
    return result


def _call(op: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run an op; a refused argument is a ValueError, as for any Python function."""
    try:
        return op(*arguments, **options)
    except RuntimeError as error:
        if _REFUSAL.match(str(error)):
            raise ValueError(str(error)) from None
        raise


def _as_tensors(
    scale: Tensor | float, zero_point: Tensor | int, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Python numbers as one-element tensors on the device of x."""
    if not isinstance(scale, Tensor):
        # full: a fill on the device; torch.tensor would copy from the host and wait for the GPU
        scale = torch.full((1,), scale, dtype=torch.float64, device=x.device).float()
    if not isinstance(zero_point, Tensor):
        if isinstance(zero_point, float) or not -128 <= zero_point <= 255:
            raise ValueError(
                "edgeqat: zero_point must be an int in [qmin, qmax] or an int32 tensor, "
                f"found {zero_point!r}. Round it first."
            )
        zero_point = torch.full_like(scale, zero_point, dtype=torch.int32)
    return scale, zero_point
