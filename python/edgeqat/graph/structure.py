# SPDX-License-Identifier: Apache-2.0
"""Questions about a captured graph: which nodes merge into one operator, where a value comes from, who uses it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeqat.graph.operators import FUSED_ACTIVATIONS, PASS_THROUGH, WEIGHTED, aten, operator_name

FLOATS = ("float32", "float16", "bfloat16", "float64")


def is_float(node: Any) -> bool:
    """Whether `node` is a floating-point tensor."""
    dtype = node.meta.get("dtype") if isinstance(node, fx.Node) else None
    return dtype is not None and str(dtype).removeprefix("torch.") in FLOATS


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The recorded shape, -1 for sizes that may change; () where nothing was recorded."""
    return tuple(node.meta.get("shape") or ())


def fetch(root: nn.Module, target: str) -> Any:
    """The parameter, buffer or module at the dotted path `target`."""
    value: Any = root
    for part in target.split("."):
        value = getattr(value, part)
    return value


def is_constant(node: Any) -> bool:
    """Whether `node` depends on parameters and buffers only."""
    if not isinstance(node, fx.Node):
        return True
    if node.op == "placeholder" or node.op == "call_module":
        return False
    return node.op == "get_attr" or all(is_constant(source) for source in node.all_input_nodes)


def evaluate(node: fx.Node, root: nn.Module) -> Tensor:
    """The value of a constant node, computed now."""
    if node.op == "get_attr":
        return fetch(root, str(node.target))  # type: ignore[no-any-return]
    arguments, keywords = fx.map_arg((node.args, node.kwargs), lambda n: evaluate(n, root))
    return node.target(*arguments, **keywords)  # type: ignore[operator, no-any-return]


def batch_norm_of(node: fx.Node, root: nn.Module) -> _BatchNorm | None:
    """The BatchNorm module that `node` calls, if it does."""
    if node.op != "call_module":
        return None
    module = root.get_submodule(str(node.target))
    return module if isinstance(module, _BatchNorm) else None


def is_dropout(node: fx.Node, root: nn.Module) -> bool:
    """Whether `node` calls a dropout module (the identity once deployed)."""
    return (
        node.op == "call_module"
        and "Dropout" in type(root.get_submodule(str(node.target))).__name__
    )


def name_of(node: fx.Node, root: nn.Module) -> str | None:
    """The operator of `node` by the names of `edgeqat::Graph`, BatchNorm and dropout included."""
    if batch_norm_of(node, root) is not None:
        return "batch_norm"
    if is_dropout(node, root):
        return "identity"
    name = operator_name(node)
    if name == "pad" and len(node.args) > 3 and node.args[3] not in (0, 0.0, None):
        return None
    return name


def passes_through(node: fx.Node, root: nn.Module) -> bool:
    """Whether the outputs of `node` are values of its input, with the same scale."""
    return name_of(node, root) in PASS_THROUGH


def data_inputs(node: fx.Node, root: nn.Module) -> list[fx.Node]:
    """The float tensors that `node` computes with, without weight, bias and BatchNorm parameters."""
    name = name_of(node, root)
    if name == "embedding":
        return []
    if name in WEIGHTED or name in ("layer_norm", "batch_norm"):
        candidates: Any = node.args[:1]
    elif name == "cat":
        candidates = node.args[0]
    else:
        candidates = node.all_input_nodes
    return [n for n in candidates if is_float(n)]


def origin(node: fx.Node, root: nn.Module) -> fx.Node:
    """The node whose values `node` carries: itself, or the producer before reshapes, slices and pooling."""
    while passes_through(node, root) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def foldable_batch_norm(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """The BatchNorm that the weight's scale can absorb: the only user of a weighted `node`.

    A grouped transposed convolution cannot absorb it: its weight has one axis for out / groups channels, BatchNorm one
    factor for each of the out channels.
    """
    name = name_of(node, root)
    user = _only_user(node)
    if name not in ("conv", "conv_transpose", "linear") or user is None:
        return None
    module = batch_norm_of(user, root)
    if module is None or not module.track_running_stats:
        return None
    if name == "linear" and len(shape_of(node)) != 2:
        return None  # BatchNorm1d over [N, L, C] normalises axis 1, which is not the output axis of the layer
    if name == "conv_transpose" and len(node.args) > 6 and node.args[6] != 1:
        return None
    return user


def tail(node: fx.Node, root: nn.Module) -> tuple[fx.Node, list[fx.Node]]:
    """The last node that merges into the operator `node`, and all the nodes merged, `node` first.

    A weighted operator absorbs a following BatchNorm; then any operator absorbs one clamping activation. Both only where
    nobody else reads the value in between.
    """
    chain = [node]
    batch_norm = foldable_batch_norm(node, root)
    if batch_norm is not None:
        chain.append(batch_norm)
    name = name_of(node, root)
    if name not in FUSED_ACTIVATIONS and name not in PASS_THROUGH and name != "embedding":
        user = _only_user(chain[-1])
        if (
            user is not None
            and user.op == "call_function"
            and name_of(user, root) in FUSED_ACTIVATIONS
        ):
            chain.append(user)
    return chain[-1], chain


def weight_node(node: fx.Node) -> fx.Node:
    """The weight operand of a weighted node."""
    return node.args[0 if node.target is aten.embedding.default else 1]  # type: ignore[return-value]


def users_are_outputs(node: fx.Node, root: nn.Module) -> bool:
    """Whether `node` reaches nothing but the model's outputs."""
    return all(
        user.op == "output" or (passes_through(user, root) and users_are_outputs(user, root))
        for user in node.users
    ) and bool(node.users)


def clone_graph(graph: fx.Graph) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """A copy of `graph` with the metadata of its nodes, and the map from old to new nodes."""
    copy = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    result = copy.graph_copy(graph, mapping)
    output = next(n for n in graph.nodes if n.op == "output")
    mapping[output] = copy.output(result)
    for old, new in mapping.items():
        new.meta = dict(old.meta)
    return copy, mapping


def batch_norm_affine(module: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Factor and shift of a BatchNorm with its running statistics, in float64: y = factor * x + shift."""
    assert module.running_mean is not None
    assert module.running_var is not None
    variance = module.running_var.double()
    gamma = torch.ones_like(variance) if module.weight is None else module.weight.detach().double()
    beta = torch.zeros_like(variance) if module.bias is None else module.bias.detach().double()
    factor = gamma / torch.sqrt(variance + module.eps)
    return factor, beta - module.running_mean.double() * factor
