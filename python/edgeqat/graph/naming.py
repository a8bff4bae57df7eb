# SPDX-License-Identifier: Apache-2.0
"""Where a captured node comes from: the user's source line, the owning module, and a stable tensor name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_CALL_SUFFIX = re.compile(r"@\d+$")
_LIBRARY_ROOTS = tuple(
    f"{root}{os.sep}"
    for root in (Path(torch.__file__).resolve().parent, Path(__file__).resolve().parents[1])
)


def is_library_file(filename: str) -> bool:
    """True for files of torch and of this package, and for code without a file."""
    return filename.startswith("<") or os.path.realpath(filename).startswith(_LIBRARY_ROOTS)


def frame(node: fx.Node) -> tuple[str, int] | None:
    """(file, line) of the innermost frame of `node` that is the user's, or None."""
    for file, line, _ in reversed(_FRAME.findall(node.meta.get("stack_trace") or "")):
        if not is_library_file(file):
            return file, int(line)
    return None


def source(node: fx.Node) -> str:
    """The user's line as 'model.py:12'; '' when unknown."""
    where = frame(node)
    return f"{Path(where[0]).name}:{where[1]}" if where else ""


def call(node: fx.Node) -> tuple[str, str]:
    """(path, call key) of the module call that made `node`; the key differs for every call of a module."""
    stack = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    key, value = list(stack.items())[-1]
    path = value[0] if isinstance(value, tuple) else ""
    if path.startswith("_empty_nn_module_stack"):
        return "", ""
    return _CALL_SUFFIX.sub("", path), f"{path}|{key}"


def path(node: fx.Node) -> str:
    """Path of the module whose forward made `node`; '' is the model itself."""
    return call(node)[0]


def op_name(node: fx.Node) -> str:
    """'add' for aten.add.Tensor and operator.add, 'relu' for aten.relu_.default."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[-1].rstrip("_").lstrip("_")
    if isinstance(target, str):
        return target.rsplit(".", 1)[-1]
    return str(getattr(target, "__name__", target)).strip("_")


def raw_name(node: fx.Node) -> str:
    """Name of the operator as torch spells it: '_assert_scalar', 'relu_'."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[-1]
    return str(getattr(target, "__name__", target))


def is_torch_leaf(module: nn.Module) -> bool:
    """True for torch.nn layers without layers inside (a parametrization of the weight does not count)."""
    from_torch = any(
        c.__module__.startswith("torch.nn.modules.") for c in type(module).__mro__[:-2]
    )
    container = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    inner = [name for name, _ in module.named_children() if name != "parametrizations"]
    return from_torch and not container and not inner


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name_1`, `name_2`, ... : the first that is not in `taken`, which it joins."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def tensor_names(graph: fx.Graph, module: Callable[[str], nn.Module]) -> dict[fx.Node, str]:
    """Stable unique names, in graph order: 'layer1.0.conv1' for a torch.nn layer, else 'layer1.0.add'.

    Of a layer that makes several nodes (circular padding, then a convolution) the last one has the
    layer's own path. The second call of a shared layer is 'relu_1'.
    """
    last: dict[str, fx.Node] = {}
    for node in _computations(graph):
        owner, key = call(node)
        if owner and is_torch_leaf(module(owner)) and not _is_getitem(node):
            last[key] = node
    taken: set[str] = set()
    names: dict[fx.Node, str] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or node.op == "get_attr":
            names[node] = unique(str(node.target), taken)
    for node in _computations(graph):
        if _is_number(node):
            continue
        owner, key = call(node)
        if node.op == "call_module":
            wanted = str(node.target)
        elif _is_getitem(node):
            wanted = f"{names[_node(node.args[0])]}.{node.args[1]}"
        elif last.get(key) is node:
            wanted = owner
        else:
            wanted = f"{owner}.{op_name(node)}" if owner else op_name(node)
        names[node] = unique(wanted, taken)
    for node in _computations(graph):  # last: sizes must not shift the numbers of tensors
        if _is_number(node):
            names[node] = unique("size", taken)
    return names


def identifier(name: str) -> str:
    """A Python identifier for a tensor name: 'layer1.0.conv1' -> 'layer1_0_conv1'."""
    word = re.sub(r"\W", "_", name)
    return f"_{word}" if not word or word[0].isdigit() else word


def _computations(graph: fx.Graph) -> Iterator[fx.Node]:
    return (n for n in graph.nodes if n.op in ("call_function", "call_module"))


def _is_getitem(node: fx.Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"


def _is_number(node: fx.Node) -> bool:
    """True for sizes and other results that are no tensor (nor a tuple of tensors)."""
    return isinstance(
        node.meta.get("val"), int | float | torch.SymInt | torch.SymFloat | torch.SymBool
    )


def _node(argument: Any) -> fx.Node:
    if not isinstance(argument, fx.Node):
        raise TypeError(f"expected a graph node, found {type(argument).__name__}")
    return argument
