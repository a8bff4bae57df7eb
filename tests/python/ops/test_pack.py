# SPDX-License-Identifier: Apache-2.0
"""pack: bytes equal a bit-by-bit reference, and ONNX's own packing of 4-bit tensors."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import LAYOUTS, SHAPES, assert_bit_equal, layouts_of
from op_cases import SHORT, array, tensor

SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])


def random_codes(shape: tuple[int, ...], bits: int, signed: bool, seed: int) -> torch.Tensor:
    low = -(1 << (bits - 1)) if signed else 0
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(low, low + (1 << bits), shape, generator=generator)
    return codes.to(torch.int8 if signed else torch.uint8)


@SIZES
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_grid(bits: int, signed: bool, full: bool) -> None:
    for seed, shape in enumerate(SHAPES if full else SHORT):
        for name in layouts_of(shape):
            codes = LAYOUTS[name](random_codes(shape, bits, signed, seed))
            packed = functional.pack(codes, bits)
            expected = tensor(reference.pack(array(codes), bits))
            assert_bit_equal(packed, expected, f"{shape} {name}")
            restored = functional.unpack(packed, bits, shape, signed=signed)
            assert_bit_equal(restored, codes, f"{shape} {name}")


@pytest.mark.parametrize("signed", [True, False])
def test_bytes_are_those_of_onnx(signed: bool) -> None:
    helper = pytest.importorskip("onnx.helper", reason="onnx is not installed")
    from onnx import TensorProto

    codes = random_codes((3, 5), 4, signed, seed=0)
    kind = TensorProto.INT4 if signed else TensorProto.UINT4
    proto = helper.make_tensor("codes", kind, [3, 5], codes.flatten().tolist())
    packed = bytes(proto.raw_data) or bytes(value & 0xFF for value in proto.int32_data)
    assert bytes(functional.pack(codes, 4).tolist()) == packed


@pytest.mark.parametrize(("bits", "bad"), [(2, 2), (2, -3), (4, 8), (4, -9), (2, 127)])
def test_a_code_that_does_not_fit_is_refused(bits: int, bad: int) -> None:
    codes = torch.tensor([0, 1, bad, 0], dtype=torch.int8)
    with pytest.raises(ValueError, match=f"pack.*{bad}"):
        functional.pack(codes, bits)
