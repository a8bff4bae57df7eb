# SPDX-License-Identifier: Apache-2.0
"""Translates the quantize and dequantize ops into two private ONNX nodes that no optimizer knows, and what torch cannot.

`torch.onnx.export` optimizes what it wrote: it folds a DequantizeLinear of a constant into float weights (four times the
bytes, no integer kernel) and merges equal nodes. It leaves nodes of an unknown domain alone, so Q/DQ are written as
`edgeqat::Quantize` and `edgeqat::Dequantize` first and become standard nodes afterwards, in `onnx_qdq`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnxscript import values

from edgeqat.export.onnx_pool import adaptive_avg_pool3d, avg_pool

DOMAIN = "edgeqat"
QUANTIZE, DEQUANTIZE = "Quantize", "Dequantize"
# Attributes are integers, and None is not one; real axes are -8..7, so this cannot be mistaken for an axis.
PER_TENSOR = -128

_FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
_CODES = ["tensor(int8)", "tensor(uint8)"]


@functools.cache
def _operator(
    name: str, source: tuple[str, ...], result: tuple[str, ...], attributes: tuple[str, ...]
) -> Any:
    schema = onnx.defs.OpSchema
    parameter = schema.FormalParameter
    definition = schema(
        name,
        DOMAIN,
        1,
        inputs=[
            parameter("x", "T"),
            parameter("scale", "tensor(float)"),
            parameter("zero_point", "tensor(int32)"),
        ],
        outputs=[parameter("y", "U")],
        type_constraints=[("T", list(source), ""), ("U", list(result), "")],
        attributes=[
            schema.Attribute(attribute, schema.AttrType.INT, "", required=True)
            for attribute in attributes
        ],
    )
    return values.Op(values.Opset(DOMAIN, 1), name, definition)


def _quantize(
    x: Any,
    scale: Any,
    zero_point: Any,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
) -> Any:
    operator = _operator(
        QUANTIZE, tuple(_FLOATS), tuple(_CODES), ("qmin", "qmax", "axis", "group_size")
    )
    return operator(
        x,
        scale,
        zero_point,
        qmin=qmin,
        qmax=qmax,
        axis=PER_TENSOR if axis is None else axis,
        group_size=group_size or 0,
    )


def _dequantize(
    codes: Any, scale: Any, zero_point: Any, axis: int | None = None, group_size: int | None = None
) -> Any:
    operator = _operator(DEQUANTIZE, tuple(_CODES), tuple(_FLOATS), ("axis", "group_size"))
    return operator(
        codes,
        scale,
        zero_point,
        axis=PER_TENSOR if axis is None else axis,
        group_size=group_size or 0,
    )


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The `custom_translation_table` of `torch.onnx.export`."""
    return {
        torch.ops.edgeqat.quantize.default: _quantize,
        torch.ops.edgeqat.dequantize.default: _dequantize,
        torch.ops.aten.avg_pool1d.default: avg_pool(1),
        torch.ops.aten.avg_pool2d.default: avg_pool(2),
        torch.ops.aten.avg_pool3d.default: avg_pool(3),
        torch.ops.aten._adaptive_avg_pool3d.default: adaptive_avg_pool3d,
    }
