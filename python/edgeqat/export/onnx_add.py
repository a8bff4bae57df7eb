# SPDX-License-Identifier: Apache-2.0
"""Keeps ONNX Runtime from fusing additions whose integer kernel would round some pair of codes the other way.

ONNX Runtime turns DequantizeLinear, Add, QuantizeLinear into QLinearAdd, which does not compute what the three nodes say: on
x86 it adds the output's zero point before it rounds, on Arm it multiplies with 22-bit integers. In 84 additions of twelve
ResNet-20s, 14 had one or two of their 65,536 pairs of codes on the wrong side of a tie on x86, 41 on Arm. Where such a pair is
frequent the whole network feels it: one pair of one layer changed the class of 0.8 % of the CIFAR-10 images.

Codes are few enough to try them all. An addition that every kernel computes exactly stays Add; any other one becomes Sum,
the same operation under a name that ONNX Runtime does not fuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, NodeProto

from edgeqat.export.onnx_constants import ActivationType, Array, Constants, activation_range
from edgeqat.export.onnx_translation import DEQUANTIZE, DOMAIN, PER_TENSOR, QUANTIZE

Addition = Literal["exact", "fused"]

# Operators that hand on values of their first input; a dequantize node is looked for behind them.
_MOVES = (
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Identity",
    "Slice",
    "Pad",
    "MaxPool",
    "Expand",
    "Gather",
    "Split",
)
_CLAMPS = ("Relu", "Clip")


@dataclass(frozen=True)
class StoredRange:
    """Codes low..high of one tensor as the file stores them, that stand for (code - zero_point) * scale."""

    scale: np.float32
    zero_point: int
    low: int
    high: int

    @property
    def codes(self) -> Array:
        """All of them."""
        return np.arange(self.low, self.high + 1, dtype=np.int64)


def unfuse_inexact_additions(model: ModelProto, activation_type: ActivationType) -> list[str]:
    """Turn Add into Sum where QLinearAdd would differ from float32 arithmetic on some pair of codes, in place.

    Args:
        model: the exporter's model with private quantize and dequantize nodes.
        activation_type: how activation codes will be stored.

    Returns:
        Outputs of the additions that were changed.
    """
    # ONNX Runtime on x86 turns many int8 tensors into uint8 ones, which moves zero points and with them the rounding
    kinds: tuple[ActivationType, ...] = (
        ("uint8", "int8") if activation_type == "int8" else ("uint8",)
    )
    finders = [_Finder(model, kind) for kind in kinds]
    changed = []
    for node in model.graph.node:
        if node.op_type == "Add" and node.domain == "" and not all(f.allows(node) for f in finders):
            node.op_type = "Sum"
            changed.append(node.output[0])
    return changed


def is_exact_when_fused(a: StoredRange, b: StoredRange, c: StoredRange) -> bool:
    """Whether every kernel of QLinearAdd gives the codes of dequantize, add, quantize for all pairs of codes.

    Example:
        >>> a, b = StoredRange(np.float32(0.02), 0, 0, 255), StoredRange(np.float32(0.03), 128, 0, 255)
        >>> is_exact_when_fused(a, b, StoredRange(np.float32(0.0371), 0, 0, 255))
        True
        >>> is_exact_when_fused(a, a, StoredRange(np.float32(0.04), 7, 0, 255))  # every other sum is a tie
        False
    """
    wanted = expected(a, b, c)
    return all(np.array_equal(found, wanted) for found in kernels(a, b, c))


def expected(a: StoredRange, b: StoredRange, c: StoredRange) -> Array:
    """Codes [codes of a, codes of b] of the sum, by docs/numerics.md: float32, division, half to even."""
    x = (a.codes - a.zero_point).astype(np.float32) * a.scale
    y = (b.codes - b.zero_point).astype(np.float32) * b.scale
    codes = np.rint((x[:, None] + y) / c.scale).astype(np.int64) + c.zero_point
    return np.clip(codes, c.low, c.high)


def kernels(a: StoredRange, b: StoredRange, c: StoredRange) -> Iterator[Array]:
    """The same codes as the kernels of ONNX Runtime 1.31 compute them, one array a kernel.

    x86: `fixed + a * ra + b * rb` with `fixed = zc - (ra * za + rb * zb)`, rounded last; SSE2 without fused multiply-add, AVX2
    with it; broadcasting may exchange the operands. Arm: ratios as integers of 22 bits, rounded half away from zero.
    """
    ra, rb = np.float32(a.scale / c.scale), np.float32(b.scale / c.scale)
    za, zb, zc = np.float32(a.zero_point), np.float32(b.zero_point), np.float32(c.zero_point)
    x, y = a.codes[:, None].astype(np.float32), b.codes.astype(np.float32)
    plain = zc - (ra * za + rb * zb)
    # the compiler fuses either product of the fixed part, or none
    fixed_parts = (plain, zc - _fused(ra, za, rb * zb), zc - _fused(rb, zb, ra * za))
    for first, r, second, s in ((x, ra, y, rb), (y, rb, x, ra)):
        yield _rounded((plain + first * r) + second * s, c)
        for fixed in fixed_parts:
            yield _rounded(_fused(second, s, _fused(first, r, fixed)), c)
    fixed_point = _fixed_point(a, b, c, ra, rb)
    if fixed_point is not None:
        yield fixed_point


def _fused(x: Any, factor: Any, addend: Any) -> Any:
    """Multiply-add with one rounding: products of 8 and 24 bits and their sums are exact in double."""
    return (np.float64(x) * np.float64(factor) + np.float64(addend)).astype(np.float32)


def _rounded(x: Array, c: StoredRange) -> Array:
    return np.clip(np.rint(x).astype(np.int64), c.low, c.high)


def _fixed_point(
    a: StoredRange, b: StoredRange, c: StoredRange, ra: np.float32, rb: np.float32
) -> Array | None:
    """The Arm kernel; None where a ratio is outside 2^-14..2^8 and it computes as the numerics say."""
    greater, smaller = max(float(ra), float(rb)), min(float(ra), float(rb))
    if smaller < 2.0**-14 or greater >= 2.0**8:
        return None
    shift = 21 - int(np.frexp(greater)[1] - 1)
    ma, mb = (int(np.rint(float(r) * 2.0**shift)) for r in (ra, rb))
    total = (a.codes[:, None] - a.zero_point) * ma + (b.codes - b.zero_point) * mb
    total = (total - (total < 0) + (1 << (shift - 1))) >> shift
    result: Array = np.clip(total + c.zero_point, c.low, c.high)
    return result


class _Finder:
    """Finds the ranges of codes around an addition."""

    def __init__(self, model: ModelProto, activation_type: ActivationType) -> None:
        self.activation_type = activation_type
        self.constants = Constants(model.graph)
        self.producers = {output: node for node in model.graph.node for output in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def allows(self, node: NodeProto) -> bool:
        """Whether the addition `node` may be fused, or cannot be."""
        a, b = (self.operand(name) for name in node.input)
        c = self.result(node.output[0])
        return a is None or b is None or c is None or is_exact_when_fused(a, b, c)

    def operand(self, value: str) -> StoredRange | None:
        """The codes behind `value`; None if it is no dequantized tensor with one scale."""
        node = self._behind(value)
        if node is None or node.domain != DOMAIN or node.op_type != DEQUANTIZE:
            return None
        if node.input[0] in self.constants:
            codes = self.constants[node.input[0]]
            return self._range(node, int(codes.min()), int(codes.max()), stored=True)
        maker = self._behind(node.input[0])
        if maker is None or maker.domain != DOMAIN or maker.op_type != QUANTIZE:
            return None
        return self._range(node, _integer(maker, "qmin"), _integer(maker, "qmax"))

    def result(self, value: str) -> StoredRange | None:
        """The codes that `value` is rounded to; None if anything but a clamp and one quantize node reads it."""
        readers = self.readers.get(value, [])
        while len(readers) == 1 and readers[0].op_type in _CLAMPS and readers[0].domain == "":
            readers = self.readers.get(readers[0].output[0], [])
        if len(readers) != 1 or readers[0].domain != DOMAIN or readers[0].op_type != QUANTIZE:
            return None
        return self._range(readers[0], _integer(readers[0], "qmin"), _integer(readers[0], "qmax"))

    def _behind(self, value: str) -> NodeProto | None:
        node = self.producers.get(value)
        while node is not None and node.domain == "" and node.op_type in _MOVES:
            node = self.producers.get(node.input[0])
        return node

    def _range(
        self, node: NodeProto, low: int, high: int, *, stored: bool = False
    ) -> StoredRange | None:
        """Codes low..high of `node`, moved to where the file stores them unless they lie there already."""
        if (
            _integer(node, "axis") != PER_TENSOR
            or node.input[1] not in self.constants
            or node.input[2] not in self.constants
        ):
            return None
        offset = 0 if stored else activation_range(low, high, self.activation_type).offset
        scale = np.float32(self.constants[node.input[1]].reshape(()))
        zero_point = int(self.constants[node.input[2]].reshape(()))
        return StoredRange(scale, zero_point + offset, low + offset, high + offset)


def _integer(node: NodeProto, name: str) -> int:
    return next(int(a.i) for a in node.attribute if a.name == name)
