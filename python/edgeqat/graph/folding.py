# SPDX-License-Identifier: Apache-2.0
"""Computes at capture what depends on nothing but constants: masks, positions, tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeqat.graph import naming

# A mask of 1,024 x 1,024; larger ones are made on every call, as in the original.
_LIMIT = 1 << 20


def fold_constants(graph: fx.Graph, constants: dict[str, torch.Tensor]) -> None:
    """Replaces factory calls of fixed size and what follows from them; adds the results to `constants`.

    A constant follows the module's device and exports as an initializer.
    """
    values: dict[fx.Node, torch.Tensor] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and node.target in constants:
            values[node] = constants[str(node.target)]
        elif _foldable(node, values):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            with torch.no_grad():
                result = node.target(*args, **kwargs)
            if isinstance(result, torch.Tensor) and result.numel() <= _LIMIT:
                values[node] = result
    taken = set(constants)
    for node, value in values.items():
        if node.op == "get_attr" or all(user in values for user in node.users):
            continue
        name = naming.unique(f"#{naming.op_name(node)}", taken)  # '#': no parameter is called so
        constants[name] = value.contiguous()
        with graph.inserting_before(node):
            constant = graph.create_node("get_attr", name)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)


def _foldable(node: fx.Node, values: dict[fx.Node, torch.Tensor]) -> bool:
    target: Any = node.target
    return (
        node.op == "call_function"
        and isinstance(target, torch._ops.OpOverload)
        and target.namespace == "aten"
        and not target._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in target.tags
        and isinstance(node.meta.get("val"), torch.Tensor)
        and all(isinstance(size, int) for size in node.meta["val"].shape)
        and node.meta["val"].numel() <= _LIMIT
        and all(source in values for source in node.all_input_nodes)
    )
