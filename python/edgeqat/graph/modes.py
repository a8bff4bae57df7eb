# SPDX-License-Identifier: Apache-2.0
"""Joins the train and eval capture of a model into one graph that follows `train()` and `eval()`.

Where the two differ only in the flags of batch normalization, dropout and recurrent layers, the graph reads
`<module>.training` at run time. Any other difference is refused with the user's line.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import fx, nn
from torch.nn.modules import batchnorm, dropout

from edgeqat.graph import naming
from edgeqat.graph.errors import CaptureError
from edgeqat.graph.tracing import OPAQUE

_FLAGS = frozenset({"train", "training", "use_input_stats"})
_DROPOUT = frozenset(
    {"dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"}
    | {"dropout_", "alpha_dropout_", "feature_dropout_", "feature_alpha_dropout_"}
)
_DROPOUT_FORWARDS = tuple(
    c.forward
    for c in (
        dropout.Dropout,
        dropout.Dropout1d,
        dropout.Dropout2d,
        dropout.Dropout3d,
        dropout.AlphaDropout,
        dropout.FeatureAlphaDropout,
    )
)
_NORM_FORWARDS = (batchnorm._BatchNorm.forward, batchnorm.SyncBatchNorm.forward)
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default


def join(train: fx.Graph, evaluation: fx.Graph, module: Callable[[str], nn.Module]) -> None:
    """Rewrites `train` in place so that it also computes what `evaluation` computes in eval mode.

    Raises:
        CaptureError: the graphs differ beyond batch normalization and dropout.
    """
    matched: dict[Any, Any] = {}
    followers: list[tuple[fx.Node, str]] = []
    others = [n for n in evaluation.nodes if n.op == "call_function"]
    inputs = {(n.op, n.target): n for n in evaluation.nodes if n.op in ("placeholder", "get_attr")}
    for node in train.nodes:
        if node.op in ("placeholder", "get_attr"):
            matched[node] = inputs.get((node.op, node.target))
    position = 0
    for node in [n for n in train.nodes if n.op == "call_function"]:
        other = others[position] if position < len(others) else None
        flags = None if other is None else _differences(node, other, matched)
        if other is not None and flags is not None:
            matched[node] = other
            followers += [(node, flag) for flag in flags]
            position += 1
        elif _packet(node) in _DROPOUT:
            matched[node] = matched[node.args[0]]
            followers.append((node, "train"))
        elif _is_batch_counter(node):
            followers.append((node, "other"))
        else:
            _refuse(node, other)
    if position < len(others):
        _refuse(None, others[position])
    if _mapped(_output(train), matched) != _output(evaluation):
        _refuse(None, None)
    for node, flag in followers:
        _follow(train, node, flag)
    _call_modules(train, module)


def unlike(train: fx.Graph, evaluation: fx.Graph, module: Callable[[str], nn.Module]) -> set[str]:
    """Paths of the user's layers without state that compute other things in train than in eval mode."""
    calls: list[dict[str, list[str]]] = [{}, {}]
    for table, graph in zip(calls, (train, evaluation), strict=True):
        for node in graph.nodes:
            if node.op == "call_function" and naming.path(node):
                table.setdefault(naming.path(node), []).append(naming.raw_name(node))
    return {
        path
        for path in {*calls[0], *calls[1]}
        if calls[0].get(path) != calls[1].get(path) and _is_stateless(module(path))
    }


def _is_stateless(layer: nn.Module) -> bool:
    own = [*layer.children(), *layer.parameters(), *layer.buffers()]
    return not own and not type(layer).__module__.startswith("torch.nn.modules.")


def _differences(node: fx.Node, other: fx.Node, matched: dict[Any, Any]) -> list[str] | None:
    """Arguments that must follow the mode; None when the nodes compute different things."""
    if node.target != other.target:
        return None
    mine, theirs = _arguments(node), _arguments(other)
    if set(mine) != set(theirs):
        return None
    flags = []
    for name, value in mine.items():
        mapped, expected = _mapped(value, matched), theirs[name]
        if mapped == expected:
            continue
        if name in _FLAGS and value is True and expected is False:
            flags.append(name)
        elif name == "dropout_p" and expected == 0.0:
            flags.append(name)  # F.scaled_dot_product_attention(..., p if self.training else 0)
        elif _packet(node) in _DROPOUT and name == "p" and expected == 0.0:
            flags.append("train")
        else:
            return None
    return flags


