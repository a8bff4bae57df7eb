# SPDX-License-Identifier: Apache-2.0
"""Independent float64 NumPy reference of every op: slow, obvious, and what the tests compare with.

Every intermediate that the contract defines in float32 is computed in float64 and rounded once. For
a division or a product of two float32 values that single rounding gives the IEEE float32 result
exactly (53 >= 2 * 24 + 2 bits), so integer codes and float32 outputs must be *equal*, not close.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Codes = NDArray[np.int8] | NDArray[np.uint8]


def _round_to_float32(value: ArrayLike) -> F64:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(value, dtype=np.float64).astype(np.float32).astype(np.float64)


def expand_qparams(
    shape: tuple[int, ...],
    qparam: ArrayLike,
    axis: int | None = None,
    group_size: int | None = None,
) -> NDArray[np.generic]:
    """Gives every element of ``shape`` its own scale or zero point.

    Per tensor (``axis`` None), per channel (``axis``), or per group of ``group_size`` consecutive
    elements along ``axis``.
    """
    q = np.asarray(qparam)
    if axis is None:
        return np.broadcast_to(q.reshape(()), shape)
    axis %= len(shape)
    if group_size is None:
        per_axis = [1] * len(shape)
        per_axis[axis] = shape[axis]
        return np.broadcast_to(q.reshape(per_axis), shape)
    return np.repeat(q, group_size, axis=axis).reshape(shape)


def _grid_position(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike,
    axis: int | None,
    group_size: int | None,
) -> tuple[F64, F64, F64]:
    """rint(x / scale) + zero_point before clamping, with the expanded scale and zero point."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is an input like any other
        values = np.asarray(x, dtype=np.float32).astype(np.float64)
    scales = expand_qparams(values.shape, np.asarray(scale, dtype=np.float32), axis, group_size)
    zeros = expand_qparams(values.shape, np.asarray(zero_point, dtype=np.int32), axis, group_size)
    s, z = scales.astype(np.float64), zeros.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.rint(_round_to_float32(values / s)) + z, s, z


def observe_minmax(
    batches: Sequence[ArrayLike],
    averaging: float | None = None,
    axis: int | None = None,
    mask: ArrayLike | None = None,
) -> tuple[F32, F32, NDArray[np.int64]]:
    """Minimum, maximum and count after all batches, from a fresh state; elements outside the mask are not there."""
    state: list[list[float]] = []
    skipped = 0
    for batch in batches:
        with np.errstate(invalid="ignore"):
            values = np.asarray(batch, dtype=np.float32).astype(np.float64)
        keep = np.ones(values.shape, bool) if mask is None else np.asarray(mask, bool)
        seen = np.isfinite(values) & keep
        skipped += int((keep & ~seen).sum())
        channels = [values] if axis is None else np.moveaxis(values, axis, 0)
        flags = [seen] if axis is None else np.moveaxis(seen, axis, 0)
        state = state or [[np.inf, -np.inf] for _ in channels]
        for old, channel, flag in zip(state, channels, flags, strict=True):
            finite = channel[flag]
            if finite.size == 0:
                continue
            new = [float(finite.min()), float(finite.max())]
            if averaging is None:
                old[:] = [min(old[0], new[0]), max(old[1], new[1])]
            elif np.isinf(old[0]):
                old[:] = new
            else:
                old[:] = [_average(v, w, averaging) for v, w in zip(old, new, strict=True)]
    limits = np.asarray(state, dtype=np.float32) + np.float32(0.0)  # -0 becomes +0
    return limits[:, 0], limits[:, 1], np.asarray([len(batches), skipped])


def _average(old: float, new: float, constant: float) -> float:
    step = _round_to_float32(np.float64(np.float32(constant)) * _round_to_float32(new - old))
    return float(_round_to_float32(old + step))


