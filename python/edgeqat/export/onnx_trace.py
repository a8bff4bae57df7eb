# SPDX-License-Identifier: Apache-2.0
"""Takes a converted model through `torch.onnx.export`, to an ONNX model that still has the private Q/DQ nodes."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor, fx

from edgeqat.export.onnx_translation import translation_table
from edgeqat.graph.structure import shape_of


@dataclass(frozen=True)
class Names:
    """Names that the tensors of one quantize or dequantize node have in the plan; `bias` is that of a weight's layer."""

    codes: str
    scale: str
    zero_point: str
    bias: str | None = None


@dataclass(frozen=True)
class Traced:
    """An ONNX model with private nodes, and the names of their tensors, by the name of a node's output."""

    model: ModelProto
    names: dict[str, Names]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes off the console: it reports missing torchvision ops four times per export."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _example(node: fx.Node) -> Tensor:
    """A tensor of the shape and dtype that `node` had at capture; 2 for a dynamic size, since torch makes 1 a constant."""
    return torch.zeros(
        [2 if size < 0 else size for size in shape_of(node)], dtype=node.meta["dtype"]
    )


def _dynamic(node: fx.Node) -> dict[int, Any]:
    return {i: torch.export.Dim.AUTO for i, size in enumerate(shape_of(node)) if size < 0}


def trace(
    graph_module: fx.GraphModule, tensors: Mapping[fx.Node, str], *, opset: int, optimize: bool
) -> Traced:
    """Translate `graph_module` at `opset`; `tensors` names the codes that its quantize nodes make.

    Raises:
        ValueError: a dynamic size became a constant on the way.
    """
    inputs = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
    examples = tuple(_example(node) for node in inputs)
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            graph_module,
            examples,
            dynamic_shapes=tuple(_dynamic(node) for node in inputs),
            strict=False,
        )
        result = torch.onnx.export(
            program,
            dynamo=True,
            custom_translation_table=translation_table(),
            opset_version=opset,
            optimize=optimize,
            input_names=[str(node.target) for node in inputs],
            verbose=False,
        )
    assert result is not None
    assert result.exported_program is not None
    model: ModelProto = result.model_proto
    for node, value in zip(inputs, model.graph.input, strict=True):
        for axis in _dynamic(node):
            if not value.type.tensor_type.shape.dim[axis].dim_param:
                raise ValueError(
                    f"export_onnx: size {axis} of input {value.name!r} is dynamic in the model but became a constant; "
                    "report the model's operator that fixes it"
                )
    return Traced(model, _names(graph_module.graph, result.exported_program.graph, tensors))


def _names(
    converted: fx.Graph, exported: fx.Graph, tensors: Mapping[fx.Node, str]
) -> dict[str, Names]:
    """Output of a quantize or dequantize node in `exported` -> names from `converted`.

    Tracing runs the nodes in order and renames them (quantize, quantize_1, ...): the k-th one here is the k-th one there. Names
    of constants cannot be read from the exported model, where the optimizer merges equal ones.
    """
    ops = (torch.ops.edgeqat.quantize.default, torch.ops.edgeqat.dequantize.default)
    before = [node for node in converted.nodes if node.target in ops]
    after = [node for node in exported.nodes if node.target in ops]
    if [node.target for node in before] != [node.target for node in after]:
        raise RuntimeError(
            f"export_onnx: {len(before)} quantize and dequantize nodes became {len(after)} while tracing; this is a bug of "
            "edgeqat"
        )
    return {new.name: _names_of(old, tensors) for old, new in zip(before, after, strict=True)}


def _names_of(node: fx.Node, tensors: Mapping[fx.Node, str]) -> Names:
    codes = node if node.target is torch.ops.edgeqat.quantize.default else node.args[0]
    name = [
        tensors[part]
        if part in tensors
        else str(part.target if part.op == "get_attr" else part.name)
        for part in (codes, node.args[1], node.args[2])
        if isinstance(part, fx.Node)
    ]
    biases = [user.args[2] for user in node.users if len(user.args) > 2]
    bias = next(
        (str(b.target) for b in biases if isinstance(b, fx.Node) and b.op == "get_attr"), None
    )
    return Names(name[0], name[1], name[2], bias)
