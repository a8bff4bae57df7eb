# SPDX-License-Identifier: Apache-2.0
"""Writes scaled_dot_product_attention out as matmul, scale, softmax, matmul, so that quantizers see them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from edgeqat.graph import naming

aten = torch.ops.aten


def expand_attention(graph: fx.Graph) -> None:
    """softmax(q @ k^T * scale + mask) @ v for every fused attention node of `graph`.

    A fully masked row gives 0, as in torch. Equal to the fused op up to float rounding.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is aten.scaled_dot_product_attention.default:
            with graph.inserting_before(node):
                result = _expand(graph, node)
            result.meta["val"] = node.meta.get("val")
            node.replace_all_uses_with(result)
            graph.erase_node(node)


def _expand(graph: fx.Graph, node: fx.Node) -> fx.Node:
    names = [a.name for a in node.target._schema.arguments]  # type: ignore[union-attr]
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    query, key, value = given["query"], given["key"], given["value"]
    mask, causal = given.get("attn_mask"), given.get("is_causal", False)
    head_size = query.meta["val"].shape[-1]
    scale = given.get("scale")
    fake = _Fake(graph, node)

    def emit(op: Any, *args: Any, **kwargs: Any) -> fx.Node:
        return fake.emit(op, *args, **kwargs)

    if given.get("enable_gqa", False):
        groups = query.meta["val"].shape[-3] // key.meta["val"].shape[-3]
        key = emit(aten.repeat_interleave.self_int, key, groups, -3)
        value = emit(aten.repeat_interleave.self_int, value, groups, -3)
    transposed = emit(aten.transpose.int, key, -2, -1)
    scores = emit(aten.matmul.default, query, transposed)
    scores = emit(aten.mul.Tensor, scores, 1 / math.sqrt(head_size) if scale is None else scale)
    if causal:
        scores = _mask_future(fake, scores, query, key)
    elif mask is not None and mask.meta["val"].dtype == torch.bool:
        scores = emit(
            aten.masked_fill.Scalar, scores, emit(aten.logical_not.default, mask), -math.inf
        )
    elif mask is not None:
        scores = emit(aten.add.Tensor, scores, mask)
    # Only a caller's mask can cover a whole row; then plain softmax would give NaN, the fused op 0.
    softmax = aten.softmax.int if mask is None else aten._safe_softmax.default
    weights = emit(softmax, scores, -1)
    rate = given.get("dropout_p", 0.0)
    if rate > 0.0:
        mode: Any = True
        if node.meta.get("dropout_follows_mode"):
            owner = naming.path(node)
            mode = graph.create_node("get_attr", f"{owner}.training" if owner else "training")
        weights = emit(aten.dropout.default, weights, rate, mode)
    return emit(aten.matmul.default, weights, value)


def _mask_future(fake: _Fake, scores: fx.Node, query: fx.Node, key: fx.Node) -> fx.Node:
    sizes: list[Any] = []
    for tensor in (query, key):
        size = tensor.meta["val"].shape[-2]
        sizes.append(size if isinstance(size, int) else fake.emit(aten.sym_size.int, tensor, -2))
    device = query.meta["val"].device
    ones = fake.emit(aten.ones.default, sizes, dtype=torch.bool, device=device)
    return fake.emit(
        aten.masked_fill.Scalar, scores, fake.emit(aten.triu.default, ones, 1), -math.inf
    )


class _Fake:
    """Adds nodes that carry shapes and the origin of the fused node."""

    def __init__(self, graph: fx.Graph, origin: fx.Node) -> None:
        self.graph = graph
        kept = ("nn_module_stack", "stack_trace")
        self.meta = {k: v for k, v in origin.meta.items() if k in kept}

    def emit(self, op: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = self.graph.call_function(op, args, kwargs)
        node.meta = dict(self.meta)
        plain_args, plain_kwargs = fx.node.map_arg((args, kwargs), _value)
        node.meta["val"] = op(*plain_args, **plain_kwargs)
        return node


def _value(node: fx.Node) -> Any:
    return True if node.op == "get_attr" and "val" not in node.meta else node.meta["val"]
