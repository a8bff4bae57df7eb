# SPDX-License-Identifier: Apache-2.0
"""Generates the Python source of a model's forward: argument handling around the code of its graph."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from edgeqat.graph import arguments, guards
from edgeqat.graph.arguments import Leaf, Signature, Structure
from edgeqat.ops import _recompute

_serial = itertools.count()


def compile_forward(
    graph: fx.Graph, signature: Signature, out_spec: Structure
) -> Callable[..., Any]:
    """A function forward(self, <the model's own arguments>) that runs `graph`.

    Tracebacks and torch.compile see its source through linecache.
    """
    code = _with_weighted_layers(graph).python_code("self")
    scope: dict[str, Any] = dict(code.globals)
    body = code.src.replace("def forward(", "def run_graph(", 1)
    source = f"{body}\n{_wrapper(signature, out_spec, scope)}"
    file = f"<edgeqat forward {next(_serial)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), scope)
    forward: Callable[..., Any] = scope["forward"]
    return forward


def _with_weighted_layers(graph: fx.Graph) -> fx.Graph:
    """A copy whose layers round their weights themselves, so that they can round them again in backward.

    Only what runs is changed; the graph that the other analyses read keeps a node for the quantizer and one for the layer.
    """
    copied = fx.Graph()
    copied.output(copied.graph_copy(graph, {}))
    for node in list(copied.nodes):
        weight = node.args[1] if node.op == "call_function" and len(node.args) > 1 else None
        if (
            node.target not in _recompute.RECOMPUTING
            or not isinstance(weight, fx.Node)
            or weight.op != "call_module"
            or len(weight.users) != 1
            or node.kwargs
        ):
            continue
        x, _, *options = node.args
        with copied.inserting_before(node):
            quantizer = copied.get_attr(str(weight.target))
            layer = copied.call_function(
                _recompute.weighted, (node.target, quantizer, weight.args, x, *options)
            )
        node.replace_all_uses_with(layer)
        copied.erase_node(node)
        copied.erase_node(weight)
    return copied


def _wrapper(signature: Signature, out_spec: Structure, scope: dict[str, Any]) -> str:
    scope.update(_Tensor=torch.Tensor, _check=arguments.check, _check_absent=arguments.check_absent)
    scope.update(_violated=guards.violated)
    scope.update(_flatten=pytree.tree_flatten, _unflatten=pytree.tree_unflatten)
    scope.update(_in_spec=signature.spec, _out_spec=out_spec.spec, _check_spec=_check_spec)
    lines = [f"def forward({_header(signature, scope)}):"]
    for name, kind, has_default, default in signature.parameters:
        if name in signature.bound:
            continue
        if kind == "VAR_POSITIONAL":
            default = ()
        elif kind == "VAR_KEYWORD":
            default = {}
        elif not has_default:
            continue
        scope[f"_absent_{name}"] = default
        lines.append(
            f"    if {name} is not _absent_{name}: _check_absent({name!r}, _absent_{name}, {name})"
        )
    leaves = signature.leaves
    if all(leaf.name == name for leaf, name in zip(leaves, signature.bound, strict=False)) and len(
        leaves
    ) == len(signature.bound):
        values = list(signature.bound)
    else:
        tree = ", ".join(f"{n!r}: {n}" for n in signature.bound)
        lines.append(f"    _leaves, _spec = _flatten({{{tree}}})")
        lines.append("    if _spec != _in_spec: _check_spec(_in_spec, _spec)")
        values = [f"_leaves[{i}]" for i in range(len(leaves))]
    for index, (leaf, value) in enumerate(zip(leaves, values, strict=True)):
        scope[f"_leaf_{index}"] = leaf
        lines.append(f"    if {_mismatch(leaf, index, value)}: _check(_leaf_{index}, {value})")
    for guard in signature.guards:
        lines.append(f"    if not ({guard}): _violated({guard!r})")
    inputs = [v for leaf, v in zip(leaves, values, strict=True) if leaf.tensor]
    lines.append(f"    _results = run_graph({', '.join(['self', *inputs])})")
    single = out_spec.spec.is_leaf()
    lines.append(
        "    return _results[0]" if single else "    return _unflatten(_results, _out_spec)"
    )
    return "\n".join(lines) + "\n"


def _header(signature: Signature, scope: dict[str, Any]) -> str:
    parts = ["self"]
    previous = "POSITIONAL_OR_KEYWORD"
    for name, kind, has_default, default in signature.parameters:
        if previous == "POSITIONAL_ONLY" and kind != "POSITIONAL_ONLY":
            parts.append("/")
        if kind == "KEYWORD_ONLY" and previous not in ("KEYWORD_ONLY", "VAR_POSITIONAL"):
            parts.append("*")
        star = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(kind, "")
        if has_default:
            scope[f"_default_{name}"] = default
        parts.append(f"{star}{name}" + (f"=_default_{name}" if has_default else ""))
        previous = kind
    if previous == "POSITIONAL_ONLY":
        parts.append("/")
    return ", ".join(parts)


def _mismatch(leaf: Leaf, index: int, value: str) -> str:
    """Source of a cheap test that is true when the full check must look (and raise)."""
    if not leaf.tensor:
        if leaf.value is None or isinstance(leaf.value, bool):
            return f"{value} is not {leaf.value!r}"
        return f"isinstance({value}, _Tensor) or {value} != _leaf_{index}.value"
    tests = [f"not isinstance({value}, _Tensor)", f"{value}.dim() != {len(leaf.shape)}"]
    tests += [f"{value}.shape[{d}] != {n}" for d, n in enumerate(leaf.shape) if n != -1]
    return " or ".join(tests)


def _check_spec(expected: pytree.TreeSpec, found: pytree.TreeSpec) -> None:
    raise ValueError(
        f"forward: the arguments have another structure than at capture: expected {expected}, found {found}; prepare the "
        "model again with example inputs of this structure"
    )
