# SPDX-License-Identifier: Apache-2.0
"""fake_quantize_train: the same values as fake_quantize, and the bits of the elements in range."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import assert_bit_equal
from op_cases import DTYPES, GRANULARITIES, array, grid, reference_fake_quantize, tensor

SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])


@SIZES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_values_and_bits_grid(granularity: str, dtype: torch.dtype, full: bool) -> None:
    for case in grid(granularity, dtype, full=full):
        q = case.qparams
        y, bits = functional.fake_quantize_train(
            case.x, *q.positional(), **q.options(), mask=case.mask
        )
        expected, in_range = reference_fake_quantize(case)
        assert_bit_equal(y, expected, case.label)
        assert_bit_equal(bits, tensor(reference.pack_mask(array(in_range))), case.label)


def test_spare_bits_are_zero() -> None:
    for n in range(1, 70):
        _, bits = functional.fake_quantize_train(torch.zeros(n), 1.0, 0, -8, 7)
        assert bits.numel() == (n + 7) // 8
        assert int(bits[-1]) == 2 ** ((n - 1) % 8 + 1) - 1, n


def test_gradient_through_the_train_op() -> None:
    x = torch.tensor([0.2, 9.0, 0.3], requires_grad=True)
    y, bits = functional.fake_quantize_train(x, 0.25, 0, -8, 7)
    assert y.requires_grad
    assert not bits.requires_grad
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert_bit_equal(grad, torch.tensor([1.0, 0.0, 1.0]))
