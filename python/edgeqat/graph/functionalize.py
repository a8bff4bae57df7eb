# SPDX-License-Identifier: Apache-2.0
"""Turns in-place ops of a captured graph into functional ones, so that every node is one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import fx, nn

from edgeqat.graph import naming
from edgeqat.graph.cleanup import is_whole_slice
from edgeqat.graph.errors import CaptureError

aten = torch.ops.aten
_SCATTER: dict[Any, Any] = {
    aten.slice.Tensor: aten.slice_scatter.default,
    aten.select.int: aten.select_scatter.default,
}
# These return their input or a copy of it, depending on layout, dtype or mode.
_MAY_ALIAS = frozenset({"reshape", "contiguous", "to", "dropout", "feature_dropout", "flatten"})


def functionalize(graph: fx.Graph, module: Callable[[str], nn.Module]) -> None:
    """Replaces `relu_`, `add_`, ... and redirects later uses of the mutated tensor.

    `x[:, 0] = y` writes back through slice_scatter and select_scatter. Updates of the model's own
    buffers stay in place: they are state.

    Raises:
        CaptureError: a mutated tensor shares memory with another that is used later.
    """
    groups = _alias_groups(graph, module)
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
        stale = [
            alias for alias in older if any(order.get(u, 0) > order[node] for u in alias.users)
        ]
        slices = _slices(mutated)
        if stale and (not slices or stale != [slices[0].args[0]]):
            _refuse(node, "changes a tensor that shares memory with another one used later")
        with graph.inserting_before(node):
            value = _functional(graph, node)
            value.meta = dict(node.meta)
            whole = _write_back(graph, value, slices) if stale else value
        node.replace_all_uses_with(value)
        for old, new in ((mutated, value), *((base, whole) for base in stale)):
            for user in [u for u in old.users if order.get(u, 0) > order[node]]:
                user.replace_input_with(old, new)
        graph.erase_node(node)
        group.discard(node)
        for new in (value, whole):
            order[new] = order[node]
            group.add(new)
            groups[new] = group


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
    if target is aten.copy_.default:  # aten.copy has no derivative
        like = node.meta["val"]
        value: Any = node.args[1]
        if value.meta["val"].dtype != like.dtype:
            value = graph.call_function(aten.to.dtype, (value, like.dtype))
            value.meta = dict(node.meta)
        if value.meta["val"].shape == like.shape:
            return graph.call_function(aten.clone.default, (value,))  # goes away in clean-up
        return graph.call_function(aten.expand_as.default, (value, node.args[0]))
    if target is aten.zero_.default:
        return graph.call_function(aten.zeros_like.default, (node.args[0],))
    name = target._schema.name.split("::")[-1]
    packet = getattr(torch.ops.aten, name.rstrip("_"), None)
    overload = getattr(packet, target._overloadname, None) if packet is not None else None
    if overload is None:
        _refuse(node, f"uses {target}, which has no functional form")
    return graph.call_function(overload, node.args, dict(node.kwargs))


def _slices(node: fx.Node) -> list[fx.Node]:
    """The chain of slices and selects that made `node`, outermost first."""
    chain: list[fx.Node] = []
    while node.target in _SCATTER:
        chain.insert(0, node)
        origin = node.args[0]
        assert isinstance(origin, fx.Node)
        node = origin
    return chain


def _write_back(graph: fx.Graph, value: fx.Node, slices: list[fx.Node]) -> fx.Node:
    """The whole tensor with `value` in place of what `slices` cut out of it."""
    for view in reversed(slices):
        if is_whole_slice(view):
            continue
        origin: Any = view.args[0]
        meta = dict(value.meta)
        args = (origin, value, *view.args[1:])
        value = graph.call_function(_SCATTER[view.target], args, dict(view.kwargs))
        value.meta = meta | {"val": origin.meta["val"]}
    return value


def _alias_groups(
    graph: fx.Graph, module: Callable[[str], nn.Module]
) -> dict[fx.Node, set[fx.Node]]:
    groups: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        groups[node] = {node}
        for origin in _origins(node, module):
            merged = groups[node] | groups[origin]
            for member in merged:
                groups[member] = merged
    return groups


def _origins(node: fx.Node, module: Callable[[str], nn.Module]) -> list[fx.Node]:
    """Arguments whose memory the result of `node` may share."""
    target = node.target
    if node.op == "call_module":
        fresh = isinstance(module(str(target)), nn.modules.batchnorm._NormBase)
        return [] if fresh else node.all_input_nodes[:1]
    if getattr(target, "__name__", "") == "getitem":
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
