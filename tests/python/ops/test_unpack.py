# SPDX-License-Identifier: Apache-2.0
"""unpack: every byte of every width, every length, and the inverse of pack."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import assert_bit_equal
from op_cases import array, tensor


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_byte_and_every_length(bits: int, signed: bool) -> None:
    every_byte = torch.arange(256, dtype=torch.int64).to(torch.uint8)
    for n in [*range(1, 130), 256 * 8 // bits]:
        packed = every_byte.repeat(2)[: (n * bits + 7) // 8]
        codes = functional.unpack(packed, bits, (n,), signed=signed)
        expected = reference.unpack(array(packed), bits, (n,), signed)
        assert_bit_equal(codes, tensor(expected), f"{n} codes")


def test_shape_and_layout() -> None:
    packed = torch.arange(12, dtype=torch.uint8)[::2]
    codes = functional.unpack(packed, 4, (3, 1, 4), signed=False)
    assert codes.shape == (3, 1, 4)
    assert codes.is_contiguous()
    assert codes.flatten().tolist() == [0, 0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0]


def test_pack_is_the_inverse_on_whole_bytes() -> None:
    packed = torch.randint(0, 256, (999,)).to(torch.uint8)
    for bits in (2, 4, 8):
        for signed in (True, False):
            codes = functional.unpack(packed, bits, (999 * 8 // bits,), signed=signed)
            assert_bit_equal(functional.pack(codes, bits), packed)
