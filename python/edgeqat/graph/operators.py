# SPDX-License-Identifier: Apache-2.0
"""Which ATen operators the analyses know, under the names of `edgeqat::Graph`."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

# operators with a weight as argument 1 and an optional bias
WEIGHTED: dict[str, tuple[Any, ...]] = {
    "conv": (
        aten.conv1d.default,
        aten.conv2d.default,
        aten.conv3d.default,
        aten.conv1d.padding,
        aten.conv2d.padding,
        aten.conv3d.padding,
    ),
    "conv_transpose": (
        aten.conv_transpose1d.default,
        aten.conv_transpose2d.input,
        aten.conv_transpose3d.input,
    ),
    "linear": (aten.linear.default,),
    "embedding": (aten.embedding.default,),
}

# operators that compute new values and so need a scale of their own
COMPUTE: dict[str, tuple[Any, ...]] = {
    "add": (aten.add.Tensor, aten.add.Scalar),
    "sub": (aten.sub.Tensor, aten.sub.Scalar),
    "mul": (aten.mul.Tensor, aten.mul.Scalar),
    "div": (aten.div.Tensor, aten.div.Scalar),
    "matmul": (aten.matmul.default, aten.bmm.default),
    "cat": (aten.cat.default,),
    "mean": (aten.mean.dim,),
    "avg_pool": (aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default),
    "adaptive_avg_pool": (
        aten.adaptive_avg_pool1d.default,
        aten.adaptive_avg_pool2d.default,
        aten.adaptive_avg_pool3d.default,
    ),
    "relu": (aten.relu.default,),
    "clamp": (aten.relu6.default, aten.hardtanh.default, aten.clamp.default),
    "leaky_relu": (aten.leaky_relu.default,),
    "sigmoid": (aten.sigmoid.default,),
    "tanh": (aten.tanh.default,),
    "hardswish": (aten.hardswish.default,),
    "hardsigmoid": (aten.hardsigmoid.default,),
    "silu": (aten.silu.default,),
    "gelu": (aten.gelu.default,),
    "softmax": (aten.softmax.int, aten._softmax.default),
    "layer_norm": (aten.layer_norm.default,),
}

# operators whose outputs are values of their input: they keep its scale
PASS_THROUGH: dict[str, tuple[Any, ...]] = {
    "reshape": (
        aten.view.default,
        aten.reshape.default,
        aten._unsafe_view.default,
        aten.flatten.using_ints,
        aten.unflatten.int,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
    ),
    "transpose": (aten.permute.default, aten.transpose.int, aten.t.default),
    "slice": (aten.slice.Tensor, aten.select.int),
    "expand": (aten.expand.default,),
    "max_pool": (aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default),
    "pad": (aten.pad.default, aten.constant_pad_nd.default),
    "split": (
        aten.chunk.default,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.unbind.int,
    ),
    "getitem": (operator.getitem,),
    "identity": (
        aten.contiguous.default,
        aten.clone.default,
        aten.detach.default,
        aten.alias.default,
        aten.lift_fresh_copy.default,
        aten.dropout.default,
    ),
}

# activations that merge with the operator before them: the accumulator is clamped before it is rounded
FUSED_ACTIVATIONS = ("relu", "clamp")

# operators whose outputs have a range known beforehand: (lowest, highest value)
FIXED_RANGES: dict[str, tuple[float, float]] = {
    "softmax": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}

_NAMES = {
    overload: name
    for table in (WEIGHTED, COMPUTE, PASS_THROUGH)
    for name, overloads in table.items()
    for overload in overloads
}


def operator_name(node: fx.Node) -> str | None:
    """The name of `node`'s operator in `edgeqat::Graph`, or None for one that stays float."""
    return _NAMES.get(node.target) if node.op == "call_function" else None


def clamp_limits(node: fx.Node) -> tuple[float | None, float | None]:
    """The limits of a relu6, hardtanh or clamp node; None where a side is open."""
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    arguments = dict(zip(("min", "max"), node.args[1:], strict=False)) | dict(node.kwargs)
    defaults = (-1.0, 1.0) if node.target is aten.hardtanh.default else (None, None)
    low = arguments.get("min", arguments.get("min_val", defaults[0]))
    high = arguments.get("max", arguments.get("max_val", defaults[1]))
    return (None if low is None else float(low)), (None if high is None else float(high))  # type: ignore[arg-type]


# activations that a quantizer computes in the pass that rounds, by their names in the ops
_QUANTIZER_ACTIVATIONS: dict[Any, str] = {
    aten.relu.default: "relu",
    aten.relu6.default: "relu6",
    aten.hardswish.default: "hardswish",
}


def fused_activation(node: fx.Node) -> str | None:
    """The name under which a quantizer computes the activation `node` itself, or None."""
    if node.op != "call_function":
        return None
    if node.target in (aten.hardtanh.default, aten.clamp.default):
        return "relu6" if clamp_limits(node) == (0.0, 6.0) else None
    return _QUANTIZER_ACTIVATIONS.get(node.target)


def activation_operator(name: str) -> Any:
    """The operator of the activation called `name`: the inverse of `fused_activation`."""
    return next(target for target, known in _QUANTIZER_ACTIVATIONS.items() if known == name)


def weight_axis(name: str) -> int:
    """The axis of a weight along which every output channel has its own scale.

    A transposed convolution stores [in, out / groups, ...]: axis 1. Its groups share scales, because the weight of ONNX
    ConvTranspose has no axis that tells them apart.
    """
    return 1 if name == "conv_transpose" else 0
