# SPDX-License-Identifier: Apache-2.0
"""The checkpoint file as dataclasses of NumPy arrays and JSON text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from edgeqat import _C


@dataclass(frozen=True)
class PackedTensor:
    """A quantized tensor: real value = (codes - zero_point) * scale.

    Attributes:
        codes: int8 (signed) or uint8, of the weight's shape.
        bits: 2 to 8; every code fits.
        scale: Name of a float32 tensor of the checkpoint. Its shape is [1] without `axis`,
            [codes.shape[axis]] with it; with `group_size` that of codes, axis divided by group_size.
        zero_point: Name of an int32 tensor of the same shape.
        axis: The dimension that has scales of its own; None: one scale for the tensor.
        group_size: Codes along `axis` that share a scale; None: one scale per index of `axis`.

    Example:
        >>> import numpy as np
        >>> weight = PackedTensor(np.array([[-8, 7]], np.int8), 4, "fc.weight.scale", "fc.weight.zero_point")
        >>> weight.bits, weight.axis
        (4, None)
    """

    codes: npt.NDArray[Any]
    bits: int
    scale: str
    zero_point: str
    axis: int | None = None
    group_size: int | None = None


@dataclass(frozen=True)
class CheckpointData:
    """All that a checkpoint holds.

    Attributes:
        plan: JSON text of the plan; empty: none.
        graph: JSON text of the lowered graph; empty: none.
        tensors: What is not packed: float leftovers, scales, zero points.
        packed: The quantized tensors, under the parameters' names.
        extra: Further members of the description, name to JSON text, kept verbatim.

    Example:
        >>> import numpy as np
        >>> list(CheckpointData(tensors={"fc.bias": np.zeros(2, np.float32)}).tensors)
        ['fc.bias']
    """

    plan: str = ""
    graph: str = ""
    tensors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    packed: Mapping[str, PackedTensor] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointEntry:
    """One tensor of the file: its code of the safetensors format, the weight's shape, bytes in the
    file, and the bits of a quantized tensor (0 for the others).

    Example:
        >>> CheckpointEntry("fc.weight", "U8", (2, 2), bytes=2, bits=4).bytes
        2
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    bits: int


@dataclass(frozen=True)
class CheckpointHeader:
    """What a checkpoint says about itself.

    Example:
        >>> CheckpointHeader(1, "quantized", "lsb-first-v1", "edgeqat", "", "", ()).layout
        'lsb-first-v1'
    """

    version: int
    kind: str
    layout: str
    producer: str
    plan: str
    graph: str
    entries: tuple[CheckpointEntry, ...]


def write_checkpoint(path: str | os.PathLike[str], data: CheckpointData) -> None:
    """Write a checkpoint atomically; the same data gives the same bytes.

    Raises:
        ValueError: the data contradict themselves (a code outside its bits, a scale that is not
            finite and > 0 or of the wrong shape, a graph that names a missing tensor); the message
            names the field.
        OSError: the system refuses; the old file is unchanged.

    Example:
        >>> import numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> write_checkpoint(path, CheckpointData(tensors={"fc.bias": np.ones(2, np.float32)}))
        >>> read_header(path).kind
        'quantized'
    """
    packed = {
        name: {
            "codes": entry.codes,
            "bits": entry.bits,
            "axis": entry.axis,
            "group_size": entry.group_size,
            "scale": entry.scale,
            "zero_point": entry.zero_point,
        }
        for name, entry in data.packed.items()
    }
    _C.save_checkpoint(
        path,
        plan=data.plan,
        graph=data.graph,
        tensors=dict(data.tensors),
        packed=packed,
        extra=dict(data.extra),
    )


def read_checkpoint(path: str | os.PathLike[str], *, verify: bool = True) -> CheckpointData:
    """Read and check a checkpoint.

    Args:
        path: The file.
        verify: Compare the checksums. Without it damage to the data is not found; the structure is
            checked in any case.

    Raises:
        FormatError: the file is damaged, truncated, contradicts itself or is of a newer version;
            the message names the file, the field, what was expected and what was found.
        OSError: the system refuses.

    Example:
        >>> import numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> write_checkpoint(path, CheckpointData(tensors={"fc.bias": np.ones(2, np.float32)}))
        >>> read_checkpoint(path).tensors["fc.bias"]
        array([1., 1.], dtype=float32)
    """
    raw = _C.load_checkpoint(path, verify=verify)
    packed = {name: PackedTensor(**entry) for name, entry in raw["packed"].items()}
    return CheckpointData(raw["plan"], raw["graph"], raw["tensors"], packed, raw["extra"])


def read_header(path: str | os.PathLike[str]) -> CheckpointHeader:
    """What a checkpoint says about itself, without reading its data.

    Raises:
        FormatError: the header is damaged, contradicts itself or is of a newer version.
        OSError: the system refuses.

    Example:
        >>> import numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> write_checkpoint(path, CheckpointData(tensors={"fc.bias": np.ones(2, np.float32)}))
        >>> [(entry.name, entry.dtype, entry.shape) for entry in read_header(path).entries]
        [('fc.bias', 'F32', (2,))]
    """
    raw = _C.read_header(path)
    entries = tuple(
        CheckpointEntry(e["name"], e["dtype"], tuple(e["shape"]), e["bytes"], e["bits"])
        for e in raw.pop("entries")
    )
    return CheckpointHeader(**raw, entries=entries)
