# SPDX-License-Identifier: Apache-2.0
"""What is observed of a tensor, and the scale and zero point that follow from it."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeqat.functional._call import call, check_tensors

_OPS = torch.ops.edgeqat


def observe_minmax_(
    x: Tensor,
    min_val: Tensor,
    max_val: Tensor,
    count: Tensor,
    averaging: float | None = None,
    axis: int | None = None,
    mask: Tensor | None = None,
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
        mask: bool, the shape of x; elements where it is False are neither seen nor counted, so that
            the range of a pruned weight is that of its survivors.

    Raises:
        ValueError: wrong dtype, shape or device of the statistics or the mask, axis or averaging out
            of range.

    Example:
        >>> min_val, max_val = torch.tensor([torch.inf]), torch.tensor([-torch.inf])
        >>> count = torch.zeros(2, dtype=torch.int64)
        >>> observe_minmax_(torch.tensor([-1.0, 3.0, torch.nan]), min_val, max_val, count)
        >>> min_val, max_val, count
        (tensor([-1.]), tensor([3.]), tensor([1, 1]))
    """
    # detached: a gradient history on the statistics would keep every step's graph alive
    check_tensors("observe_minmax_", "x", x)
    call(_OPS.observe_minmax_, x.detach(), min_val, max_val, count, averaging, axis, mask)


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
    result: tuple[Tensor, Tensor] = call(
        _OPS.choose_qparams, min_val, max_val, qmin, qmax, symmetric
    )
    return result
