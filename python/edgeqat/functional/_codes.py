# SPDX-License-Identifier: Apache-2.0
"""Integer codes: to and from values, to and from packed bytes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgeqat.functional._call import as_tensors, call

_OPS = torch.ops.edgeqat


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
    scale, zero_point = as_tensors("quantize", scale, zero_point, x=x)
    result: Tensor = call(
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
    scale, zero_point = as_tensors("dequantize", scale, zero_point, codes=codes)
    result: Tensor = call(
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
    result: Tensor = call(_OPS.pack, codes, bits)
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
    result: Tensor = call(_OPS.unpack, packed, bits, list(shape), signed)
    return result
