# SPDX-License-Identifier: Apache-2.0
"""Gives a rewritten ONNX model its last form: names of sizes and outputs, metadata, shapes, and a full check."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Any

import onnx
from onnx import ModelProto

from edgeqat.export.onnx_qdq import Rewritten

# IR version an opset came with; ONNX Runtime 1.31 refuses IR 14.
_IR_VERSIONS = {23: 11, 24: 12, 25: 13, 26: 13}
_DEFAULT_IR = 10


def finish(rewritten: Rewritten, converted: Any) -> ModelProto:
    """The model to write.

    Raises:
        onnx.checker.ValidationError: the model is not valid ONNX (a bug of edgeqat, never written to a file).
    """
    model = rewritten.model
    _rename_sizes(model)
    model.producer_name, model.producer_version = "edgeqat", _version()
    model.doc_string = ""
    model.graph.name = "edgeqat"
    model.graph.doc_string = ""
    del model.graph.metadata_props[:], model.metadata_props[:]
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    model.ir_version = max(_DEFAULT_IR, _IR_VERSIONS.get(opset, 0))
    for entry in (*model.graph.input, *model.graph.output):
        del entry.metadata_props[:]
        entry.doc_string = ""
    for key, value in _metadata(rewritten, converted).items():
        model.metadata_props.add(key=key, value=value)
    model = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _version() -> str:
    import edgeqat

    return edgeqat.__version__


def _metadata(rewritten: Rewritten, converted: Any) -> dict[str, str]:
    """What `verify` and a reader of the file need to know; no times, no paths, so that equal models give equal bytes."""
    tensors = {
        t.name: {k: v for k, v in asdict(t).items() if k != "name"}
        for t in sorted(rewritten.tensors, key=lambda t: t.name)
    }
    data = {
        "edgeqat.version": _version(),
        "edgeqat.tensors": json.dumps(tensors, sort_keys=True, separators=(",", ":")),
    }
    plan = getattr(converted, "plan", None)
    if plan is not None:
        text = json.dumps(plan.to_dict(), sort_keys=True, separators=(",", ":"))
        data["edgeqat.plan.sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return data


def _rename_sizes(model: ModelProto) -> None:
    """Call the first dynamic size of the first input 'batch', others 'size_1', ...: the exporter's s77 comes from a hash."""
    names: dict[str, str] = {}
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param and dim.dim_param not in names:
                first = axis == 0 and "batch" not in names.values()
                names[dim.dim_param] = "batch" if first else f"size_{len(names)}"
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b") if names else None
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and pattern is not None:
                dim.dim_param = pattern.sub(lambda match: names[match.group(1)], dim.dim_param)
