# SPDX-License-Identifier: Apache-2.0
"""Independent float64 NumPy reference of the further quantizers, in the manner of `_reference`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeqat.ops._reference import (
    F32,
    F64,
    _round_to_float32,
    choose_qparams,
    expand_qparams,
    fake_quantize,
    quantize,
)


def _scales_of(
    x: F64, axis: int | None, group_size: int | None
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Index of every element's scale, and the shape of the scales."""
    if axis is None:
        return np.zeros(x.shape, np.int64), (1,)
    axis %= x.ndim
    shape = (x.shape[axis],)
    if group_size is not None:
        shape = tuple(n // group_size if i == axis else n for i, n in enumerate(x.shape))
    index = np.arange(int(np.prod(shape))).reshape(shape)
    return expand_qparams(x.shape, index, axis, group_size).astype(np.int64), shape


def ternary_fake_quantize(
    x: ArrayLike,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: ArrayLike | None = None,
) -> tuple[F32, F32]:
    """Ternary values and their scale; sums exact enough that their order does not show."""
    with np.errstate(invalid="ignore"):
        values = np.asarray(x, dtype=np.float32).astype(np.float64)
    keep = np.ones(values.shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    index, shape = _scales_of(values, axis, group_size)
    y = np.where(np.isnan(values), np.nan, 0.0)
    scale = np.ones(int(np.prod(shape)), np.float32)
    for s in range(scale.size):
        here = (index == s) & keep
        magnitude = np.abs(values[here & np.isfinite(values)])
        if magnitude.size == 0:
            continue
        threshold = np.float32(0.7 * (math.fsum(magnitude) / magnitude.size))
        above = magnitude[magnitude > threshold]
        mean = np.float32(math.fsum(above) / above.size) if above.size else np.float32(0.0)
        if mean < np.finfo(np.float32).tiny:
            continue
        scale[s] = mean
        y = np.where(here & (np.abs(values) > threshold), np.copysign(mean, values), y)
    return np.where(keep, y, 0.0).astype(np.float32), scale.reshape(shape)


def _dorefa_divisor(
    x: F64, axis: int | None, group_size: int | None, mask: ArrayLike | None
) -> F64:
    keep = np.ones(x.shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    index, shape = _scales_of(x, axis, group_size)
    largest = np.zeros(int(np.prod(shape)))
    np.maximum.at(largest, index.reshape(-1), np.where(keep & np.isfinite(x), np.abs(x), 0).ravel())
    divisor = np.tanh(largest)
    return np.where(divisor < np.finfo(np.float32).tiny, 1.0, divisor)[index]


def dorefa_fake_quantize(
    x: ArrayLike,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: ArrayLike | None = None,
) -> tuple[F32, F64]:
    """Values, and the positions t * qmax before rounding: beside a tie float32 may round away."""
    with np.errstate(invalid="ignore"):
        values = np.asarray(x, dtype=np.float32).astype(np.float64)
    step = np.float32(1.0) / np.float32(qmax)
    position = np.tanh(values) / _dorefa_divisor(values, axis, group_size, mask) / float(step)
    y = ((np.clip(np.rint(position), qmin, qmax) + 0.0) * float(step)).astype(np.float32)
    return (y if mask is None else np.where(np.asarray(mask, bool), y, np.float32(0.0))), position


def dorefa_fake_quantize_backward(
    grad: ArrayLike,
    x: ArrayLike,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: ArrayLike | None = None,
) -> F64:
    """grad * (1 - tanh(x)^2) / tanh(max |x|) in float64."""
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.asarray(x, dtype=np.float32).astype(np.float64)
        slope = 1.0 / np.cosh(values) ** 2 / _dorefa_divisor(values, axis, group_size, mask)
        result = np.asarray(grad, dtype=np.float32).astype(np.float64) * slope
    return result if mask is None else np.where(np.asarray(mask, bool), result, 0.0)


def per_token_fake_quantize(x: ArrayLike, qmin: int, qmax: int, symmetric: bool) -> F32:
    """Every row of the last axis with the scale and zero point of its own finite range."""
    values = np.asarray(x, dtype=np.float32)
    rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    result = np.empty_like(rows)
    for row, out in zip(rows, result, strict=True):
        finite = row[np.isfinite(row)]
        low, high = (finite.min(), finite.max()) if finite.size else (np.inf, -np.inf)
        scale, zero_point = choose_qparams([low + 0.0], [high + 0.0], qmin, qmax, symmetric)
        out[:], _ = fake_quantize(row, scale, zero_point, qmin, qmax)
    return result.reshape(values.shape)


def oscillation_update(
    weight: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike,
    qmin: int,
    qmax: int,
    state: dict[str, NDArray[Any]],
    momentum: float,
    freeze_threshold: float | None = None,
    *,
    axis: int | None = None,
    group_size: int | None = None,
) -> tuple[F32, dict[str, NDArray[Any]]]:
    """Weights and state (codes, direction, frequency, mean_code, frozen) after one step."""
    w = np.asarray(weight, dtype=np.float32)
    q = quantize(w, scale, zero_point, qmin, qmax, axis=axis, group_size=group_size).astype(int)
    m = float(np.float32(momentum))
    keep = float(np.float32(1.0) - np.float32(momentum))

    def average(new: ArrayLike, old: NDArray[Any]) -> F64:
        kept = _round_to_float32(keep * old.astype(np.float64))
        return _round_to_float32(_round_to_float32(m * np.asarray(new, np.float64)) + kept)

    seen = ~np.isnan(state["mean_code"])
    frozen = state["frozen"].astype(bool)
    held_back = frozen & seen
    change = np.sign(q - state["codes"].astype(int))
    oscillates = change * state["direction"].astype(int) < 0
    direction = np.where(change != 0, change, state["direction"])
    direction = np.where(seen, direction, 0)
    frequency = np.where(seen, average(oscillates, state["frequency"]), 0.0)
    mean_code = np.where(seen, average(q, state["mean_code"]), q)
    after: dict[str, NDArray[Any]] = {
        "direction": np.where(held_back, state["direction"], direction).astype(np.int8),
        "frequency": np.where(held_back, state["frequency"], frequency).astype(np.float32),
        "mean_code": np.where(held_back, state["mean_code"], mean_code).astype(np.float32),
    }
    threshold = np.float32(np.inf if freeze_threshold is None else freeze_threshold)
    frozen = frozen | (after["frequency"] > threshold)
    mean = np.clip(np.rint(after["mean_code"].astype(np.float64)), qmin, qmax) + 0.0  # no -0
    codes = np.where(frozen, mean, q)
    s = expand_qparams(w.shape, np.asarray(scale, np.float32), axis, group_size)
    z = expand_qparams(w.shape, np.asarray(zero_point, np.int32), axis, group_size)
    held = _round_to_float32((mean - z.astype(np.float64)) * s.astype(np.float64))
    after |= {"codes": codes.astype(np.int8), "frozen": frozen}
    return np.where(frozen, held, w).astype(np.float32), after
