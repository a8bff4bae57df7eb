# SPDX-License-Identifier: Apache-2.0
"""Quantized checkpoints: one safetensors file with integer codes, scales, plan and graph.

Example:
    >>> import numpy as np, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> tensors = {
    ...     "fc.weight.scale": np.full(1, 0.5, np.float32),
    ...     "fc.weight.zero_point": np.zeros(1, np.int32),
    ... }
    >>> codes = np.array([[-8, 7], [1, 0]], np.int8)
    >>> weight = PackedTensor(codes, bits=4, scale="fc.weight.scale", zero_point="fc.weight.zero_point")
    >>> write_checkpoint(path, CheckpointData(tensors=tensors, packed={"fc.weight": weight}))
    >>> read_checkpoint(path).packed["fc.weight"].codes.tolist()
    [[-8, 7], [1, 0]]
"""

from __future__ import annotations

from edgeqat._C import FormatError
from edgeqat.checkpoint.atomic import atomic_path, atomic_write
from edgeqat.checkpoint.file import (
    CheckpointData,
    CheckpointEntry,
    CheckpointHeader,
    PackedTensor,
    read_checkpoint,
    read_header,
    write_checkpoint,
)

__all__ = [
    "CheckpointData",
    "CheckpointEntry",
    "CheckpointHeader",
    "FormatError",
    "PackedTensor",
    "atomic_path",
    "atomic_write",
    "read_checkpoint",
    "read_header",
    "write_checkpoint",
]
