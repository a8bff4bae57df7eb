# SPDX-License-Identifier: Apache-2.0
"""Rewrites the private quantize and dequantize nodes into QuantizeLinear, Clip, Cast and DequantizeLinear."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgeqat.export.onnx_bias import BiasedLayer, write_bias
from edgeqat.export.onnx_constants import (
    ActivationRange,
    ActivationType,
    Constants,
    activation_range,
    container,
)
from edgeqat.export.onnx_trace import Names
from edgeqat.export.onnx_translation import DEQUANTIZE, DOMAIN, PER_TENSOR, QUANTIZE

WeightContainer = Literal["packed", "int8"]
BiasFormat = Literal["auto", "float"]

# Operators that ONNX Runtime computes on integers, and those through which it moves a DequantizeLinear to reach them.
INTEGER_OPERATORS = ("Conv", "Gemm", "MatMul")
MOVING_OPERATORS = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity")
BIASED_OPERATORS = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class TensorRecord:
    """What the file says about one quantized tensor: stored = code + offset."""

    name: str
    kind: Literal["activation", "weight"]
    bits: int
    offset: int


@dataclass(frozen=True)
class Rewritten:
    """The finished model and what it holds."""

    model: ModelProto
    tensors: tuple[TensorRecord, ...]


def attribute(node: NodeProto, name: str) -> int:
    """Integer attribute `name` of a private node."""
    return next(int(a.i) for a in node.attribute if a.name == name)


def is_private(node: NodeProto | None, kind: str) -> bool:
    """Whether `node` is the private node `kind`."""
    return node is not None and node.domain == DOMAIN and node.op_type == kind


class Rewriter:
    """One pass over the nodes, in order.

    Args:
        model: the exporter's model with private nodes; is not changed.
        names: output of a private node -> the names of its tensors in the file.
        weight_bits: name of weight codes -> bits.
        weight_container: "packed" stores codes of up to 2 / 4 bits as INT2 / INT4.
        activation_type: element type of activation codes.
        bias: "auto": biases of integer layers as int32 at scale sx*sw; "float": as they are.
    """

    def __init__(
        self,
        model: ModelProto,
        *,
        names: Mapping[str, Names],
        weight_bits: Mapping[str, int],
        weight_container: WeightContainer,
        activation_type: ActivationType,
        bias: BiasFormat,
    ) -> None:
        self.model = model
        self.tensors, self.weight_bits = names, weight_bits
        self.packed = weight_container == "packed"
        self.activation_type, self.bias = activation_type, bias
        self.constants = Constants(model.graph)
        self.producers = {output: node for node in model.graph.node for output in node.output}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.consumers[name].append(node)
        self.names = self._value_names()  # value in `model` -> name in the file
        self.nodes: list[NodeProto] = []
        self.made: set[str] = set()
        self.records: dict[str, TensorRecord] = {}

    def _value_names(self) -> dict[str, str]:
        graph = self.model.graph
        names = {
            node.output[0]: self.tensors[node.output[0]].codes
            for node in graph.node
            if is_private(node, QUANTIZE)
        }
        # Values of the exporter are named after torch ops ("relu"); a tensor of that name is the plan's, and holds codes.
        reserved = set(names.values()) | {value.name for value in graph.input}
        for name in self.producers:
            if name in reserved and name not in names:
                names[name] = f"{name}.float"
        outputs = [value.name for value in graph.output]
        for i, name in enumerate(outputs):
            if name in self.producers:
                names[name] = "output" if len(outputs) == 1 else f"output_{i}"
        return names

    def run(self) -> Rewritten:
        """The model with standard nodes only."""
        for node in self.model.graph.node:
            if is_private(node, QUANTIZE):
                self._quantize(node)
            elif is_private(node, DEQUANTIZE):
                if node.input[0] in self.constants:
                    self._dequantize_weight(node)
                else:
                    self._dequantize_activation(node)
            elif node.op_type != "Constant" or node.output[0] not in self.constants:
                self._copy(node)
        result = ModelProto()
        result.CopyFrom(self.model)
        graph = result.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        for value in graph.output:
            value.name = self._name(value.name)
        used = {name for node in self.nodes for name in node.input} | {
            value.name for value in graph.output
        }
        graph.initializer.extend(self.constants.used(used - self.made))
        kept = [entry for entry in result.opset_import if entry.domain != DOMAIN]
        del result.opset_import[:]
        result.opset_import.extend(kept)
        return Rewritten(result, tuple(self.records.values()))

    def _name(self, value: str) -> str:
        return self.names.get(value, value)

    def _emit(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node, unless one makes `output` already (a weight with several readers)."""
        if output not in self.made:
            self.nodes.append(
                helper.make_node(op_type, inputs, [output], name=output, **attributes)
            )
            self.made.add(output)
        return output

    @staticmethod
    def _layout(node: NodeProto) -> dict[str, int]:
        """Attributes axis and block_size; opset 18 knows no block_size."""
        axis, group = attribute(node, "axis"), attribute(node, "group_size")
        if axis == PER_TENSOR:
            return {}
        return {"axis": axis, "block_size": group} if group else {"axis": axis}

    def _qparams(
        self, node: NodeProto, dtype: int, *, offset: int = 0, suffix: str = ""
    ) -> list[str]:
        """Names of a node's scale and zero point as the file wants them: scalars per tensor, the codes' type."""
        scale, zero_point = self.constants[node.input[1]], self.constants[node.input[2]]
        if attribute(node, "axis") == PER_TENSOR:
            scale, zero_point = scale.reshape(()), zero_point.reshape(())
        names = self.tensors[node.output[0]]
        return [
            self.constants.add(names.scale, scale.astype(np.float32)),
            self.constants.add(names.zero_point + suffix, zero_point + offset, dtype),
        ]

    def _storage(self, codes: str) -> ActivationRange:
        """How `codes` are stored, which the quantize node decides that made them, seen through data movement."""
        node = self.producers.get(codes)
        while node is not None and not is_private(node, QUANTIZE):
            node = self.producers.get(node.input[0])
        if node is None:
            raise ValueError(
                f"export_onnx: the codes {codes!r} come from no quantize op; pass the model that convert() returned"
            )
        return activation_range(
            attribute(node, "qmin"), attribute(node, "qmax"), self.activation_type
        )

    def _quantize(self, node: NodeProto) -> None:
        qmin, qmax = attribute(node, "qmin"), attribute(node, "qmax")
        storage = activation_range(qmin, qmax, self.activation_type)
        name, dtype = (
            self._name(node.output[0]),
            helper.np_dtype_to_tensor_dtype(np.dtype(storage.dtype)),
        )
        inputs = [self._name(node.input[0]), *self._qparams(node, dtype, offset=storage.offset)]
        clipped = storage.clip_min is not None or storage.clip_max is not None
        self._emit(
            "QuantizeLinear", inputs, f"{name}.unclipped" if clipped else name, **self._layout(node)
        )
        if clipped:
            bounds = [
                ""
                if value is None
                else self.constants.add(f"{name}.{end}", np.array(value, storage.dtype))
                for end, value in (("clip_min", storage.clip_min), ("clip_max", storage.clip_max))
            ]
            self._emit("Clip", [f"{name}.unclipped", *bounds], name)
        self.records[name] = TensorRecord(
            name, "activation", int(qmax - qmin).bit_length(), storage.offset
        )

    def _dequantize_activation(self, node: NodeProto) -> None:
        storage, codes = self._storage(node.input[0]), self._name(node.input[0])
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(storage.dtype))
        output = self.names.get(node.output[0], f"{codes}.dequantized")
        output = node.output[0] if output in self.made else output
        self.names[node.output[0]] = output
        inputs = [codes, *self._qparams(node, dtype, offset=storage.offset)]
        self._emit("DequantizeLinear", inputs, output, **self._layout(node))

    def _feeds_products(self, node: NodeProto) -> bool:
        """Whether every reader of a dequantized weight is a product that ONNX Runtime may compute on integers."""
        users = self.consumers[node.output[0]]
        return bool(users) and all(user.op_type in INTEGER_OPERATORS for user in users)

    def _dequantized(self, value: str) -> NodeProto | None:
        """The dequantize node behind `value`, seen through data movement; None if there is none."""
        node = self.producers.get(value)
        while node is not None and node.op_type in MOVING_OPERATORS and node.domain == "":
            node = self.producers.get(node.input[0])
        return node if is_private(node, DEQUANTIZE) else None

    def _dequantize_weight(self, node: NodeProto) -> None:
        name, codes = self.tensors[node.output[0]].codes, self.constants[node.input[0]]
        signed = codes.dtype == np.int8
        byte = TensorProto.INT8 if signed else TensorProto.UINT8
        bits = self.weight_bits[name]
        store = container(bits, signed=signed, packed=self.packed)
        stored, kind, suffix = self.constants.add(name, codes, store.type), store.type, ""
        if store.type != byte and not attribute(node, "group_size") and self._feeds_products(node):
            # A DequantizeLinear of INT4 keeps Conv and Gemm in float, and one of INT2 before them makes ONNX Runtime 1.31
            # refuse the file. A Cast is folded when the file is loaded, and then the 8-bit integer kernels apply.
            stored, kind, suffix = (
                self._emit("Cast", [name], f"{name}.int8", to=byte),
                byte,
                ".int8",
            )
        # The zero point is written although it is 0: without it ONNX Runtime 1.31 leaves Gemm in float.
        inputs = [stored, *self._qparams(node, kind, suffix=suffix)]
        self.names[node.output[0]] = self._emit(
            "DequantizeLinear", inputs, f"{stored}.dequantized", **self._layout(node)
        )
        self.records[name] = TensorRecord(name, "weight", bits, 0)

    def _copy(self, node: NodeProto) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.doc_string = ""
        del copy.metadata_props[:], copy.input[:], copy.output[:]
        inputs, outputs = (
            [self._name(name) for name in node.input],
            [self._name(name) for name in node.output],
        )
        layer, rest = self._biased_layer(node), None
        if layer is not None:
            written = write_bias(layer, self.constants)
            inputs[layer.place], rest = written.input, written.rest
            for extra in written.nodes:
                if extra.output[0] not in self.made:
                    self.nodes.append(extra)
                    self.made.add(extra.output[0])
        copy.input.extend(inputs)
        copy.output.extend(outputs if rest is None else [f"{outputs[0]}.unbiased"])
        copy.name = copy.output[0]
        self.nodes.append(copy)
        self.made.update(copy.output)
        if rest is not None:
            self._emit("Add", [copy.output[0], rest], outputs[0])

    def _biased_layer(self, node: NodeProto) -> BiasedLayer | None:
        """`node` as a layer, if it adds a constant bias to a product of integers and biases are to be rounded."""
        product, place = node, 2
        if node.op_type == "Add" and node.domain == "":
            place = next((i for i in (0, 1) if node.input[i] in self.constants), 2)
            maker = self.producers.get(node.input[1 - place]) if place < 2 else None
            if maker is None or maker.op_type != "MatMul":
                return None
            product = maker
        elif (
            node.op_type not in BIASED_OPERATORS
            or len(node.input) < 3
            or node.input[2] not in self.constants
        ):
            return None
        x, w = self._dequantized(product.input[0]), self.producers.get(product.input[1])
        if self.bias == "float" or x is None or w is None or not is_private(w, DEQUANTIZE):
            return None
        if x.input[0] in self.constants or w.input[0] not in self.constants:
            return None
        if attribute(w, "group_size") or attribute(x, "axis") != PER_TENSOR:
            return None
        bias, sw = self.constants[node.input[place]], self.constants[w.input[1]]
        if bias.ndim != 1 or sw.size not in (1, bias.size):
            return None
        name = self.tensors[w.output[0]].bias or node.input[place]
        return BiasedLayer(
            node, place, name, bias, self.constants[x.input[1]], sw, self.constants[w.input[0]].ndim
        )