def _follow(graph: fx.Graph, node: fx.Node, name: str) -> None:
    """Makes argument `name` of `node` read the mode of the module that owns the node."""
    if node.target is _ATTENTION:
        node.meta["dropout_follows_mode"] = True
        return
    owner = naming.path(node)
    with graph.inserting_before(node):
        mode = graph.create_node("get_attr", f"{owner}.training" if owner else "training")
        mode.meta = {k: v for k, v in node.meta.items() if k in ("nn_module_stack", "stack_trace")}
    names = [a.name for a in node.target._schema.arguments]  # type: ignore[union-attr]
    if names.index(name) < len(node.args):
        node.update_arg(names.index(name), mode)
    else:
        node.update_kwarg(name, mode)


def _call_modules(graph: fx.Graph, module: Callable[[str], nn.Module]) -> None:
    """Batch normalization and dropout of torch.nn become calls of the user's own modules.

    They keep their mode, frozen statistics, cumulative averages and SyncBatchNorm conversion.
    """
    counters = []
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        owner = naming.path(node)
        if node.target is OPAQUE:
            _call_module(graph, node, str(node.args[1]))
        elif _is_batch_counter(node) and type(module(owner)).forward in _NORM_FORWARDS:
            counters.append(node)
        elif (_packet(node) == "batch_norm" and type(module(owner)).forward in _NORM_FORWARDS) or (
            _packet(node) in _DROPOUT
            and not _packet(node).endswith("_")
            and type(module(owner)).forward in _DROPOUT_FORWARDS
        ):
            _call_module(graph, node, owner)
    for node in reversed(counters):
        graph.erase_node(node)


def _call_module(graph: fx.Graph, node: fx.Node, path: str) -> None:
    with graph.inserting_before(node):
        layer = graph.create_node("call_module", path, (node.args[0],))
    layer.meta = dict(node.meta)
    node.replace_all_uses_with(layer)
    graph.erase_node(node)


def _is_batch_counter(node: fx.Node) -> bool:
    """True for `num_batches_tracked += 1`, also the second one of a shared layer."""
    origin: Any = node
    while origin.op == "call_function" and origin.target is torch.ops.aten.add_.Tensor:
        origin = origin.args[0]
    return (
        origin is not node
        and origin.op == "get_attr"
        and str(origin.target).endswith("num_batches_tracked")
        and all(_is_batch_counter(user) for user in node.users)
    )


def _packet(node: fx.Node) -> str:
    target = node.target
    return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else ""


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments by name, with the schema's defaults, which a call may leave out in one mode."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {str(i): v for i, v in enumerate(node.args)} | dict(node.kwargs)
    schema = node.target._schema.arguments
    given = {a.name: v for a, v in zip(schema, node.args, strict=False)} | dict(node.kwargs)
    return {a.name: given.get(a.name, a.default_value) for a in schema}


def _mapped(value: Any, matched: dict[Any, Any]) -> Any:
    return fx.node.map_arg(value, lambda n: matched.get(n, n))


def _output(graph: fx.Graph) -> Any:
    return next(n for n in reversed(graph.nodes) if n.op == "output").args[0]


def _refuse(train: fx.Node | None, evaluation: fx.Node | None) -> NoReturn:
    node = train if train is not None else evaluation
    where = None if node is None else naming.frame(node)
    what = ""
    if train is not None and evaluation is not None:
        what = f" (train: {train.target}, eval: {evaluation.target})"
    elif node is not None:
        what = f" ({node.target} only in {'train' if train is not None else 'eval'} mode)"
    place = "an output" if where is None else f"{where[0]}:{_branch_line(*where)}"
    raise CaptureError(
        f"the model computes different things in train and eval mode: {place}{what}. Only batch normalization and "
        "dropout may differ. Move the branch on self.training out of forward (for example into the loss), or use "
        "mode='module'"
    )


def _branch_line(file: str, line: int) -> str:
    """'12 (if self.training:)': the nearest test of the mode at or above `line`, else the line itself."""
    for number in range(line, max(line - 40, 0), -1):
        text = linecache.getline(file, number).strip()
        if ".training" in text:
            return f"{number}: `{text}`"
        if text.startswith("def "):
            break
    return f"{line}: `{linecache.getline(file, line).strip()}`"
