# SPDX-License-Identifier: Apache-2.0
"""Biases of integer layers in an ONNX graph: int32 at scale sx*sw, rounded as the integer reference rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from edgeqat import _C
from edgeqat.export.onnx_constants import Array, Constants

# Rounding of int32 codes is decided here, so the runtime must not do it: left as a float, ONNX Runtime 1.31 rounds the bias
# itself, and wraps one that does not fit (a bias of 2^33 steps moved a channel by 255 codes).


@dataclass(frozen=True)
class BiasedLayer:
    """A node that adds a constant to a product of integers.

    Attributes:
        node: Conv, ConvTranspose, Gemm, or the Add behind a MatMul.
        place: which input of `node` is the bias.
        name: of the bias.
        bias: its values.
        input_scale, weight_scale: sx and sw.
        rank: dimensions of the layer's output.
    """

    node: NodeProto
    place: int
    name: str
    bias: Array
    input_scale: Array
    weight_scale: Array
    rank: int


@dataclass(frozen=True)
class WrittenBias:
    """Nodes to put before the layer, the input it takes instead of the bias, and a float rest to add behind it."""

    nodes: list[NodeProto]
    input: str
    rest: str | None


def write_bias(layer: BiasedLayer, constants: Constants) -> WrittenBias:
    """The bias of `layer` as constants of the new graph."""
    bias, wide = layer.bias.astype(np.float32), layer.weight_scale.astype(np.float32).reshape(-1)
    sx = np.float32(layer.input_scale.reshape(()))
    codes, in_float = _C.quantize_bias(bias, float(sx), wide)
    scale = sx * wide if wide.size == bias.size else (sx * wide).reshape(())
    if layer.node.op_type == "Add":
        # MatMul has no bias input. A float constant on the grid of the accumulator is fused into MatMulIntegerToFloat; off
        # that grid up to 0.5 % of the outputs were 1 LSB away from the reference.
        grid = np.where(in_float, bias, (codes * scale.astype(np.float64)).astype(np.float32))
        rounded = constants.free(layer.name, {".rounded": grid.astype(np.float32)})
        return WrittenBias([], f"{rounded}.rounded", None)
    shape = (-1,) if layer.node.op_type == "Gemm" else (1, -1, *[1] * (layer.rank - 2))
    parts = {".int32": codes, ".scale": scale}
    if in_float.any():
        parts[".float"] = np.where(in_float, bias, np.float32(0)).reshape(shape)
    name = constants.free(layer.name, parts)
    output = f"{name}.dequantized"
    attributes: dict[str, Any] = {"axis": 0} if scale.ndim else {}
    node = helper.make_node(
        "DequantizeLinear", [f"{name}.int32", f"{name}.scale"], [output], name=output, **attributes
    )
    return WrittenBias([node], output, f"{name}.float" if ".float" in parts else None)
