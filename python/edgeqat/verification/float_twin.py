# SPDX-License-Identifier: Apache-2.0
"""The float32 model inside a Q/DQ file: the yardstick for its size and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Array = np.ndarray[Any, Any]


def float_twin(model: ModelProto) -> ModelProto:
    """`model` with float32 weights and without rounding of activations; the same operators otherwise.

    Example:
        >>> float_twin(onnx_model).graph.node[0].op_type  # doctest: +SKIP
        'Conv'
    """
    import onnx
    from onnx import numpy_helper

    constants: dict[str, Array] = {
        t.name: numpy_helper.to_array(t) for t in model.graph.initializer
    }
    same: dict[str, str] = {}
    codes: set[str] = set()
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        first = same.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "Cast" and first in constants:
            constants[node.output[0]] = constants[first]
        elif node.op_type == "DequantizeLinear" and first in constants:
            constants[node.output[0]] = _dequantize(node, constants)
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear") or (
            node.op_type == "Clip" and node.input[0] in codes
        ):
            same[node.output[0]] = first
            if node.op_type != "DequantizeLinear":
                codes.add(node.output[0])
        else:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            del copy.input[:]
            copy.input.extend(same.get(name, name) for name in node.input)
            nodes.append(copy)
    for value in model.graph.output:
        if value.name in same:
            nodes.append(onnx.helper.make_node("Identity", [same[value.name]], [value.name]))
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    del (
        twin.graph.node[:],
        twin.graph.initializer[:],
        twin.graph.value_info[:],
        twin.metadata_props[:],
    )
    twin.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    twin.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(constants[name]), name)
        for name in sorted(used & constants.keys())
    )
    return twin


def _dequantize(node: NodeProto, constants: dict[str, Array]) -> Array:
    values = constants[node.input[0]].astype(np.float32)
    scale = constants[node.input[1]].astype(np.float32)
    zero_point = (
        constants[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.zeros_like(scale)
    )
    attributes = {a.name: int(a.i) for a in node.attribute}
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    if block:
        scale, zero_point = scale.repeat(block, axis), zero_point.repeat(block, axis)
    elif scale.ndim:
        shape = [1] * values.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return ((values - zero_point) * scale).astype(np.float32)
