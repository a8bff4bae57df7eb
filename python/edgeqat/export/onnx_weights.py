# SPDX-License-Identifier: Apache-2.0
"""Finds the quantized weights of a converted model and the lowest opset that stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgeqat.export.onnx_constants import container
from edgeqat.graph.structure import fetch


@dataclass(frozen=True)
class Weight:
    """Integer codes of one weight, as a buffer of the converted model."""

    name: str
    codes: Tensor
    bits: int
    grouped: bool


@dataclass(frozen=True)
class Lowest:
    """The lowest opset for some weights, and which of them asks for it."""

    opset: int
    reason: str


def graph_module(converted: Any) -> fx.GraphModule:
    """The graph of a converted model over its integer constants, as a module that torch.export takes.

    Raises:
        TypeError: there is no graph, or it holds no quantize or dequantize op.
    """
    graph = getattr(converted, "graph", None)
    if not isinstance(converted, torch.nn.Module) or not isinstance(graph, fx.Graph):
        raise TypeError(
            f"export_onnx: expected the model that edgeqat.convert returns, found {type(converted).__name__}"
        )
    ops = (torch.ops.edgeqat.quantize.default, torch.ops.edgeqat.dequantize.default)
    if not any(node.target in ops for node in graph.nodes):
        raise TypeError(
            "export_onnx: this graph has no integer tensors; call edgeqat.convert(student) first (edgeqat.export does)"
        )
    return fx.GraphModule(converted, graph)


def weights(module: fx.GraphModule) -> list[Weight]:
    """Every constant that a dequantize op reads, in graph order."""
    found: dict[str, Weight] = {}
    for node in module.graph.nodes:
        if node.target is not torch.ops.edgeqat.dequantize.default:
            continue
        source = node.args[0]
        if not isinstance(source, fx.Node) or source.op != "get_attr":
            continue
        name = str(source.target)
        codes: Any = fetch(module, name)
        bits = node.meta["spec"]["bits"] if "spec" in node.meta else width(codes)
        found[name] = Weight(name, codes, int(bits), bool(node.kwargs.get("group_size")))
    return list(found.values())


def width(codes: Tensor) -> int:
    """Bits that hold every code, at least 2."""
    low, high = (int(v) for v in torch.aminmax(codes)) if codes.numel() else (0, 0)
    if codes.dtype == torch.uint8:
        return max(2, high.bit_length())
    return max(2, max(high, -low - 1).bit_length() + 1)


def lowest_opset(weights: Sequence[Weight], *, packed: bool, least: int) -> Lowest:
    """The lowest opset, from `least` on, that stores all of `weights`."""
    lowest = Lowest(least, "the exporter")
    for weight in weights:
        store = container(weight.bits, signed=weight.codes.dtype == torch.int8, packed=packed)
        opset = max(store.opset, 21 if weight.grouped else 0)
        if opset > lowest.opset:
            what = "with scales per group " if weight.grouped else ""
            lowest = Lowest(opset, f"the {weight.bits}-bit weight {weight.name!r} {what}".rstrip())
    return lowest
