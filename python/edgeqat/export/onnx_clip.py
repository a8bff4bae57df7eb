# SPDX-License-Identifier: Apache-2.0
"""Removes the limits of a ReLU6 or clamp that the rounding behind it holds anyway."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from edgeqat.export.onnx_constants import Constants
from edgeqat.export.onnx_translation import DOMAIN, PER_TENSOR, QUANTIZE


def drop_redundant_limits(model: ModelProto) -> None:
    """Turn Clip(x, 0, 6) before a quantize node into Relu where 6 is at or above the highest code, in place.

    ONNX Runtime fuses Relu into QLinearConv when the zero point is the lowest code, and Clip only when the whole range of
    uint8 lies inside its limits. 4-bit codes use 16 of the 256 values, so a ReLU6 kept its convolution in float.
    """
    constants = Constants(model.graph)
    consumers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if (
            node.op_type != "Clip"
            or node.domain != ""
            or len(node.input) != 3
            or node.output[0] in outputs
        ):
            continue
        low, high = node.input[1:]
        users = consumers.get(node.output[0], [])
        if (
            low not in constants
            or high not in constants
            or float(constants[low].reshape(())) != 0.0
            or not users
        ):
            continue
        if all(_holds(user, float(constants[high].reshape(())), constants) for user in users):
            node.op_type = "Relu"
            del node.input[1:], node.attribute[:]


def _holds(node: NodeProto, high: float, constants: Constants) -> bool:
    """Whether `node` quantizes `high`, and all above it, to its highest code."""
    if node.domain != DOMAIN or node.op_type != QUANTIZE:
        return False
    values = {a.name: int(a.i) for a in node.attribute}
    if (
        values["axis"] != PER_TENSOR
        or node.input[1] not in constants
        or node.input[2] not in constants
    ):
        return False
    scale, zero_point = constants[node.input[1]].reshape(()), constants[node.input[2]].reshape(())
    return bool(
        np.rint(np.float32(high) / scale.astype(np.float32)) + int(zero_point) >= values["qmax"]
    )