def choose_qparams(
    min_val: ArrayLike, max_val: ArrayLike, qmin: int, qmax: int, symmetric: bool
) -> tuple[F32, NDArray[np.int32]]:
    """Scale and zero point per element; scale 1 where it would be below the smallest normal."""
    low = np.asarray(min_val, dtype=np.float32).astype(np.float64)
    high = np.asarray(max_val, dtype=np.float32).astype(np.float64)
    unseen = np.isinf(low) & np.isinf(high)
    low, high = np.where(unseen, 0.0, low), np.where(unseen, 0.0, high)
    if symmetric:
        exact = np.maximum(np.abs(low), np.abs(high)) * 2 / (qmax - qmin)
        zero = np.full(low.shape, 0 if qmin < 0 else (qmin + qmax + 1) // 2)
    else:
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        exact = (high - low) / (qmax - qmin)
    usable = _round_to_float32(exact) >= np.finfo(np.float32).tiny
    scale = np.where(usable, _round_to_float32(exact), 1.0)
    if not symmetric:
        zero = np.clip(np.rint(qmin - np.where(usable, low, qmin) / scale), qmin, qmax)
        zero = np.where(usable, zero, np.clip(0, qmin, qmax))
    return scale.astype(np.float32), zero.astype(np.int32)


def activate(x: ArrayLike, activation: str | None) -> tuple[F32, F32]:
    """The activation of x in float32 and its derivative; every float32 operation is rounded once."""
    with np.errstate(invalid="ignore", over="ignore"):
        v = np.asarray(x, dtype=np.float32)
        wide, one = v.astype(np.float64), np.ones_like(v)
        if activation in (None, "none"):
            return v, one
        positive = np.where(wide <= 0.0, 0.0, wide)
        if activation == "relu":
            return positive.astype(np.float32), np.where(v <= 0.0, np.float32(0.0), one)
        if activation == "relu6":
            value = np.where(wide >= 6.0, 6.0, positive).astype(np.float32)
            return value, np.where((v <= 0.0) | (v >= 6.0), np.float32(0.0), one)
        shifted = _round_to_float32(wide + 3.0)
        gate = np.where(shifted < 0.0, 0.0, np.where(shifted > 6.0, 6.0, shifted))
        value = _round_to_float32(_round_to_float32(wide * gate) / 6.0).astype(np.float32)
        slope = _round_to_float32(_round_to_float32(wide / 3.0) + 0.5).astype(np.float32)
        slope = np.where(v <= -3.0, np.float32(0.0), slope)
        return value, np.where((v >= 3.0) | np.isnan(v), one, slope)


def fake_quantize(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: ArrayLike | None = None,
    activation: str | None = None,
) -> tuple[F32, NDArray[np.bool_]]:
    """Values on the grid in float32 and, per element, whether the gradient passes.

    NaN stays NaN and passes; a masked-out element is +0 and does not. Of a fused hardswish, only the
    range counts, because its derivative is no bit.
    """
    x, slope = activate(x, activation)
    position, s, z = _grid_position(x, scale, zero_point, axis, group_size)
    nan = np.isnan(position)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        y = ((np.clip(position, qmin, qmax) - z) * s).astype(np.float32)
    in_range = nan | ((position >= qmin) & (position <= qmax))
    if activation != "hardswish":
        in_range &= slope != 0.0
    if mask is not None:
        keep = np.asarray(mask, dtype=bool)
        y = np.where(keep, y, np.float32(0.0))
        in_range &= keep
    return y, in_range


def quantize(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
) -> Codes:
    """Integer codes; NaN gets the code of zero."""
    position, _, z = _grid_position(x, scale, zero_point, axis, group_size)
    codes = np.clip(np.where(np.isnan(position), z, position), qmin, qmax)
    return codes.astype(np.int8) if qmin < 0 else codes.astype(np.uint8)


def dequantize(
    codes: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike,
    *,
    axis: int | None = None,
    group_size: int | None = None,
) -> F32:
    """(code - zero_point) * scale in float32."""
    q = np.asarray(codes).astype(np.float64)
    s = expand_qparams(q.shape, np.asarray(scale, dtype=np.float32), axis, group_size)
    z = expand_qparams(q.shape, np.asarray(zero_point, dtype=np.int32), axis, group_size)
    with np.errstate(over="ignore", under="ignore"):
        return ((q - z.astype(np.float64)) * s.astype(np.float64)).astype(np.float32)


def pack_mask(in_range: ArrayLike) -> NDArray[np.uint8]:
    """One bit per element in row-major order, the first element in the lowest bit of byte 0."""
    return np.packbits(np.asarray(in_range, dtype=bool).reshape(-1), bitorder="little")


def fake_quantize_backward(grad: ArrayLike, bits: ArrayLike) -> NDArray[np.generic]:
    """The gradient where the bit is set, +0 elsewhere; dtype and shape of ``grad``."""
    g = np.asarray(grad)
    passes = np.unpackbits(np.asarray(bits, np.uint8), bitorder="little", count=g.size)
    return np.where(passes.reshape(g.shape).astype(bool), g, np.zeros((), g.dtype))


def pack(codes: ArrayLike, bits: int) -> NDArray[np.uint8]:
    """Row-major codes of ``bits`` bits, first code in the low bits, last byte filled with zeros."""
    flat = np.asarray(codes).reshape(-1).astype(np.int64)
    stream = ((flat[:, None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(-1)
    return np.packbits(stream, bitorder="little")


def unpack(packed: ArrayLike, bits: int, shape: tuple[int, ...], signed: bool) -> Codes:
    """Inverse of :func:`pack`; ``signed`` reads two's complement of ``bits`` bits."""
    count = int(np.prod(shape, dtype=np.int64))
    stream = np.unpackbits(np.asarray(packed, np.uint8), bitorder="little", count=count * bits)
    values = (stream.reshape(count, bits).astype(np.int64) << np.arange(bits)).sum(axis=1)
    if signed:
        values = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
    codes: Codes = values.astype(np.int8) if signed else values.astype(np.uint8)
    return codes.reshape(shape)
