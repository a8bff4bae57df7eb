# SPDX-License-Identifier: Apache-2.0
"""quantize: codes equal the reference's on the whole grid, and agree with fake_quantize."""

from __future__ import annotations

import math

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import RANGES, SPECIAL_VALUES, assert_bit_equal
from op_cases import DTYPES, GRANULARITIES, array, grid, tensor

SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])


@SIZES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_grid(granularity: str, dtype: torch.dtype, full: bool) -> None:
    for case in grid(granularity, dtype, full=full):
        q = case.qparams
        codes = functional.quantize(case.x, *q.positional(), **q.options())
        expected = reference.quantize(
            array(case.x), array(q.scale), array(q.zero_point), q.qmin, q.qmax, **q.options()
        )
        assert_bit_equal(codes, tensor(expected), case.label)
        assert codes.stride() == torch.empty_like(case.x).stride(), case.label


@pytest.mark.parametrize("scale", [0.125, 0.1, 1e-5, 1e10, 1.17549435e-38, 1e-40, 3.4e38])
@pytest.mark.parametrize(("qmin", "qmax"), RANGES)
def test_special_values(scale: float, qmin: int, qmax: int) -> None:
    x = torch.tensor(SPECIAL_VALUES)
    for zero_point in (qmin, 0 if qmin < 0 else qmax // 2, qmax):
        parameters = torch.tensor([scale]), torch.tensor([zero_point], dtype=torch.int32)
        codes = functional.quantize(x, *parameters, qmin, qmax)
        expected = reference.quantize(array(x), [scale], [zero_point], qmin, qmax)
        assert_bit_equal(codes, tensor(expected), f"zero point {zero_point}")


def test_nan_gets_the_code_of_zero_and_infinity_saturates() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    assert functional.quantize(x, 0.5, 3, -8, 7).tolist() == [3, 7, -8, 3]
    assert functional.quantize(x, 0.5, 3, 0, 15).tolist() == [3, 15, 0, 3]


def test_quantize_then_dequantize_is_fake_quantize() -> None:
    for case in grid("channel", torch.float32, full=False):
        q = case.qparams
        x = case.x.nan_to_num(0.0)
        codes = functional.quantize(x, *q.positional(), **q.options())
        y = functional.dequantize(codes, q.scale, q.zero_point, **q.options())
        expected = functional.fake_quantize(x, *q.positional(), **q.options())
        assert_bit_equal(y, expected, case.label)


def test_codes_carry_no_gradient() -> None:
    codes = functional.quantize(torch.randn(4, requires_grad=True), 0.1, 0, -8, 7)
    assert not codes.requires_grad
