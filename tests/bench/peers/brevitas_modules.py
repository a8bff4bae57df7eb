# SPDX-License-Identifier: Apache-2.0
"""brevitas around the inputs and weights of convolutions and linear layers: learned scales, per-channel weights."""

from __future__ import annotations

import copy

from torch import nn


def quantize(model: nn.Module, weight_bits: int, activation_bits: int) -> nn.Module:
    """A copy of `model` on brevitas layers; the first and last layer get 8 bits, signed inputs at the first.

    Scales are brevitas' own learned ones: weights `Int8WeightPerChannelFloat` with PARAMETER_FROM_STATS scaling, inputs
    `Uint8ActPerTensorFloat` (its default: a parameter that starts from a percentile of the first batches).
    """
    import brevitas.nn as qnn
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant import (
        Int8ActPerTensorFloat,
        Int8WeightPerChannelFloat,
        Uint8ActPerTensorFloat,
    )

    class LearnedWeight(Int8WeightPerChannelFloat):
        scaling_impl_type = ScalingImplType.PARAMETER_FROM_STATS

    model = copy.deepcopy(model)
    named = {n: m for n, m in model.named_modules() if type(m) in (nn.Conv2d, nn.Linear)}
    edges = (next(iter(named)), list(named)[-1])
    for name, layer in named.items():
        weights, activations = (8, 8) if name in edges else (weight_bits, activation_bits)
        options = {
            "weight_quant": LearnedWeight,
            "weight_bit_width": weights,
            "input_quant": Int8ActPerTensorFloat if name == edges[0] else Uint8ActPerTensorFloat,
            "input_bit_width": activations,
            "bias": layer.bias is not None,
        }
        if isinstance(layer, nn.Conv2d):
            new = qnn.QuantConv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                **options,
            )
        else:
            new = qnn.QuantLinear(layer.in_features, layer.out_features, **options)
        # brevitas reads its first scales from the weight, so the trained one must be in place before the first call
        new.load_state_dict(layer.state_dict(), strict=False)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, new)
    return model
