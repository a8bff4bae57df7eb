# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds: plan, tensors with their bytes, graph; from the header alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from edgeqat._C import Graph
from edgeqat.checkpoint import CheckpointHeader, read_checkpoint, read_header
from edgeqat.quantization.plan import Plan

FLOAT_BYTES = 4


def describe(path: Path, *, check_data: bool = False) -> dict[str, Any]:
    """The file's content, ready for JSON.

    Args:
        path: the checkpoint.
        check_data: also read all data and compare the checksums.

    Raises:
        FormatError: the file is damaged or no checkpoint.
        OSError: the system refuses.
    """
    header = read_header(path)
    if check_data:
        read_checkpoint(path, verify=True)
    return {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "version": header.version,
        "kind": header.kind,
        "layout": header.layout,
        "producer": header.producer,
        "data_checked": check_data,
        "tensor_bytes": sum(entry.bytes for entry in header.entries),
        "float_bytes": _float_bytes(header),
        "plan": json.loads(header.plan) if header.plan else None,
        "tensors": [vars(entry) | {"shape": list(entry.shape)} for entry in header.entries],
        "graph": json.loads(Graph.parse(header.graph).serialize()) if header.graph else None,
    }


def render(content: dict[str, Any]) -> str:
    """The content as tables."""
    checked = "checksums compared" if content["data_checked"] else "header only, data not read"
    ratio = content["file_bytes"] / max(content["float_bytes"], 1)
    parts = [
        f"{content['file']}: {content['kind']} model, format {content['version']}, layout {content['layout']}, "
        f"written by {content['producer']} ({checked})",
        f"{content['file_bytes']:,} bytes, {ratio:.3f} of the same weights in float32 "
        f"({content['float_bytes']:,} bytes)",
    ]
    if content["plan"] is not None:
        parts += ["plan", str(Plan.from_dict(content["plan"]))]
    parts += ["tensors", tabulate(*_tensor_rows(content["tensors"]), disable_numparse=True)]
    if content["graph"] is not None:
        parts += ["graph", tabulate(*_node_rows(content["graph"]), disable_numparse=True)]
    return "\n\n".join(parts)


def _float_bytes(header: CheckpointHeader) -> int:
    """Bytes of the float model: quantized tensors at 4 bytes a value, their scales left out."""
    total = 0
    for entry in header.entries:
        elements = 1
        for size in entry.shape:
            elements *= size
        if entry.bits:
            total += elements * FLOAT_BYTES
        elif entry.dtype == "F32" and not entry.name.endswith("scale"):
            total += entry.bytes
    return total


def _tensor_rows(tensors: list[dict[str, Any]]) -> tuple[list[list[str]], list[str]]:
    rows = []
    for tensor in tensors:
        width = f"{tensor['bits']} bit" if tensor["bits"] else tensor["dtype"]
        shape = "x".join(map(str, tensor["shape"])) or "scalar"
        rows.append([tensor["name"], shape, width, f"{tensor['bytes']:,}"])
    return rows, ["name", "shape", "stored as", "bytes"]


def _node_rows(graph: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
    rows = []
    for node in graph["nodes"]:
        activation = node["activation"]["kind"] if node["activation"] else ""
        inputs = ", ".join(name or "-" for name in node["inputs"])
        rows.append([node["name"], node["op"], activation, inputs, node["source"]])
    return rows, ["node", "op", "activation", "inputs", "source"]
