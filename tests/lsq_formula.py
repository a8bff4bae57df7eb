# SPDX-License-Identifier: Apache-2.0
"""The formula of the learned quantizers in float64, differentiated by torch's autograd.

Rounding and clipping are spelled with `detach`, one line for each rule, so that autograd derives
the gradients that the kernels compute by formula.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACTIVATIONS = {
    None: lambda x: x,
    "relu": torch.relu,
    "relu6": torch.nn.functional.relu6,
    "hardswish": torch.nn.functional.hardswish,
}


def expand(parameter: Tensor, x: Tensor, axis: int | None, group_size: int | None) -> Tensor:
    """Give every element of x its own parameter."""
    if axis is None:
        return parameter.reshape(())
    if group_size is None:
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        return parameter.reshape(shape)
    return parameter.repeat_interleave(group_size, dim=axis)


def step_of(scale: Tensor, qmin: int, qmax: int, rule: str) -> Tensor:
    """The positive step of a parameter, straight through the ceiling of the power of two."""
    magnitude = scale.abs().clamp_min(2.0**-100)
    if rule == "pact":
        return magnitude / (qmax - qmin)
    if rule == "power_of_two":
        return magnitude * (2.0 ** magnitude.log2().ceil() / magnitude).detach()
    return magnitude


def lsq(
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: str | None = None,
    rule: str = "lsq",
    delta: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Values with the right gradients for float64 x, scale and offset, and where x is in range."""
    a = ACTIVATIONS[activation](x)
    step = expand(step_of(scale, qmin, qmax, rule), x, axis, group_size)
    shift = torch.zeros_like(step) if offset is None else expand(offset, x, axis, group_size)
    zero = (-shift / step).detach().round().clamp(qmin, qmax)
    ratio = (a / step).detach()
    # clipped beyond the outermost codes, as in the paper, not half a step later
    below, above = ratio < qmin - zero, ratio > qmax - zero
    residual = ratio.round() - ratio
    passing = a
    if delta and a.requires_grad:
        passing = a * 1.0
        passing.register_hook(lambda g: g - g.abs() * residual * delta / (qmax - qmin))
    inside = passing + residual * (step.detach() if rule == "pact" else step)
    # clipped: the code times the step plus the offset, whose value is snapped to the grid
    snapped = shift + (-zero * step - shift).detach()
    low = qmin * step + snapped
    high = qmax * step + snapped
    y = torch.where(below, low, torch.where(above, high, inside))
    in_range = ~(below | above)
    if mask is not None:
        y = torch.where(mask, y, torch.zeros_like(y))
        in_range = in_range & mask
    return y, in_range
