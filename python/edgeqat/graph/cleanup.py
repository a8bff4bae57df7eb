# SPDX-License-Identifier: Apache-2.0
"""Graph clean-up before and after the passes: guards, no-ops, tied parameters, baked devices, dead nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from edgeqat.graph import naming
from edgeqat.graph.errors import CaptureError
from edgeqat.graph.sizes import plain_size

aten = torch.ops.aten

_CHECKS = ("_assert", "sym_constrain_range", "_check")
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_COPIES = (
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.lift_fresh_copy.default,
    aten.lift_fresh.default,
)


def prepare(graph: fx.Graph, module: nn.Module) -> None:
    """Drops guards and assertions and inlines `torch.no_grad()` blocks of an exported graph."""
    for node in reversed(list(graph.nodes)):
        guard = node.op == "call_module" and node.target == "_guards_fn"
        if guard or (node.op == "call_function" and naming.raw_name(node).startswith(_CHECKS)):
            graph.erase_node(node)
    for node in list(graph.nodes):
        if node.op == "call_function" and isinstance(node.target, torch._ops.HigherOrderOperator):
            _inline(graph, node, module)


def tidy(graph: fx.Graph, model: nn.Module) -> None:
    """Last pass: merges tied parameters, drops copies and dead nodes, follows the input's device."""
    _merge_tied(graph, model)
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _COPIES or is_whole_slice(node) or _is_detached_state(node, model):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target in (aten.view.default, aten._unsafe_view.default):
            # A view needs a layout that a quantizer or channels_last input need not give.
            node.target = aten.reshape.default
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output") and not _writes_state(node):
            graph.erase_node(node)
    _follow_device(graph)
    _follow_dtype(graph)


def shape_and_dtype(value: Any) -> tuple[tuple[int, ...] | None, torch.dtype | None]:
    """Plain data of a node's example value; sizes that vary are -1."""
    if not isinstance(value, torch.Tensor):
        return None, None
    return tuple(plain_size(s) for s in value.shape), value.dtype


def is_whole_slice(node: fx.Node) -> bool:
    """`x[:]` along one axis, which indexing such as x[:, :, ::2] leaves behind."""
    if node.target is not aten.slice.Tensor or node.kwargs:
        return False
    defaults: tuple[Any, ...] = (0, None, None, 1)
    given: tuple[Any, ...] = node.args[1:]
    _, start, end, step = given + defaults[len(given) :]
    return bool(start in (0, None) and end in (None, 2**63 - 1) and step == 1)


def _is_detached_state(node: fx.Node, model: nn.Module) -> bool:
    """detach of a buffer or constant: neither needs a gradient."""
    if node.target is not aten.detach.default:
        return False
    source: Any = node.args[0]
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return source.op == "get_attr" and source.target not in parameters


def _merge_tied(graph: fx.Graph, model: nn.Module) -> None:
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        first.setdefault(id(tensor), name)
    nodes: dict[str, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "get_attr" or node.target not in tensors:
            continue
        name = first[id(tensors[node.target])]
        if name in nodes:
            node.replace_all_uses_with(nodes[name])
            graph.erase_node(node)
        else:
            node.target = name
            nodes[name] = node


def _inline(graph: fx.Graph, node: fx.Node, module: nn.Module) -> None:
    """Writes the body of a `torch.no_grad()` block in place; detach keeps gradients out."""
    if naming.op_name(node) != "wrap_with_set_grad_enabled":
        where = next(filter(None, map(naming.frame, (node, *_body(node, module)))), None)
        place = f"{where[0]}:{where[1]}" if where else str(node)
        raise CaptureError(
            f"{place} uses {naming.op_name(node)}, which has a graph of its own; move it out of forward (autocast: around "
            "the training step), or use mode='module'"
        )
    enabled, body_node, *inputs = node.args
    body = getattr(module, str(body_node.target))  # type: ignore[union-attr]
    prepare(body.graph, body)
    values: dict[fx.Node, Any] = {}
    places = iter(inputs)
    for inner in body.graph.nodes:
        if inner.op == "placeholder":
            values[inner] = next(places)
        elif inner.op == "output":
            results = fx.node.map_arg(inner.args[0], values.__getitem__)
        else:
            with graph.inserting_before(node):
                values[inner] = graph.node_copy(inner, values.__getitem__)
    for user in list(node.users):
        value = results[user.args[1]]
        if not enabled:
            with graph.inserting_before(user):
                detached = graph.call_function(aten.detach.default, (value,))
            detached.meta = dict(value.meta)
            value = detached
        user.replace_all_uses_with(value)
        graph.erase_node(user)
    graph.erase_node(node)


def _body(node: fx.Node, module: nn.Module) -> list[fx.Node]:
    """Nodes of the graphs that a higher-order operator runs."""
    bodies = (
        getattr(module, str(a.target), None) for a in node.all_input_nodes if a.op == "get_attr"
    )
    return [n for body in bodies if isinstance(body, fx.GraphModule) for n in body.graph.nodes]


def _follow_device(graph: fx.Graph) -> None:
    """Tensors that forward makes (arange, zeros) are made on the device of the first input."""
    inputs = [n for n in graph.nodes if n.op == "placeholder"]
    anchor = next((n for n in inputs if isinstance(n.meta.get("val"), torch.Tensor)), None)
    if anchor is None:
        return
    captured = anchor.meta["val"].device
    device: fx.Node | None = None
    for node in list(graph.nodes):
        if node.op != "call_function" or captured not in (*node.args, *node.kwargs.values()):
            continue
        if device is None:
            with graph.inserting_after(inputs[-1]):
                device = graph.call_function(getattr, (anchor, "device"))
        node.args = tuple(device if a == captured else a for a in node.args)
        node.kwargs = {k: device if v == captured else v for k, v in node.kwargs.items()}


def _follow_dtype(graph: fx.Graph) -> None:
    """The zero state of a recurrent layer has the dtype of its input, also after `.half()`."""
    for node in list(graph.nodes):
        if node.op != "call_function" or naming.raw_name(node) not in _RECURRENT:
            continue
        for state in node.all_input_nodes:
            if state.target is aten.zeros.default and len(state.users) == 1:
                with graph.inserting_before(state):
                    dtype = graph.call_function(getattr, (node.args[0], "dtype"))
                state.update_kwarg("dtype", dtype)


def _writes_state(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and node.target._schema.is_mutable
    )
