# SPDX-License-Identifier: Apache-2.0
"""Quantized layers of module mode: the float layer over values that NumPy rounded."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import edgeqat
from edgeqat.nn.layers import QUANTIZED_LAYERS

CONVS = {
    "conv1d": (nn.Conv1d(4, 6, 3, 2, padding=1, groups=2), F.conv1d),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=2), F.conv2d),
    "conv3d": (nn.Conv3d(4, 6, (2, 3, 3), (1, 2, 1), padding=(0, 1, 2), groups=2), F.conv3d),
    "circular": (nn.Conv3d(4, 6, 3, padding=(1, 0, 1), padding_mode="circular"), F.conv3d),
    "transpose1d": (nn.ConvTranspose1d(4, 6, 3, 2, groups=2), F.conv_transpose1d),
    "transpose2d": (nn.ConvTranspose2d(4, 6, (2, 3), 2, (0, 1)), F.conv_transpose2d),
    "transpose3d": (
        nn.ConvTranspose3d(4, 6, (2, 3, 2), 2, (0, 1, 0), output_padding=(0, 1, 0), groups=2),
        F.conv_transpose3d,
    ),
}


def dimensions(layer: nn.Module) -> int:
    return int(type(layer).__name__[-2])


def rounded_input(x: Tensor) -> Tensor:
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = torch.tensor((high - low) / 255, dtype=torch.float32)
    zero = round(-128 - low / float(scale))
    return ((x / scale).round().add(zero).clamp(-128, 127).sub(zero) * scale).double()


def rounded_weight(weight: Tensor, axis: int) -> Tensor:
    others = [i for i in range(weight.dim()) if i != axis]
    scale = (weight.abs().amax(others, keepdim=True).double() / 7).float()
    return ((weight / scale).round().clamp(-7, 7) * scale).double()


@pytest.mark.parametrize("name", CONVS)
def test_convolutions_over_rounded_values(name: str) -> None:
    layer, function = CONVS[name]
    transposed = "transpose" in name
    generator = torch.Generator().manual_seed(len(name))
    x = torch.randn(3, 4, *[7, 6, 5][: dimensions(layer)], generator=generator)
    model = nn.Sequential(layer)
    recipe = edgeqat.Recipe(weight_bits=4, narrow_range=True, first_last_bits=None)
    plan = edgeqat.plan(model, x, recipe=recipe, mode="module")
    assert plan.layers["0"].weight is not None
    assert plan.layers["0"].weight.axis == (1 if transposed else 0)
    student = edgeqat.calibrate(edgeqat.prepare(model, plan), [x])
    assert type(student[0]) is QUANTIZED_LAYERS[type(layer)]
    assert repr(student[0]).startswith(f"Quantized{type(layer).__name__}(4, 6")
    values, weight = rounded_input(x), rounded_weight(layer.weight.detach(), 1 if transposed else 0)
    bias = layer.bias.detach().double()
    if transposed:
        settings = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    else:
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    if name == "circular":
        values = F.pad(values, (1, 1, 0, 0, 1, 1), mode="circular")
        settings = (layer.stride, 0, layer.dilation, layer.groups)
    expected = function(values, weight, bias, *settings).float()
    torch.testing.assert_close(student(x), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(student(x), layer(x), atol=1e-3)


def test_transposed_convolution_takes_an_output_size() -> None:
    layer = nn.ConvTranspose3d(2, 3, 2, 2)
    x = torch.randn(1, 2, 3, 4, 2)
    plan = edgeqat.plan(nn.Sequential(layer), x, mode="module")
    student = edgeqat.calibrate(edgeqat.prepare(nn.Sequential(layer), plan), [x])
    assert student[0](x, output_size=[7, 8, 5]).shape == layer(x, output_size=[7, 8, 5]).shape
    with pytest.raises(ValueError, match="requested an output size"):
        student[0](x, output_size=[9, 8, 5])
