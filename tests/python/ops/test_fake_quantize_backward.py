# SPDX-License-Identifier: Apache-2.0
"""fake_quantize_backward: the gradient where the bit is set, +0 elsewhere, in every layout."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import LAYOUTS, SHAPES, assert_bit_equal, layouts_of, values
from op_cases import DTYPES, SHORT

SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])


@SIZES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_grid(dtype: torch.dtype, full: bool) -> None:
    seed = 0
    for shape in SHAPES if full else SHORT:
        for name in layouts_of(shape):
            seed += 1
            generator = torch.Generator().manual_seed(seed)
            grad = LAYOUTS[name](values(shape, dtype, 1.0, seed))
            size = ((grad.numel() + 7) // 8,)
            bits = torch.randint(0, 256, size, generator=generator).to(torch.uint8)
            element = torch.arange(grad.numel())
            passes = (bits[element // 8] >> (element % 8) & 1).bool().reshape(shape)
            actual = functional.fake_quantize_backward(grad, bits)
            expected = torch.where(passes, grad, torch.zeros_like(grad))
            assert_bit_equal(actual, expected, f"{dtype} {shape} {name}")
            assert actual.stride() == torch.empty_like(grad).stride(), (shape, name)


def test_strided_bits() -> None:
    grad = torch.ones(24)
    bits = torch.tensor([1, 99, 2, 99, 4, 99], dtype=torch.uint8)[::2]
    passed = functional.fake_quantize_backward(grad, bits).nonzero().flatten()
    assert passed.tolist() == [0, 9, 18]


def test_linear_in_the_gradient() -> None:
    grad = torch.randn(10, dtype=torch.float32, requires_grad=True)
    bits = torch.tensor([0b10101010, 0b01], dtype=torch.uint8)
    y = functional.fake_quantize_backward(grad, bits)
    weight = torch.arange(10.0)
    (second,) = torch.autograd.grad(y, grad, weight)
    assert_bit_equal(second, functional.fake_quantize_backward(weight, bits))
