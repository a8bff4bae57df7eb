# SPDX-License-Identifier: Apache-2.0
"""Rewrites the private quantize and dequantize nodes into QuantizeLinear, Clip, Cast and DequantizeLinear."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgeqat.export.onnx_bias import integer_bias
from edgeqat.export.onnx_constants import (
    ActivationRange,
    ActivationType,
    Array,
    Constants,
    activation_range,
    container,
)
from edgeqat.export.onnx_translation import DEQUANTIZE, DOMAIN, PER_TENSOR, QUANTIZE

WeightContainer = Literal["packed", "int8"]
BiasFormat = Literal["auto", "float"]

# Operators that ONNX Runtime computes on integers, with the places of weight and bias among the inputs.
INTEGER_OPERATORS = ("Conv", "Gemm", "MatMul")
WEIGHTED_OPERATORS = (*INTEGER_OPERATORS, "ConvTranspose")


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
    notes: tuple[str, ...] = field(default=())


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
        names: name in `model` of the codes that a quantize node makes -> name in the file.
        weight_bits: initialiser name of weight codes -> bits; widths not named follow from the values.
        weight_container: "packed" stores codes of up to 2 / 4 bits as INT2 / INT4.
        activation_type: element type of activation codes.
        bias: "auto": biases of integer layers as int32 at scale sx*sw; "float": as they are.
    """

    def __init__(
        self,
        model: ModelProto,
        *,
        names: Mapping[str, str],
        weight_bits: Mapping[str, int],
        weight_container: WeightContainer,
        activation_type: ActivationType,
        bias: BiasFormat,
    ) -> None:
        self.model = model
        self.opset = next(o.version for o in model.opset_import if o.domain == "")
        self.names = dict(names)
        self.weight_bits = weight_bits
        self.packed = weight_container == "packed"
        self.activation_type = activation_type
        self.bias = bias
        self.constants = Constants(model.graph)
        self.producers = {output: node for node in model.graph.node for output in node.output}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.consumers[name].append(node)
        # Values of the exporter are named after torch ops ("relu"); a tensor of that name is the plan's, and holds codes.
        reserved = set(self.names.values()) | {value.name for value in model.graph.input}
        for name in self.producers:
            if name in reserved and name not in self.names:
                self.names[name] = f"{name}.float"
        outputs = [value.name for value in model.graph.output]
        for i, name in enumerate(outputs):
            if name in self.producers:
                self.names[name] = "output" if len(outputs) == 1 else f"output_{i}"
        self.nodes: list[NodeProto] = []
        self.records: dict[str, TensorRecord] = {}
        self.notes: list[str] = []

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
        used = {name for node in self.nodes for name in node.input} | {
            value.name for value in graph.output
        }
        made = {name for node in self.nodes for name in node.output}
        graph.initializer.extend(self.constants.used(used - made))
        for value in graph.output:
            value.name = self.names.get(value.name, value.name)
        kept = [entry for entry in result.opset_import if entry.domain != DOMAIN]
        del result.opset_import[:]
        result.opset_import.extend(kept)
        return Rewritten(result, tuple(self.records.values()), tuple(self.notes))

    def _emit(self, op_type: str, inputs: list[str], output: str, **attributes: int) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def _layout(self, node: NodeProto) -> dict[str, int]:
        """Attributes axis and block_size; opset 18 knows no block_size."""
        axis, group = attribute(node, "axis"), attribute(node, "group_size")
        if axis == PER_TENSOR:
            return {}
        return {"axis": axis, "block_size": group} if group else {"axis": axis}

    def _qparams(self, node: NodeProto, dtype: int, offset: int = 0) -> list[str]:
        """Names of a node's scale and zero point as the file wants them: scalars per tensor, the codes' type."""
        scale, zero_point = self.constants[node.input[1]], self.constants[node.input[2]]
        if attribute(node, "axis") == PER_TENSOR:
            scale, zero_point = scale.reshape(()), zero_point.reshape(())
        return [
            self.constants.add(node.input[1], scale.astype(np.float32)),
            self.constants.add(node.input[2], zero_point + offset, dtype),
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
        name = self.names.get(node.output[0], node.output[0])
        self.names[node.output[0]] = name
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(storage.dtype))
        inputs = [
            self.names.get(node.input[0], node.input[0]),
            *self._qparams(node, dtype, storage.offset),
        ]
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
        bits = int(qmax - qmin).bit_length()
        self.records[name] = TensorRecord(name, "activation", bits, storage.offset)

    def _dequantize_activation(self, node: NodeProto) -> None:
        storage = self._storage(node.input[0])
        codes = self.names.get(node.input[0], node.input[0])
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(storage.dtype))
        qparams = self._qparams(node, dtype, storage.offset)
        output = self.names.get(node.output[0], f"{codes}.dequantized")
        taken = {o for n in self.nodes for o in n.output}
        output = node.output[0] if output in taken else output
        self.names[node.output[0]] = output
        self._emit("DequantizeLinear", [codes, *qparams], output, **self._layout(node))

    def _feeds_integer_kernel(self, node: NodeProto) -> bool:
        """Whether every user of a dequantized weight is an operator that ONNX Runtime computes on integers."""
        users = self.consumers[node.output[0]]
        return (
            bool(users)
            and attribute(node, "group_size") == 0
            and all(
                user.op_type in INTEGER_OPERATORS
                and is_private(self.producers.get(user.input[0]), DEQUANTIZE)
                for user in users
            )
        )

    def _dequantize_weight(self, node: NodeProto) -> None:
        name = node.input[0]
        codes, zero_point = self.constants[name], self.constants[node.input[2]]
        signed = codes.dtype == np.int8
        bits = self.weight_bits.get(name) or _width(codes, zero_point)
        store = container(bits, signed=signed, packed=self.packed)
        if self.opset < store.opset or (attribute(node, "group_size") and self.opset < 21):
            raise ValueError(
                f"export_onnx: {name!r} ({bits} bits, group_size {attribute(node, 'group_size')}) needs opset "
                f"{max(store.opset, 21)}, found opset={self.opset}; raise opset or pass weight_container='int8'"
            )
        byte = TensorProto.INT8 if signed else TensorProto.UINT8
        final = self.names.get(name, name)
        values = codes
        if store.type == byte:
            stored, kind = self.constants.add(final, values, byte), byte
        elif self._feeds_integer_kernel(node):
            # A DequantizeLinear of INT4 keeps Conv and Gemm in float, and of INT2 before Conv makes ONNX Runtime 1.31 refuse
            # the file. A Cast is folded when the file is loaded, and then the 8-bit integer kernels apply.
            packed = self.constants.add(f"{final}.packed", values, store.type)
            if not any(packed in n.input for n in self.nodes):
                self._emit("Cast", [packed], final, to=byte)
            stored, kind = final, byte
        else:
            stored, kind = self.constants.add(final, values, store.type), store.type
        # The zero point is written although it is 0: without it ONNX Runtime 1.31 leaves Gemm in float.
        qparams = self._qparams(node, kind)
        output = f"{final}.dequantized"
        self.names[node.output[0]] = output
        self.records[final] = TensorRecord(final, "weight", bits, 0)
        if not any(output in n.output for n in self.nodes):
            self._emit("DequantizeLinear", [stored, *qparams], output, **self._layout(node))

    def _copy(self, node: NodeProto) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.doc_string = ""
        del copy.metadata_props[:]
        inputs = [self.names.get(name, name) for name in node.input]
        outputs = [self.names.get(name, name) for name in node.output]
        layer = self._biased_layer(node)
        added = None
        if layer is not None:
            place, values, scales = layer
            name = self.names.get(node.input[place], node.input[place])
            codes, scale = integer_bias(values, *scales)
            if codes is None:
                # Left in the layer, ONNX Runtime 1.31 would wrap it: a bias of 2^33 steps moved a channel by 255 codes.
                self.notes.append(
                    f"{name}: added in float, it does not fit 32 bits at the scale sx*sw"
                )
                if node.op_type != "Add":
                    inputs[place] = ""
                    shape = (
                        (-1,) if node.op_type == "Gemm" else (1, -1, *[1] * (self._rank(node) - 2))
                    )
                    added = self.constants.add(f"{name}.float", values.reshape(shape))
            elif node.op_type == "Add":
                # MatMul has no bias input. A float constant on the grid of the accumulator is fused into
                # MatMulIntegerToFloat; off the grid, 0.1 to 0.5 % of the outputs would be 1 LSB off the reference.
                rounded = (codes * scale.astype(np.float64)).astype(np.float32)
                inputs[place] = self.constants.add(f"{name}.rounded", rounded)
            else:
                inputs[place] = self._integer_bias(name, codes, scale)
        copy.name = outputs[0]
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs[:-1] if inputs and inputs[-1] == "" else inputs)
        copy.output.extend([f"{outputs[0]}.unbiased"] if added else outputs)
        self.nodes.append(copy)
        if added:
            self._emit("Add", [copy.output[0], added], outputs[0])

    def _rank(self, node: NodeProto) -> int:
        """Number of dimensions of a convolution's weight, which is that of its output."""
        weight = self.producers[node.input[1]]
        return int(self.constants[weight.input[0]].ndim)

    def _biased_layer(self, node: NodeProto) -> tuple[int, Array, tuple[Array, Array]] | None:
        """(place of the bias among the inputs, bias, (sx, sw)) if `node` adds a constant bias to an integer product."""
        product, place = node, 2
        if node.op_type == "Add" and node.domain == "":
            place = next((i for i in (0, 1) if node.input[i] in self.constants), 2)
            maker = self.producers.get(node.input[1 - place]) if place < 2 else None
            if maker is None or maker.op_type != "MatMul":
                return None
            product = maker
        elif (
            node.op_type not in WEIGHTED_OPERATORS
            or len(node.input) < 3
            or node.input[2] not in self.constants
        ):
            return None
        x, w = (self.producers.get(name) for name in product.input[:2])
        if self.bias == "float" or x is None or w is None:
            return None
        if (
            not is_private(x, DEQUANTIZE)
            or not is_private(w, DEQUANTIZE)
            or w.input[0] not in self.constants
        ):
            return None
        if (
            attribute(w, "group_size")
            or attribute(x, "axis") != PER_TENSOR
            or x.input[0] in self.constants
        ):
            return None
        bias = self.constants[node.input[place]]
        scales = self.constants[x.input[1]], self.constants[w.input[1]]
        if bias.ndim != 1 or scales[1].size not in (1, bias.size):
            return None
        return place, bias, scales

    def _integer_bias(self, name: str, codes: Array, scale: Array) -> str:
        inputs = [
            self.constants.add(f"{name}.int32", codes),
            self.constants.add(f"{name}.scale", scale),
        ]
        output = f"{name}.dequantized"
        if any(output in node.output for node in self.nodes):
            return output
        return self._emit("DequantizeLinear", inputs, output, **({"axis": 0} if scale.ndim else {}))


def _width(codes: Array, zero_point: Array) -> int:
    """Bits that hold every code and zero point."""
    if codes.dtype == np.uint8:
        return max(2, int(max(codes.max(initial=0), zero_point.max(initial=0))).bit_length())
    low = int(min(codes.min(initial=0), zero_point.min(initial=0)))
    high = int(max(codes.max(initial=0), zero_point.max(initial=0)))
    return max(2, max(high, -low - 1).bit_length() + 1)
