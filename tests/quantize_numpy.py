# SPDX-License-Identifier: Apache-2.0
"""Quantization in NumPy, for tests: what the library must agree with, written without it."""

from __future__ import annotations

from typing import Any

import numpy as np

INT8 = (-128, 127)
UINT8 = (0, 255)


def dequantize(codes: np.ndarray, scale: Any, zero: Any) -> np.ndarray:
    return (codes.astype(np.int32) - zero).astype(np.float32) * np.asarray(scale, np.float32)


def quantize(
    values: np.ndarray, scale: Any, zero: Any, bounds: tuple[int, int] = INT8
) -> np.ndarray:
    steps = np.rint(values.astype(np.float32) / np.asarray(scale, np.float32)).astype(np.float64)
    return np.clip(steps + zero, *bounds).astype(np.int8 if bounds[0] < 0 else np.uint8)


def requantize(
    acc: np.ndarray, sx: float, sw: Any, sy: float, zero: int, bounds: tuple[int, int]
) -> np.ndarray:
    multiplier = np.float32(sx) * np.asarray(sw, np.float32) / np.float32(sy)
    codes = np.rint(acc.astype(np.float32) * multiplier).astype(np.float64) + zero
    return np.clip(codes, *bounds).astype(np.int8 if bounds[0] < 0 else np.uint8)


def random_codes(
    rng: np.random.Generator, shape: tuple[int, ...], bounds: tuple[int, int]
) -> np.ndarray:
    return rng.integers(bounds[0], bounds[1] + 1, shape).astype(
        np.int8 if bounds[0] < 0 else np.uint8
    )
