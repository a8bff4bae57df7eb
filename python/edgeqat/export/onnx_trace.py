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
class Traced:
    """An ONNX model with private nodes, and the names its tensors have in the plan."""

    model: ModelProto
    names: dict[str, str]  # value in the model -> tensor name


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
) -> dict[str, str]:
    """Value of a quantize node in `exported` -> tensor name.

    Tracing runs the nodes in order and renames them (quantize, quantize_1, ...): the k-th quantize here is the k-th there.
    """
    op = torch.ops.edgeqat.quantize.default
    before = [node for node in converted.nodes if node.target is op]
    after = [node for node in exported.nodes if node.target is op]
    if len(before) != len(after):
        raise RuntimeError(
            f"export_onnx: {len(before)} quantized activations became {len(after)} while tracing; this is a bug of edgeqat"
        )
    return {new.name: tensors[old] for old, new in zip(before, after, strict=True)}
