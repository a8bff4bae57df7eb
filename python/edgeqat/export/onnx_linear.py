# SPDX-License-Identifier: Apache-2.0
"""Brings linear layers into the forms that ONNX Runtime computes on integers: weights without Transpose, Gemm on 2-D inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgeqat.export.onnx_constants import Constants
from edgeqat.export.onnx_trace import Names
from edgeqat.export.onnx_translation import DEQUANTIZE, DOMAIN, PER_TENSOR


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: int(a.i) for a in node.attribute}


def fold_weight_transposes(model: ModelProto, names: dict[str, Names]) -> set[str]:
    """Replace Transpose(dequantize(constant)) by dequantize of the transposed constant, in place.

    `torch.nn.functional.linear` on inputs of 3 and more dimensions becomes MatMul(x, Transpose(w)). ONNX Runtime pairs a
    weight with MatMul (and 4-bit blocks with MatMulNBits) only if its DequantizeLinear feeds the MatMul directly.

    Args:
        model: the exporter's model.
        names: names of the tensors of private nodes; gains those of the new nodes.

    Returns:
        Outputs of the new nodes.
    """
    graph, constants = model.graph, Constants(model.graph)
    producers = {output: node for node in graph.node for output in node.output}
    folded: set[str] = set()
    for node in graph.node:
        source = (
            producers.get(node.input[0])
            if node.op_type == "Transpose" and node.domain == ""
            else None
        )
        if (
            source is None
            or source.domain != DOMAIN
            or source.op_type != DEQUANTIZE
            or source.input[0] not in constants
        ):
            continue
        codes, scale, zero_point = (constants[name] for name in source.input)
        order = (
            next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
            or list(range(codes.ndim))[::-1]
        )
        layout = _attributes(source)
        if layout["group_size"]:
            scale, zero_point = scale.transpose(order), zero_point.transpose(order)
        if layout["axis"] != PER_TENSOR:
            layout["axis"] = order.index(layout["axis"] % codes.ndim)
        inputs = [f"{name}.transposed" for name in source.input]
        for name, value in zip(inputs, (codes.transpose(order), scale, zero_point), strict=True):
            if not any(t.name == name for t in graph.initializer):
                graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        old = names[source.output[0]]
        scale_name = f"{old.scale}.transposed" if layout["group_size"] else old.scale
        zero_point_name = f"{old.zero_point}.transposed" if layout["group_size"] else old.zero_point
        names[node.output[0]] = Names(
            f"{old.codes}.transposed", scale_name, zero_point_name, old.bias
        )
        folded.add(node.output[0])
        new = helper.make_node(
            DEQUANTIZE, inputs, [node.output[0]], domain=DOMAIN, name=node.name, **layout
        )
        node.CopyFrom(new)
    read = {name for node in graph.node for name in node.input} | {
        value.name for value in graph.output
    }
    for node in [n for n in graph.node if n.op_type == DEQUANTIZE and n.output[0] not in read]:
        graph.node.remove(node)
    return folded
