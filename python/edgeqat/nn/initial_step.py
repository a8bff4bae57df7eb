# SPDX-License-Identifier: Apache-2.0
"""Where a learned step size starts: the LSQ rule, or the step with the least squared error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgeqat import functional

# More values change the best step by less than one candidate's distance, and a search over all of 2 million
# activations would take 50 passes over memory instead of 50 over the second-level cache.
SAMPLE = 1 << 16
CANDIDATES = 48
SMALLEST_RATIO = 0.02  # a 2-bit grid over heavy tails is best near 0.1 of the largest value


def sample(x: Tensor, limit: int = SAMPLE) -> Tensor:
    """At most `limit` finite values of `x`, evenly spaced, float32. Shape: any -> [n]."""
    flat = x.detach().reshape(-1)
    flat = flat[:: max(1, math.ceil(flat.numel() / limit))].float()
    return flat[torch.isfinite(flat)]


def lsq_step(rows: Tensor, qmax: int) -> Tensor:
    """The rule of LSQ: ``2 * mean|x| / sqrt(qmax)`` for each row; 1 for a row of zeros. Shape: [C, n] -> [C].

    Source: Esser et al., Learned Step Size Quantization, ICLR 2020, section 2.1.
    """
    step = 2.0 * rows.float().abs().mean(1) / math.sqrt(max(qmax, 1))
    return torch.where(step > 0, step, 1.0)


def mse_step(rows: Tensor, qmin: int, qmax: int) -> Tensor:
    """For each row the step of least squared error among 48, spaced evenly in the logarithm. Shape: [C, n] -> [C].

    The largest candidate just holds the largest value of the row, the smallest clips at a fiftieth of it.

    Example:
        >>> mse_step(torch.tensor([[-1.0, -0.5, 0.0, 0.5]]), -2, 1)
        tensor([0.5000])
    """
    rows = rows.float()
    high, low = rows.amax(1).clamp_min(0.0), rows.amin(1).clamp_max(0.0)
    largest = torch.maximum(high / max(qmax, 1), low / min(qmin, -1))
    largest = torch.where(largest > 0, largest, 1.0)
    zero_point = torch.zeros(rows.shape[0], dtype=torch.int32, device=rows.device)
    best = largest.clone()
    least = torch.full_like(largest, math.inf)
    for index in range(CANDIDATES):
        step = largest * SMALLEST_RATIO ** (index / (CANDIDATES - 1))
        step = step.clamp_min(torch.finfo(torch.float32).tiny)
        error = functional.fake_quantize(rows, step, zero_point, qmin, qmax, axis=0) - rows
        square = error.square().sum(1)
        best = torch.where(square < least, step, best)
        least = torch.minimum(square, least)
    return best


def mse_step_and_offset(values: Tensor, qmin: int, qmax: int) -> tuple[Tensor, Tensor]:
    """The affine grid of least squared error among ranges shrunk from the full one by 48 factors. Shape: [n] -> [1], [1].

    The offset is the value that code 0 stands for: ``x = q * step + offset``.

    Example:
        >>> step, offset = mse_step_and_offset(torch.linspace(0.0, 3.0, 4), -2, 1)
        >>> step, offset
        (tensor([1.]), tensor([2.]))
    """
    values = values.float()
    low = values.amin().clamp_max(0.0).reshape(1)
    high = values.amax().clamp_min(0.0).reshape(1)
    best, least = None, math.inf
    for index in range(CANDIDATES):
        ratio = SMALLEST_RATIO ** (index / (CANDIDATES - 1))
        step, zero_point = functional.choose_qparams(
            low * ratio, high * ratio, qmin, qmax, symmetric=False
        )
        error = functional.fake_quantize(values, step, zero_point, qmin, qmax) - values
        square = float(error.square().sum())
        if best is None or square < least:
            best, least = (step, -zero_point.float() * step), square
    assert best is not None
    return best
