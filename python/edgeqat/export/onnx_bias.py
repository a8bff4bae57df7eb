# SPDX-License-Identifier: Apache-2.0
"""Biases of integer layers as int32 at scale sx*sw, the rounding of the integer reference."""

from __future__ import annotations

import numpy as np

from edgeqat.export.onnx_constants import Array


def integer_bias(
    bias: Array, input_scale: Array, weight_scale: Array
) -> tuple[Array | None, Array]:
    """Codes (int32) and scale (float32) of a bias; codes are None if one of them does not fit.

    Formula: ``q = round_half_even(bias / (sx * sw))`` in float64; ``scale = float32(sx * sw)``.

    Example:
        >>> codes, scale = integer_bias(np.array([1.0], np.float32), np.array([0.5], np.float32), np.array([0.25], np.float32))
        >>> codes.tolist(), scale.tolist()
        ([8], [0.125])
    """
    exact = np.float64(input_scale.reshape(())) * weight_scale.astype(np.float64).reshape(-1)
    codes = np.rint(bias.astype(np.float64) / exact)
    scale = exact.astype(np.float32)
    if scale.size == 1 and bias.size != 1:
        scale = scale.reshape(())
    # ONNX Runtime turns a float bias of an integer layer into int32 without a check: 2^33 units became a wrong channel
    # (off by 255 codes), so the limit must be looked at here.
    fits = np.isfinite(codes).all() and (np.abs(codes) < 2**31).all()
    return (codes.astype(np.int32) if fits else None), scale
