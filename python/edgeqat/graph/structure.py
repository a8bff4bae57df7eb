# SPDX-License-Identifier: Apache-2.0
"""Questions about a captured graph: which nodes merge into one operator, where a value comes from, who uses it."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class BatchNorm:
    """A BatchNorm layer, called as a module or as a function: where its tensors lie (None = absent) and its epsilon."""

    gamma: str | None
    beta: str | None
    mean: str
    variance: str
    eps: float

    def affine(self, root: nn.Module) -> tuple[Tensor, Tensor]:
        """Factor and shift with the running statistics, in float64: y = factor * x + shift. Shape: [C], [C]."""
        variance, mean = fetch(root, self.variance).double(), fetch(root, self.mean).double()
        gamma = (
            torch.ones_like(mean)
            if self.gamma is None
            else fetch(root, self.gamma).detach().double()
        )
        beta = (
            torch.zeros_like(mean)
            if self.beta is None
            else fetch(root, self.beta).detach().double()
        )
        factor = gamma / torch.sqrt(variance + self.eps)
        return factor, beta - mean * factor


def batch_norm_of(node: fx.Node, root: nn.Module) -> BatchNorm | None:
    """The BatchNorm with running statistics that `node` computes, if it does."""
    if node.target is aten.batch_norm.default:
        paths = [
            str(n.target) if isinstance(n, fx.Node) and n.op == "get_attr" else None
            for n in node.args[1:5]
        ]
        if paths[2] is None or paths[3] is None:
            return None
        return BatchNorm(paths[0], paths[1], paths[2], paths[3], float(node.args[7]))  # type: ignore[arg-type]
    if node.op != "call_module":
        return None
    module = root.get_submodule(str(node.target))
    if not isinstance(module, _BatchNorm) or not module.track_running_stats:
        return None
    path = str(node.target)
    gamma, beta = (f"{path}.weight", f"{path}.bias") if module.affine else (None, None)
    return BatchNorm(gamma, beta, f"{path}.running_mean", f"{path}.running_var", module.eps)


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
    if name == "getitem" and operator_name(node.all_input_nodes[0]) != "split":
        return None  # one result of a recurrent layer is a value of its own
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
    elif name == "softmax" and _is_masked(node.args[0]):
        return []  # a mask of -inf has no code; the scores before it have
    elif name == "cat":
        candidates = node.args[0]
    else:
        candidates = node.all_input_nodes
    return [n for n in candidates if is_float(n)]


def _is_masked(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target in (
        aten.masked_fill.Scalar,
        aten.masked_fill.Tensor,
        aten.where.self,
        aten.where.ScalarOther,
        aten.where.ScalarSelf,
    )


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
    if batch_norm_of(user, root) is None or user.args[0] is not node:
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
