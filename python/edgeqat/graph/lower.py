# SPDX-License-Identifier: Apache-2.0
"""Lowers a converted model to `edgeqat::Graph`: operators whose tensors carry their number format."""

from __future__ import annotations

import json
import operator
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeqat.graph import structure
from edgeqat.graph.attributes import (
    ATTRIBUTES,
    Attributes,
    NotLowerable,
    argument,
    axis_of,
    clamp_attributes,
    rank_of,
    reshape_attributes,
)
from edgeqat.graph.converted import ConvertedModel
from edgeqat.graph.operators import aten, operator_name

GRAPH_VERSION = 1
_DTYPES = {
    torch.float32: "float32",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.bool: "bool",
}


class Lowering:
    def __init__(self, converted: ConvertedModel) -> None:
        self.root = converted
        self.tensors: dict[str, dict[str, Any]] = {}
        self.nodes: list[dict[str, Any]] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.names: dict[fx.Node, str] = {}  # value of a node -> tensor of the graph
        self.merged: set[fx.Node] = set()
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def run(self, graph: fx.Graph) -> None:
        for node in graph.nodes:
            if node.op == "placeholder":
                self.names[node] = self._tensor(self._name(node), node)
                self.inputs.append(self.names[node])
            elif node.op == "output":
                leaves: list[fx.Node] = []
                fx.map_arg(node.args, leaves.append)
                self.outputs = list(dict.fromkeys(self.names[n] for n in leaves))
            elif node.op == "call_function" and node not in self.merged and self._is_value(node):
                self._operator(node)

    @staticmethod
    def _is_value(node: fx.Node) -> bool:
        """Whether `node` is a tensor or a tuple of tensors, and not the size of one."""
        return node.meta.get("dtype") is not None or any(
            user.target is operator.getitem and user.meta.get("dtype") is not None
            for user in node.users
        )

    @staticmethod
    def _name(node: fx.Node) -> str:
        return str(node.meta.get("tensor_name", node.name))

    def _unique(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self.tensors:
            count += 1
            candidate = f"{name}.{count}"
        return candidate

    def _tensor(self, name: str, node: fx.Node, quant: dict[str, Any] | None = None) -> str:
        name = self._unique(name)
        dtype = "int8" if quant else _DTYPES.get(node.meta.get("dtype"), "float32")  # type: ignore[arg-type]
        self.tensors[name] = {
            "shape": list(structure.shape_of(node)),
            "dtype": dtype,
            "constant": False,
            "quant": quant,
        }
        return name

    def _value(self, name: str, value: Any, quant: dict[str, Any] | None = None) -> str:
        array = (
            value.detach().cpu().contiguous().numpy()
            if isinstance(value, torch.Tensor)
            else np.asarray(value)
        )
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if name not in self.constants:
            self.constants[name] = array
            self.tensors[name] = {
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "constant": True,
                "quant": quant,
            }
        return name

    def _attr(self, node: fx.Node, quant: dict[str, Any] | None = None) -> str:
        return self._value(str(node.target), structure.fetch(self.root, str(node.target)), quant)

    def _quant(self, node: fx.Node) -> dict[str, Any]:
        """The number format of a quantize or dequantize node."""
        spec = node.meta["spec"]
        bits = int(spec["bits"])
        return {
            "bits": bits,
            "qmin": -(1 << (bits - 1)) + int(spec["narrow_range"]),
            "qmax": (1 << (bits - 1)) - 1,
            "axis": spec["axis"],
            "group_size": spec["group_size"],
            "scale": self._attr(node.args[1]),  # type: ignore[arg-type]
            "zero_point": self._attr(node.args[2]),  # type: ignore[arg-type]
        }

    def _input(self, value: Any, owner: str, position: int) -> str | None:
        if value is None:
            return None
        if isinstance(value, fx.Node):
            if value not in self.names:
                self.names[value] = self._attr(value)
            return self.names[value]
        if isinstance(value, (int, float)):
            return self._value(f"{owner}.operand{position}", np.asarray([value], np.float32))
        raise NotLowerable

    def _operator(self, node: fx.Node) -> None:
        if node.target is torch.ops.edgeqat.dequantize.default:
            codes = node.args[0]
            assert isinstance(codes, fx.Node)
            self.names[node] = (
                self._attr(codes, self._quant(node))
                if codes.op == "get_attr"
                else self.names[codes]
            )
            return
        if node.target is torch.ops.edgeqat.quantize.default:
            source = node.args[0]
            assert isinstance(source, fx.Node)
            inputs = [self._input(source, self._name(node), 0)]
            self.names[node] = self._emit(node, "quantize", inputs, {}, node)
            return
        name = operator_name(node)
        if name == "identity":
            self.names[node] = self.names[node.args[0]]  # type: ignore[index]
            return
        if name == "split":
            return  # its getitem nodes become slices
        if node.target is aten.select.int:
            self.names[node] = self._select(node)
            return
        last, activation = self._tail(node)
        try:
            kind, attributes, arguments = self._describe(node, name)
            inputs = [self._input(a, self._name(node), i) for i, a in enumerate(arguments)]
        except NotLowerable:
            kind, attributes = (
                f"aten.{str(node.target).split('.')[1]}"
                if "aten" in str(node.target)
                else "aten.getitem",
                {},
            )
            # sizes are no tensors
            sources = [n for n in node.all_input_nodes if n in self.names or n.op == "get_attr"]
            inputs = [self._input(n, self._name(node), i) for i, n in enumerate(sources)]
        self.names[last] = self._emit(node, kind, inputs, attributes, last, activation)

    def _tail(self, node: fx.Node) -> tuple[fx.Node, dict[str, Any] | None]:
        """The activation that merges into `node`, if one follows."""
        last, chain = structure.tail(node, self.root)
        if len(chain) == 1 or operator_name(node) is None:
            return node, None
        try:
            limits = clamp_attributes(last) if operator_name(last) == "clamp" else None
        except NotLowerable:
            return node, None
        self.merged.update(chain[1:])
        return last, {"kind": "relu"} if limits is None else {"kind": "clamp", **limits}

    def _describe(self, node: fx.Node, name: str | None) -> tuple[str, Attributes, list[Any]]:
        if name is None:
            raise NotLowerable
        if name == "getitem":
            return self._split(node)
        describe = ATTRIBUTES.get(name)
        attributes = {} if describe is None else describe(node)
        if name in ("conv", "conv_transpose", "linear"):
            return name, attributes, [*node.args[:2], argument(node, 2, "bias")]
        if name == "embedding":
            return name, attributes, [node.args[1], node.args[0]]  # rows, then the table
        if name == "layer_norm":
            return (
                name,
                attributes,
                [node.args[0], argument(node, 2, "weight"), argument(node, 3, "bias")],
            )
        if name == "cat":
            return name, attributes, list(node.args[0])  # type: ignore[arg-type]
        if name in ("add", "sub", "mul", "div", "matmul"):
            return name, attributes, list(node.args[:2])
        return name, attributes, [node.args[0]]

    def _split(self, node: fx.Node) -> tuple[str, Attributes, list[Any]]:
        """getitem of chunk, split or unbind: a slice of the split tensor."""
        split, index = node.args
        if (
            not isinstance(split, fx.Node)
            or operator_name(split) != "split"
            or node.target is not operator.getitem
        ):
            raise NotLowerable
        if split.target is aten.unbind.int:
            raise NotLowerable
        source: Any = split.args[0]
        axis = axis_of(argument(split, 2, "dim", 0), rank_of(source))
        size, total = split.args[1], structure.shape_of(source)[axis]
        if total < 0:
            raise NotLowerable
        if split.target is aten.chunk.default:
            size = -(-total // int(size))  # type: ignore[arg-type]
        if isinstance(size, int):
            start, end = int(index) * size, min((int(index) + 1) * size, total)  # type: ignore[arg-type]
        else:
            start = sum(size[: int(index)])  # type: ignore[arg-type, index]
            end = start + size[int(index)]  # type: ignore[arg-type, assignment, index, operator]
        return "slice", {"axis": axis, "start": start, "end": end, "step": 1}, [source]

    def _select(self, node: fx.Node) -> str:
        """One index of an axis: a slice of length 1, then a reshape that drops the axis."""
        source: Any = node.args[0]
        shape = list(structure.shape_of(source))
        axis, index = axis_of(node.args[1], len(shape)), node.args[2]  # type: ignore[arg-type]
        if not isinstance(index, int) or (index < 0 and shape[axis] < 0):
            return self._emit(
                node, "aten.select", [self._input(source, self._name(node), 0)], {}, node
            )
        start = index % shape[axis] if shape[axis] > 0 else index
        kept = self._unique(f"{self._name(node)}.kept")
        given = self._input(source, self._name(node), 0)
        assert given is not None
        shape[axis] = 1
        self.tensors[kept] = {**self.tensors[given], "shape": shape, "constant": False}
        self._node(
            kept,
            "slice",
            [given],
            {"axis": axis, "start": start, "end": start + 1, "step": 1},
            node,
        )
        return self._emit(node, "reshape", [kept], reshape_attributes(node), node)

    def _node(
        self,
        output: str,
        kind: str,
        inputs: list[str | None],
        attributes: Attributes,
        node: fx.Node,
        activation: dict[str, Any] | None = None,
    ) -> None:
        self.nodes.append(
            {
                "name": output,
                "op": kind,
                "inputs": inputs,
                "outputs": [output],
                "attributes": attributes,
                "activation": activation,
                "source": str(node.meta.get("source", "")),
            }
        )

    def _emit(
        self,
        node: fx.Node,
        kind: str,
        inputs: list[str | None],
        attributes: Attributes,
        last: fx.Node,
        activation: dict[str, Any] | None = None,
    ) -> str:
        """Write one node; its output carries the number format of a quantize node that is its only reader."""
        quantize = next(iter(last.users)) if len(last.users) == 1 and kind != "quantize" else None
        quant = None
        if kind == "quantize":
            quant, target = self._quant(node), node
        elif quantize is not None and quantize.target is torch.ops.edgeqat.quantize.default:
            quant, target = self._quant(quantize), quantize
            self.merged.add(quantize)
        else:
            target = last
            source = inputs[0] if inputs else None
            if (
                kind in ("reshape", "transpose", "slice", "max_pool", "expand", "pad")
                and source is not None
            ):
                quant = self.tensors[source]["quant"]  # values of the input, in its own codes
        output = self._tensor(self._name(target), last, quant)
        if target is not last:
            self.names[target] = output
        self._node(output, kind, inputs, attributes, node, activation)
        return output


def lower(converted: ConvertedModel) -> tuple[str, dict[str, np.ndarray[Any, Any]]]:
    """The graph as JSON text for `edgeqat::Graph`, and its constants (codes are int8, not packed).

    Operators without a form there are written as ``aten.<name>``; the integer reference refuses to run those by name.

    Example:
        >>> import edgeqat
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> converted = edgeqat.convert(edgeqat.calibrate(student, [torch.randn(8, 4)]))
        >>> text, constants = lower(converted)
        >>> [node["op"] for node in json.loads(text)["nodes"]]
        ['quantize', 'linear']
    """
    lowering = Lowering(converted)
    lowering.run(converted.graph)
    document = {
        "format": "edgeqat.graph",
        "version": GRAPH_VERSION,
        "inputs": lowering.inputs,
        "outputs": lowering.outputs,
        "tensors": lowering.tensors,
        "nodes": lowering.nodes,
    }
    return json.dumps(document, sort_keys=True), lowering.constants
