# SPDX-License-Identifier: Apache-2.0
"""torch's own fake quantization around the inputs and weights of convolutions and linear layers.

Two forms: "fused" are the modules of torch.ao (moving-average ranges, one kernel call each); "learnable" are torch's
learnable operators, with the first step, the gradient scale and the widths that edgeqat uses.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LearnableWeight(nn.Module):
    """torch._fake_quantize_learnable_per_channel_affine over axis 0."""

    def __init__(self, weight: Tensor, bits: int, first_step: Callable[..., Tensor]) -> None:
        super().__init__()
        self.low, self.high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        rows = weight.detach().flatten(1)
        self.scale = nn.Parameter(first_step(rows, self.low, self.high))
        self.register_buffer("zero_point", torch.zeros(len(rows)))
        self.factor = 1.0 / math.sqrt(rows.shape[1] * self.high)

    def forward(self, weight: Tensor) -> Tensor:
        return torch._fake_quantize_learnable_per_channel_affine(
            weight, self.scale, self.zero_point, 0, self.low, self.high, self.factor
        )


class LearnableActivation(nn.Module):
    """torch._fake_quantize_learnable_per_tensor_affine; the first batch sets the step."""

    def __init__(self, bits: int, first_step: Callable[..., Tensor]) -> None:
        super().__init__()
        self.bits, self.first_step = bits, first_step
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("zero_point", torch.zeros(1))
        self.register_buffer("limits", torch.zeros(2, dtype=torch.int64))
        self.low = self.high = 0

    def _load_from_state_dict(self, *arguments: object, **keywords: object) -> None:
        super()._load_from_state_dict(*arguments, **keywords)  # type: ignore[arg-type]
        self.low, self.high = (int(v) for v in self.limits)

    def forward(self, x: Tensor) -> Tensor:
        if not self.high:
            signed = bool(x.min() < 0)
            self.low = -(1 << (self.bits - 1)) if signed else 0
            self.high = self.low + (1 << self.bits) - 1
            sample = x.detach().flatten()[:: max(1, x.numel() // 65536)].reshape(1, -1)
            with torch.no_grad():
                self.scale.copy_(self.first_step(sample, self.low, self.high))
                self.limits.copy_(torch.tensor([self.low, self.high]))
        factor = 1.0 / math.sqrt(x[0].numel() * self.high)
        return torch._fake_quantize_learnable_per_tensor_affine(
            x, self.scale, self.zero_point, self.low, self.high, factor
        )


def _fused(bits: int, weight: bool) -> nn.Module:
    from torch.ao.quantization import (
        FusedMovingAvgObsFakeQuantize,
        MovingAverageMinMaxObserver,
        MovingAveragePerChannelMinMaxObserver,
    )

    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if weight:
        return FusedMovingAvgObsFakeQuantize(
            MovingAveragePerChannelMinMaxObserver,
            low,
            high,
            dtype=torch.qint8,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
        )
    return FusedMovingAvgObsFakeQuantize(
        MovingAverageMinMaxObserver,
        0,
        high - low,
        dtype=torch.quint8,
        qscheme=torch.per_tensor_affine,
    )


class QuantizedConv2d(nn.Conv2d):
    """A convolution over rounded input and weight."""

    input_quantizer: nn.Module
    weight_quantizer: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(
            self.input_quantizer(x), self.weight_quantizer(self.weight), self.bias
        )


class QuantizedLinear(nn.Linear):
    """A linear layer over rounded input and weight."""

    input_quantizer: nn.Module
    weight_quantizer: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.input_quantizer(x), self.weight_quantizer(self.weight), self.bias)


def quantize(
    model: nn.Module,
    weight_bits: int,
    activation_bits: int,
    *,
    form: str,
    first_step: Callable[..., Tensor] | None = None,
) -> nn.Module:
    """A copy of `model` with quantizers before every convolution and linear layer; the first and last layer get 8 bits.

    Args:
        model: float model.
        weight_bits: of all weights but the first and last layer's.
        activation_bits: of the inputs of all layers but the first and last.
        form: "fused" or "learnable".
        first_step: (rows, qmin, qmax) -> step of each row; for "learnable".
    """
    model = copy.deepcopy(model)
    layers = [m for m in model.modules() if type(m) in (nn.Conv2d, nn.Linear)]
    for layer in layers:
        edge = layer in (layers[0], layers[-1])
        weights, activations = (8, 8) if edge else (weight_bits, activation_bits)
        layer.__class__ = QuantizedConv2d if isinstance(layer, nn.Conv2d) else QuantizedLinear
        if form == "fused":
            layer.weight_quantizer = _fused(weights, True)
            layer.input_quantizer = _fused(activations, False)
        else:
            assert first_step is not None
            layer.weight_quantizer = LearnableWeight(layer.weight, weights, first_step)  # type: ignore[arg-type]
            layer.input_quantizer = LearnableActivation(activations, first_step)
    return model
