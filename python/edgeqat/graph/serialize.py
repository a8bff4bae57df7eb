# SPDX-License-Identifier: Apache-2.0
"""A captured graph as plain data (JSON types only) and back.

Operators are written as 'aten.conv2d.default'; Python functions as 'operator.mul'. Only names of registered
operators and of a short list of modules are resolved, so data from outside cannot name other code.
"""

from __future__ import annotations

import builtins
import math
import operator
from typing import Any

import torch
from torch import fx

_MODULES = {"operator": operator, "_operator": operator, "math": math, "torch": torch}
_TORCH_FUNCTIONS = ("sym_",)
_CONSTANTS = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}


def to_data(graph: fx.Graph) -> dict[str, Any]:
    """Plain data of `graph`: {'version': 1, 'nodes': [{op, name, target, args, kwargs, meta}]}.

    Raises:
        TypeError: an argument or meta value has no plain form; names the node.
    """
    nodes = []
    for node in graph.nodes:
        try:
            nodes.append(
                {
                    "op": node.op,
                    "name": node.name,
                    "target": target_name(node),
                    "args": _encode(node.args),
                    "kwargs": _encode(dict(node.kwargs)),
                    "meta": _encode(dict(node.meta)),
                }
            )
        except TypeError as error:
            raise TypeError(f"graph node '{node.name}' ({node.target}): {error}") from None
    return {"version": 1, "nodes": nodes}


def from_data(data: dict[str, Any]) -> fx.Graph:
    """The graph that `to_data` wrote.

    Raises:
        ValueError: unknown version, operator or value.
    """
    if data.get("version") != 1:
        raise ValueError(f"graph data: expected version 1, found {data.get('version')!r}")
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for entry in data["nodes"]:
        args = _decode(entry["args"], nodes)
        if entry["op"] == "output":
            node = graph.output(args[0])
        else:
            target: Any = entry["target"]
            if entry["op"] == "call_function":
                target = _resolve(target)
            kwargs = _decode(entry["kwargs"], nodes)
            node = graph.create_node(entry["op"], target, args, kwargs, entry["name"])
        node.meta = _decode(entry["meta"], nodes)
        nodes[entry["name"]] = node
    return graph


def target_name(node: fx.Node) -> str:
    """'aten.conv2d.default', 'operator.mul', 'getattr', or the path of a module or attribute."""
    target: Any = node.target
    if isinstance(target, str):
        return target
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._schema.name.split('::')[-1]}.{target._overloadname}"
    if target is builtins.getattr:
        return "getattr"
    name = f"{getattr(target, '__module__', '?').lstrip('_')}.{getattr(target, '__name__', target)}"
    try:
        if _resolve(name) is target:
            return name
    except ValueError:
        pass
    raise TypeError(
        f"function {target!r} is neither a registered operator nor a known Python operator"
    )


def _resolve(name: str) -> Any:
    if name == "getattr":
        return builtins.getattr
    head, _, rest = name.partition(".")
    if head in _MODULES and "." not in rest and not rest.startswith("_"):
        function = getattr(_MODULES[head], rest, None)
        if function is not None and (head != "torch" or rest.startswith(_TORCH_FUNCTIONS)):
            return function
    parts = name.split(".")
    if len(parts) == 3:
        packet = getattr(getattr(torch.ops, parts[0]), parts[1], None)
        overload = getattr(packet, parts[2], None)
        if overload is not None:
            return overload
    raise ValueError(
        f"graph data: operator '{name}' is not registered; import the library that registers it first"
    )


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v) for v in value]}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    if isinstance(value, dict):
        return {"dict": [[_encode(k), _encode(v)] for k, v in value.items()]}
    if isinstance(value, slice):
        return {"slice": [_encode(v) for v in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for key, kind in _CONSTANTS.items():
        if isinstance(value, kind):
            return {key: str(value).removeprefix("torch.")}
    raise TypeError(f"a value of type {type(value).__name__} has no plain form")


def _decode(value: Any, nodes: dict[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decode(v, nodes) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "node":
        return nodes[inner]
    if kind == "tuple":
        return tuple(_decode(v, nodes) for v in inner)
    if kind == "dict":
        return {_decode(k, nodes): _decode(v, nodes) for k, v in inner}
    if kind == "slice":
        return slice(*(_decode(v, nodes) for v in inner))
    if kind == "float":
        return float(inner)
    if kind == "ellipsis":
        return Ellipsis
    if kind == "device":
        return torch.device(inner)
    if kind in _CONSTANTS and isinstance(constant := getattr(torch, inner, None), _CONSTANTS[kind]):
        return constant
    raise ValueError(f"graph data: unknown value {value!r}")
