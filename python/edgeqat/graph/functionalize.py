# SPDX-License-Identifier: Apache-2.0
"""Turns in-place ops of a captured graph into functional ones, so that every node is one value."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import fx

from edgeqat.graph import naming
from edgeqat.graph.errors import CaptureError

# These return their input or a copy of it, depending on layout, dtype or mode.
_MAY_ALIAS = frozenset({"reshape", "contiguous", "to", "dropout", "feature_dropout", "flatten"})


def functionalize(graph: fx.Graph) -> None:
    """Replaces `relu_`, `add_`, ... and redirects later uses of the mutated tensor.

    Updates of the model's own buffers stay in place: they are state.

    Raises:
        CaptureError: a mutated tensor shares memory with another that is used later.
    """
    groups = _alias_groups(graph)
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        mutated = _mutated(node)
        if mutated is None:
            continue
        group = groups[mutated]
        if any(n.op == "get_attr" for n in group):
            continue
        # An alias made after `node` is computed from the new value; an older one still shows the old.
        older = (n for n in group if n is not mutated and order[n] < order[node])
        if any(order[user] > order[node] for alias in older for user in alias.users):
            _refuse(node, "changes a tensor that shares memory with another one used later")
        with graph.inserting_before(node):
            value = _functional(graph, node)
        value.meta = dict(node.meta)
        order[value] = order[node]
        node.replace_all_uses_with(value)
        for user in [u for u in mutated.users if order[u] > order[node]]:
            user.replace_input_with(mutated, value)
        graph.erase_node(node)
        group.discard(node)
        group.add(value)
        groups[value] = group


def _mutated(node: fx.Node) -> fx.Node | None:
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return None
    for index, argument in enumerate(target._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
            if index > 0 or not isinstance(value, fx.Node):
                _refuse(node, f"writes into its argument '{argument.name}'")
            return value
    return None


def _functional(graph: fx.Graph, node: fx.Node) -> fx.Node:
    target: Any = node.target
    name = target._schema.name.split("::")[-1]
    packet = getattr(torch.ops.aten, name.rstrip("_"), None)
    overload = getattr(packet, target._overloadname, None) if packet is not None else None
    if overload is None:
        _refuse(node, f"uses {target}, which has no functional form")
    return graph.call_function(overload, node.args, dict(node.kwargs))


def _alias_groups(graph: fx.Graph) -> dict[fx.Node, set[fx.Node]]:
    groups: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        groups[node] = {node}
        for origin in _origins(node):
            merged = groups[node] | groups[origin]
            for member in merged:
                groups[member] = merged
    return groups


def _origins(node: fx.Node) -> list[fx.Node]:
    """Arguments whose memory the result of `node` may share."""
    target = node.target
    if node.op == "call_module" or getattr(target, "__name__", "") == "getitem":
        return node.all_input_nodes[:1]
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return []
    found = []
    shares = target._schema.name.split("::")[-1] in _MAY_ALIAS
    for index, argument in enumerate(target._schema.arguments):
        value = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
        if isinstance(value, fx.Node) and (
            argument.alias_info is not None or (shares and index == 0)
        ):
            found.append(value)
    return found


def _refuse(node: fx.Node, what: str) -> NoReturn:
    where = naming.frame(node)
    place = f"{where[0]}:{where[1]}" if where else str(node)
    raise CaptureError(
        f"{place} {what}, in place ({node.target}). Write it without the in-place operation (out of place, "
        "torch.where or torch.cat), or use mode='module'"
    )
