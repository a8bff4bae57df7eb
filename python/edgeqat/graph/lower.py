# SPDX-License-Identifier: Apache-2.0
"""Lowers a converted model to `edgeqat::Graph`: operators whose tensors carry their number format."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeqat.graph import structure
from edgeqat.graph.converted import ConvertedModel
from edgeqat.graph.operators import aten, clamp_limits, operator_name

GRAPH_VERSION = 1
_DTYPES = {
    torch.float32: "float32",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.bool: "bool",
}
Attributes = dict[str, Any]


class _NotLowerable(Exception):
    """The operator has no form in edgeqat::Graph; the node is written as aten.<name>."""


def _argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def _list(value: Any, count: int) -> list[int]:
    values = [int(value)] * count if isinstance(value, int) else [int(v) for v in value]
    return values * count if len(values) == 1 else values


def _axis(axis: int, rank: int) -> int:
    return int(axis) % rank


def _rank(node: Any) -> int:
    return len(structure.shape_of(node))


def _conv(node: fx.Node) -> Attributes:
    count = _rank(node) - 2
    padding = _argument(node, 4, "padding", 0)
    dilation = _list(_argument(node, 5, "dilation", 1), count)
    if isinstance(padding, str):
        kernel = structure.shape_of(structure.weight_node(node))[2:]
        total = [
            d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)
        ]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = _list(padding, count) * 2
    return {
        "stride": _list(_argument(node, 3, "stride", 1), count),
        "padding": pads,
        "dilation": dilation,
        "groups": int(_argument(node, 6, "groups", 1)),
    }


def _conv_transpose(node: fx.Node) -> Attributes:
    count = _rank(node) - 2
    return {
        "stride": _list(_argument(node, 3, "stride", 1), count),
        "padding": _list(_argument(node, 4, "padding", 0), count) * 2,
        "output_padding": _list(_argument(node, 5, "output_padding", 0), count),
        "groups": int(_argument(node, 6, "groups", 1)),
        "dilation": _list(_argument(node, 7, "dilation", 1), count),
    }


def _max_pool(node: fx.Node) -> Attributes:
    count = _rank(node) - 2
    kernel = _list(node.args[1], count)
    return {
        "kernel": kernel,
        "stride": _list(_argument(node, 2, "stride") or kernel, count),
        "padding": _list(_argument(node, 3, "padding", 0), count) * 2,
        "dilation": _list(_argument(node, 4, "dilation", 1), count),
        "ceil_mode": bool(_argument(node, 5, "ceil_mode", False)),
    }


def _avg_pool(node: fx.Node) -> Attributes:
    count = _rank(node) - 2
    kernel = _list(node.args[1], count)
    if _argument(node, 6, "divisor_override") is not None:
        raise _NotLowerable
    return {
        "kernel": kernel,
        "stride": _list(_argument(node, 2, "stride") or kernel, count),
        "padding": _list(_argument(node, 3, "padding", 0), count) * 2,
        "ceil_mode": bool(_argument(node, 4, "ceil_mode", False)),
        "count_include_pad": bool(_argument(node, 5, "count_include_pad", True)),
    }


def _mean(node: fx.Node) -> Attributes:
    rank = _rank(node.args[0])
    axes = _argument(node, 1, "dim")
    axes = list(range(rank)) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    return {
        "axes": sorted(_axis(a, rank) for a in axes),
        "keepdim": bool(_argument(node, 2, "keepdim", False)),
    }


def _reshape(node: fx.Node) -> Attributes:
    shape = list(structure.shape_of(node))
    if shape.count(-1) > 1:
        raise _NotLowerable
    return {"shape": shape}


def _transpose(node: fx.Node) -> Attributes:
    rank = _rank(node.args[0])
    if node.target is aten.permute.default:
        return {"permutation": [_axis(a, rank) for a in node.args[1]]}  # type: ignore[union-attr, arg-type]
    first, second = (0, 1) if node.target is aten.t.default else (node.args[1], node.args[2])
    order = list(range(rank))
    if rank > 1:
        a, b = _axis(first, rank), _axis(second, rank)  # type: ignore[arg-type]
        order[a], order[b] = order[b], order[a]
    return {"permutation": order}


def _slice(node: fx.Node) -> Attributes:
    rank = _rank(node.args[0])
    end = _argument(node, 3, "end")
    start = _argument(node, 2, "start")
    if not isinstance(start or 0, int) or not isinstance(end if end is not None else 0, int):
        raise _NotLowerable
    return {
        "axis": _axis(_argument(node, 1, "dim", 0), rank),
        "start": int(start or 0),
        "end": 2**31 - 1 if end is None else min(int(end), 2**31 - 1),
        "step": int(_argument(node, 4, "step", 1)),
    }


def _pad(node: fx.Node) -> Attributes:
    rank = _rank(node.args[0])
    if node.target is aten.pad.default and _argument(node, 2, "mode", "constant") != "constant":
        raise _NotLowerable
    given: Any = node.args[1]
    begin, end = [0] * rank, [0] * rank
    for i in range(len(given) // 2):
        begin[rank - 1 - i], end[rank - 1 - i] = int(given[2 * i]), int(given[2 * i + 1])
    return {"pads": begin + end, "value": 0.0}


def _softmax(node: fx.Node) -> Attributes:
    return {"axis": _axis(node.args[1], _rank(node))}  # type: ignore[arg-type]


def _layer_norm(node: fx.Node) -> Attributes:
    return {"axes_count": len(node.args[1]), "eps": float(_argument(node, 4, "eps", 1e-5))}  # type: ignore[arg-type]


def _clamp(node: fx.Node) -> Attributes:
    low, high = clamp_limits(node)
    if any(isinstance(a, fx.Node) for a in node.args[1:]):
        raise _NotLowerable
    return {
        "min": -3.4028234663852886e38 if low is None else low,
        "max": 3.4028234663852886e38 if high is None else high,
    }


def _binary(node: fx.Node) -> Attributes:
    if _argument(node, 2, "alpha", 1) != 1:
        raise _NotLowerable
    return {}


_ATTRIBUTES: dict[str, Callable[[fx.Node], Attributes]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_avg_pool": lambda n: {"output_size": _list(n.args[1], _rank(n) - 2)},
    "mean": _mean,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "expand": lambda n: _reshape(n),
    "pad": _pad,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "clamp": _clamp,
    "leaky_relu": lambda n: {"slope": float(_argument(n, 1, "negative_slope", 0.01))},
    "gelu": lambda n: {"approximate": str(n.kwargs.get("approximate", "none"))},
    "cat": lambda n: {"axis": _axis(_argument(n, 1, "dim", 0), _rank(n))},
    "add": _binary,
    "sub": _binary,
}


class _Lowering:
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
        raise _NotLowerable

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
        except _NotLowerable:
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
            limits = _clamp(last) if operator_name(last) == "clamp" else None
        except _NotLowerable:
            return node, None
        self.merged.update(chain[1:])
        return last, {"kind": "relu"} if limits is None else {"kind": "clamp", **limits}

    def _describe(self, node: fx.Node, name: str | None) -> tuple[str, Attributes, list[Any]]:
        if name is None:
            raise _NotLowerable
        if name == "getitem":
            return self._split(node)
        describe = _ATTRIBUTES.get(name)
        attributes = {} if describe is None else describe(node)
        if name in ("conv", "conv_transpose", "linear"):
            return name, attributes, [*node.args[:2], _argument(node, 2, "bias")]
        if name == "embedding":
            return name, attributes, [node.args[1], node.args[0]]  # rows, then the table
        if name == "layer_norm":
            return (
                name,
                attributes,
                [node.args[0], _argument(node, 2, "weight"), _argument(node, 3, "bias")],
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
            raise _NotLowerable
        if split.target is aten.unbind.int:
            raise _NotLowerable
        source: Any = split.args[0]
        axis = _axis(_argument(split, 2, "dim", 0), _rank(source))
        size, total = split.args[1], structure.shape_of(source)[axis]
        if total < 0:
            raise _NotLowerable
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
        axis, index = _axis(node.args[1], len(shape)), node.args[2]  # type: ignore[arg-type]
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
        return self._emit(node, "reshape", [kept], _reshape(node), node)

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
    lowering = _Lowering(converted)
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
