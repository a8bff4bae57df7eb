# SPDX-License-Identifier: Apache-2.0
"""The checkpoint format written a second time, in plain Python, so that tests can write files that lie."""

from __future__ import annotations

import copy
import json
import struct
from dataclasses import dataclass, field
from typing import Any

_TABLE: list[int] = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = (_crc >> 1) ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE.append(_crc)


def crc32c(data: bytes) -> int:
    """CRC-32C of `data`, one byte at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def digits(data: bytes) -> str:
    """The checksum as checkpoints write it."""
    return f"{crc32c(data):08x}"


def container(header: str | bytes, data: bytes = b"") -> bytes:
    """A safetensors file with this header text."""
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + data


def pack4(codes: list[int]) -> bytes:
    """4-bit codes, the first of a byte in its low half."""
    padded = codes + [0] * (len(codes) % 2)
    return bytes((a & 15) | (b & 15) << 4 for a, b in zip(padded[::2], padded[1::2], strict=True))


@dataclass
class Blob:
    """One tensor as the container holds it."""

    dtype: str
    shape: list[int]
    data: bytes


@dataclass
class File:
    """A checkpoint in parts; edit them, then `build`."""

    tensors: dict[str, Blob]
    meta: dict[str, Any]
    metadata: dict[str, str] = field(default_factory=lambda: {"format": "pt"})

    def build(self, *, checksums: bool = True, digest: bool = True) -> bytes:
        """The file's bytes, with checksums that fit what it says."""
        meta = copy.deepcopy(self.meta)
        if checksums:
            sums = {name: digits(blob.data) for name, blob in self.tensors.items()}
            meta["checksum"] = {"algorithm": "crc32c", "tensors": sums}
        return self.build_text(json.dumps(meta, separators=(",", ":")), digest=digest)

    def build_text(self, meta: str, *, digest: bool = True) -> bytes:
        """The file's bytes with this text as its description."""
        metadata = {**self.metadata, "edgeqat": meta}
        if digest:
            metadata["edgeqat_crc32c"] = self._digest(metadata)
        header: dict[str, Any] = {"__metadata__": metadata}
        offset = 0
        for name, blob in self.tensors.items():
            end = offset + len(blob.data)
            header[name] = {"dtype": blob.dtype, "shape": blob.shape, "data_offsets": [offset, end]}
            offset = end
        data = b"".join(blob.data for blob in self.tensors.values())
        return container(json.dumps(header, ensure_ascii=False), data)

    def _digest(self, metadata: dict[str, str]) -> str:
        parts = [f"{key}\0{metadata[key]}\0" for key in sorted(metadata)]
        for name in sorted(self.tensors, key=str.encode):
            blob = self.tensors[name]
            parts.append(f"{name}\0{blob.dtype}\0{','.join(map(str, blob.shape))}\0")
        return digits("".join(parts).encode())


def example() -> File:
    """A small valid checkpoint: a 4-bit weight with a scale per row, an 8-bit one, a bias, a graph."""
    floats = struct.Struct("<2f").pack
    tensors = {
        "fc.weight.scale": Blob("F32", [2], floats(0.25, 0.5)),
        "fc.weight.zero_point": Blob("I32", [2], struct.pack("<2i", 0, 1)),
        "fc.bias": Blob("F32", [2], floats(1.0, -2.0)),
        "x.scale": Blob("F32", [1], struct.pack("<f", 0.125)),
        "x.zero_point": Blob("I32", [1], struct.pack("<i", -128)),
        "head.weight": Blob("I8", [1, 2], bytes([0x80, 0x7F])),
        "fc.weight": Blob("U8", [3], pack4([-8, 7, 0, 1, -1])),
        "flag": Blob("BOOL", [2], b"\0\1"),
    }
    weight = {
        "bits": 4,
        "shape": [1, 5],
        "signed": True,
        "axis": None,
        "group_size": None,
        "scale": "x.scale",
        "zero_point": "zero",
    }
    tensors["zero"] = Blob("I32", [1], bytes(4))
    head = {**weight, "bits": 8, "shape": [1, 2], "scale": "fc.weight.scale", "axis": 1}
    head["zero_point"] = "fc.weight.zero_point"
    quant = {"bits": 4, "scale": "x.scale", "zero_point": "zero"}
    graph_tensors = {
        "x": _graph_tensor([-1, 5], "int8", {**quant, "bits": 8, "zero_point": "x.zero_point"}),
        "fc.weight": _graph_tensor([1, 5], "int8", quant, constant=True),
        "fc.bias": _graph_tensor([2], "float32", None, constant=True),
    }
    graph = {
        "format": "edgeqat.graph",
        "version": 1,
        "inputs": ["x"],
        "outputs": ["x"],
        "tensors": graph_tensors,
        "nodes": [],
    }
    meta = {
        "version": 1,
        "kind": "quantized",
        "layout": "lsb-first-v1",
        "producer": "test",
        "plan": {"recipe": "int8"},
        "graph": graph,
        "tensors": {"fc.weight": weight, "head.weight": head},
    }
    return File(tensors, meta)


def _graph_tensor(
    shape: list[int], dtype: str, quant: dict[str, Any] | None, *, constant: bool = False
) -> dict[str, Any]:
    return {"shape": shape, "dtype": dtype, "constant": constant, "quant": quant}
