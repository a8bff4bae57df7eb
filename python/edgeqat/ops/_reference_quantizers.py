# SPDX-License-Identifier: Apache-2.0
"""Independent float64 NumPy reference of the further quantizers, in the manner of `_reference`."""

from __future__ import annotations

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
