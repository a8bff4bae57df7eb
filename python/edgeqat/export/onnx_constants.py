# SPDX-License-Identifier: Apache-2.0
"""Constants of an ONNX graph: named initialisers, integer containers and how narrow codes are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

Array = np.ndarray[Any, Any]

# Bits of a weight -> (ONNX type, NumPy type of the elements, first opset that has the type). A type holds a width if it
# holds a wider one: 3-bit codes -4..3 are INT4 values, no Clip needed for a constant.
_SIGNED = (
    (2, TensorProto.INT2, ml_dtypes.int2, 25),
    (4, TensorProto.INT4, ml_dtypes.int4, 21),
    (8, TensorProto.INT8, np.int8, 1),
)
_UNSIGNED = (
    (2, TensorProto.UINT2, ml_dtypes.uint2, 25),
    (4, TensorProto.UINT4, ml_dtypes.uint4, 21),
    (8, TensorProto.UINT8, np.uint8, 1),
)


@dataclass(frozen=True)
class Container:
    """The ONNX element type that stores codes of some width, and the first opset that has it."""

    type: int
    dtype: Any
    opset: int


def container(bits: int, *, signed: bool, packed: bool) -> Container:
    """The narrowest type for `bits`-bit codes; the 8-bit type if not `packed`."""
    rows = _SIGNED if signed else _UNSIGNED
    width = bits if packed else 8
    _, element, dtype, opset = next(row for row in rows if row[0] >= width)
    return Container(element, dtype, opset)


@dataclass(frozen=True)
class ActivationRange:
    """How activation codes qmin..qmax are stored: `stored = code + offset`, clipped to `clip_max` if that is not None."""

    dtype: Any
    offset: int
    clip_min: int | None
    clip_max: int | None


ActivationType = Literal["uint8", "int8"]


def activation_range(qmin: int, qmax: int, kind: ActivationType = "uint8") -> ActivationRange:
    """Storage of activation codes `qmin..qmax` in one byte.

    With "uint8" signed codes are stored from 0 on (-8..7 as 0..15), the zero point moved by the same amount, so the values are
    the same. ONNX Runtime on x86 runs its integer kernels on uint8 and rewrites an int8 tensor only where one
    DequantizeLinear follows QuantizeLinear directly. Measured with 1.31: with int8, a residual block (a tensor with two
    readers) or a Clip in between kept every Conv in float; with uint8 all of them became QLinearConv.

    Example:
        >>> activation_range(-8, 7)
        ActivationRange(dtype=<class 'numpy.uint8'>, offset=8, clip_min=None, clip_max=15)
    """
    dtype: Any = np.uint8 if kind == "uint8" or qmin >= 0 else np.int8
    offset = -qmin if dtype is np.uint8 and qmin < 0 else 0
    low, high = qmin + offset, qmax + offset
    limits = np.iinfo(dtype)
    return ActivationRange(
        dtype, offset, low if low > limits.min else None, high if high < limits.max else None
    )


class Constants:
    """The constants of the exporter's graph (to read) and the initialisers of the new graph (added by name)."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._added: dict[str, TensorProto] = {}
        self._tensors: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.domain == "":
                value = next((a.t for a in node.attribute if a.name == "value"), None)
                if value is not None:
                    self._tensors[node.output[0]] = value

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Array:
        return numpy_helper.to_array(self._tensors[name])

    @staticmethod
    def _tensor(name: str, value: Array, element: int | None) -> TensorProto:
        if element is None:
            return numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
        return numpy_helper.from_array(value.astype(dtype), name)

    def free(self, name: str, parts: Mapping[str, Array]) -> str:
        """Add each of `parts` as name + suffix, and return `name`, lengthened if another value has it.

        Two layers whose biases are equal have one bias in the exporter's graph, but a scale each.
        """
        while any(self._conflicts(name + suffix, value) for suffix, value in parts.items()):
            name += "_"
        for suffix, value in parts.items():
            self.add(name + suffix, value)
        return name

    def _conflicts(self, name: str, value: Array) -> bool:
        known = self._added.get(name)
        wanted = self._tensor(name, value, None)
        return known is not None and known.SerializeToString() != wanted.SerializeToString()

    def add(self, name: str, value: Array, element: int | None = None) -> str:
        """Add `value` as `name`, stored as ONNX type `element`; the same name twice must be the same bytes.

        Raises:
            ValueError: the name is taken by another value.
        """
        tensor = self._tensor(name, value, element)
        known = self._added.get(name)
        if known is not None and known.SerializeToString() != tensor.SerializeToString():
            raise ValueError(
                f"export_onnx: two different constants are called {name!r}; rename one of the modules"
            )
        self._added[name] = tensor
        return name

    def used(self, names: set[str]) -> list[TensorProto]:
        """The initialisers that `names` mentions, sorted by name, each under its name."""
        chosen = []
        tensors = self._tensors | self._added
        for name in sorted(names & tensors.keys()):
            tensor = TensorProto()
            tensor.CopyFrom(tensors[name])
            tensor.name = name
            tensor.doc_string = ""
            chosen.append(tensor)
        return chosen
