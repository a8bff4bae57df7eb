# SPDX-License-Identifier: Apache-2.0
"""Oscillation of weights between two codes: counted and frozen after every optimizer step."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeqat.functional._call import call

_OPS = torch.ops.edgeqat


def oscillation_update_(
    weight: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    codes: Tensor,
    direction: Tensor,
    frequency: Tensor,
    mean_code: Tensor,
    frozen: Tensor,
    momentum: float,
    freeze_threshold: float | None = None,
    axis: int | None = None,
    group_size: int | None = None,
) -> None:
    """Take the weights as an optimizer step left them into their counters, in place.

    With `q = quantize(weight, ...)` and m = momentum, for every weight that is not frozen:

    - it oscillates (o = 1) if its code changed, and against the direction of its last change;
    - `frequency = m * o + (1 - m) * frequency`;
    - `mean_code = m * q + (1 - m) * mean_code`;
    - it is frozen as soon as `frequency > freeze_threshold`.

    A frozen weight no longer counts; its code is `round(mean_code)` within `[qmin, qmax]`, and
    every call sets it to `(round(mean_code) - zero_point) * scale`, whatever the optimizer did to
    it. All in float32, in one pass over the tensors. No gradient flows; a weight that requires
    grad stays a leaf.

    Start `mean_code` at NaN: the first call then only takes the codes, and the other state tensors
    may hold zeros. Or start `codes` with the codes, `mean_code` with the same as float32.

    Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training, ICML 2022,
    algorithm 1.

    Args:
        weight: float32, bfloat16 or float16, any shape; changed where frozen.
        scale: float32, as in :func:`fake_quantize`.
        zero_point: int32, same shape.
        qmin: lowest code, at least -128.
        qmax: highest code, at most 127.
        codes: int8 in the shape of `weight`: the codes after the last step.
        direction: int8: of the last change of the code, -1 or 1; 0 before the first.
        frequency: float32.
        mean_code: float32.
        frozen: bool.
        momentum: weight of this step, in (0, 1].
        freeze_threshold: at least 0; None only counts.
        axis: channel axis, or None.
        group_size: elements along `axis` that share a scale, or None.

    Raises:
        ValueError: wrong dtype, shape or device, a state tensor with gaps or overlap in memory,
            momentum or threshold out of range.

    Example:
        >>> weight = torch.tensor([0.2, 0.9])
        >>> codes, direction = torch.zeros(2, dtype=torch.int8), torch.zeros(2, dtype=torch.int8)
        >>> frequency, mean_code = torch.zeros(2), torch.full((2,), torch.nan)
        >>> state = codes, direction, frequency, mean_code, torch.zeros(2, dtype=torch.bool)
        >>> scale, zero_point = torch.ones(1), torch.zeros(1, dtype=torch.int32)
        >>> for value in (0.2, 0.6, 0.4):
        ...     weight[0] = value
        ...     oscillation_update_(weight, scale, zero_point, -2, 1, *state, 0.5, 0.4)
        >>> frequency
        tensor([0.5000, 0.0000])
        >>> weight
        tensor([0.0000, 0.9000])
    """
    call(
        _OPS.oscillation_update_,
        weight,
        scale,
        zero_point,
        qmin,
        qmax,
        codes,
        direction,
        frequency,
        mean_code,
        frozen,
        momentum,
        freeze_threshold,
        axis,
        group_size,
    )
