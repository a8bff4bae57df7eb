# SPDX-License-Identifier: Apache-2.0
"""Writes a converted model as an ONNX file with QuantizeLinear / DequantizeLinear pairs that ONNX Runtime fuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeqat.export.code_names import code_names
from edgeqat.export.requirements import require

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgeqat.export.onnx_add import Addition
    from edgeqat.export.onnx_constants import ActivationType
    from edgeqat.export.onnx_qdq import BiasFormat, WeightContainer

# What the exporter of torch starts at, what ONNX Runtime 1.31 still loads.
OPSET_MIN, OPSET_MAX = 18, 26
# The protobuf format holds 2 GiB; a larger model needs a second file beside it, which this exporter does not write.
_MAX_BYTES = 2**31 - 1


def export_onnx(
    converted: Any,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    weight_container: WeightContainer = "packed",
    activation_type: ActivationType = "uint8",
    optimize: bool = True,
    bias: BiasFormat = "auto",
    addition: Addition = "exact",
) -> Path:
    """Write `converted` as an ONNX file; the file appears whole or not at all, and equal models give equal bytes.

    Weights are integer constants: 5 to 8 bits INT8, 3 and 4 bits INT4 (opset 21 and later), 2 bits INT2 (opset 25 and
    later), two (four) to the byte, the first in the low bits. Every quantized activation is a tensor of integer codes that
    has the tensor's name in the plan; narrow widths are one byte with a Clip after QuantizeLinear.

    Args:
        converted: what `edgeqat.convert` returned.
        path: the file to write.
        opset: ONNX operator set, 18 to 26; None takes the lowest that stores the weights.
        weight_container: "int8" stores every weight in 8 bits, for runtimes without INT4 and INT2.
        activation_type: element type of activation codes. "uint8" is what ONNX Runtime computes integers with on x86;
            "int8" is for runtimes that want signed codes.
        optimize: let the exporter fold constants and merge equal nodes; it never touches Q/DQ.
        bias: "auto" writes biases of integer layers as int32 at scale ``sx * sw``; "float" leaves them as they are.
        addition: "exact" keeps ONNX Runtime from fusing the additions whose integer kernel would round some pair of codes the
            other way (docs/numerics.md, section 6); "fused" leaves all of them to it, one code off now and then.

    Returns:
        `path`.

    Raises:
        ImportError: onnx or onnxscript is missing.
        TypeError: `converted` is no converted model.
        ValueError: the opset cannot store a weight, or an option is unknown.

    Example:
        >>> import edgeqat, tempfile, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> student = edgeqat.calibrate(student, [torch.randn(8, 4)])
        >>> export_onnx(edgeqat.convert(student), tempfile.mkdtemp() + "/model.onnx").name
        'model.onnx'
    """
    model = to_onnx(
        converted,
        opset=opset,
        weight_container=weight_container,
        activation_type=activation_type,
        optimize=optimize,
        bias=bias,
        addition=addition,
    )
    if model.ByteSize() > _MAX_BYTES:
        raise ValueError(
            f"export_onnx: the model has {model.ByteSize()} bytes, an .onnx file holds {_MAX_BYTES}; use narrower weights"
        )
    from edgeqat.checkpoint.atomic import atomic_write

    atomic_write(path, model.SerializeToString(deterministic=True))
    return Path(path)


def to_onnx(
    converted: Any,
    *,
    opset: int | None = None,
    weight_container: WeightContainer = "packed",
    activation_type: ActivationType = "uint8",
    optimize: bool = True,
    bias: BiasFormat = "auto",
    addition: Addition = "exact",
) -> ModelProto:
    """The `onnx.ModelProto` that `export_onnx` writes; same arguments and errors.

    Example:
        >>> import edgeqat, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> student = edgeqat.calibrate(student, [torch.randn(8, 4)])
        >>> to_onnx(edgeqat.convert(student)).opset_import[0].version
        18
    """
    require("onnx", "onnxscript", "ml_dtypes")
    _check_opset(opset)
    _check_choice("weight_container", weight_container, ("packed", "int8"))
    _check_choice("activation_type", activation_type, ("uint8", "int8"))
    _check_choice("bias", bias, ("auto", "float"))
    _check_choice("addition", addition, ("exact", "fused"))
    from edgeqat.export import (
        onnx_add,
        onnx_clip,
        onnx_finish,
        onnx_linear,
        onnx_trace,
        onnx_weights,
    )
    from edgeqat.export.onnx_qdq import Rewriter

    graph_module = onnx_weights.graph_module(converted)
    weights = onnx_weights.weights(graph_module)
    lowest = onnx_weights.lowest_opset(
        weights, packed=weight_container == "packed", least=OPSET_MIN
    )
    if opset is not None and opset < lowest.opset:
        raise ValueError(
            f"export_onnx: {lowest.reason} needs opset {lowest.opset}, found opset={opset}; raise it, or pass "
            "weight_container='int8' (scales per group need opset 21 in any container)"
        )
    traced = onnx_trace.trace(
        graph_module,
        code_names(converted, graph_module.graph),
        opset=opset or lowest.opset,
        optimize=optimize,
    )
    onnx_clip.drop_redundant_limits(traced.model)
    if addition == "exact":
        onnx_add.unfuse_inexact_additions(traced.model, activation_type)
    onnx_linear.fold_weight_transposes(traced.model, traced.names)
    bits = {weight.name: weight.bits for weight in weights}
    bits |= {f"{name}.transposed": width for name, width in bits.items()}
    rewritten = Rewriter(
        traced.model,
        names=traced.names,
        weight_bits=bits,
        weight_container=weight_container,
        activation_type=activation_type,
        bias=bias,
    ).run()
    return onnx_finish.finish(rewritten, converted)


def _check_opset(opset: int | None) -> None:
    if opset is not None and not OPSET_MIN <= opset <= OPSET_MAX:
        raise ValueError(f"export_onnx: opset must be {OPSET_MIN} to {OPSET_MAX}, found {opset}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"export_onnx: {name} must be one of {', '.join(choices)}, found {value!r}"
        )
