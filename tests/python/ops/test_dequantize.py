# SPDX-License-Identifier: Apache-2.0
"""dequantize: (code - zero_point) * scale in float32, for every code and every layout."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import LAYOUTS, SHAPES, assert_bit_equal, layouts_of, qparams
from op_cases import GRANULARITIES, SHORT, array, tensor

SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])


@SIZES
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8], ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_grid(granularity: str, dtype: torch.dtype, full: bool) -> None:
    seed = 0
    for shape in SHAPES if full else SHORT:
        for name in layouts_of(shape):
            seed += 1
            q = qparams(shape, granularity, seed)
            zero_point = q.zero_point.clamp(*((-128, 127) if dtype == torch.int8 else (0, 255)))
            generator = torch.Generator().manual_seed(seed)
            codes = LAYOUTS[name](torch.randint(0, 256, shape, generator=generator).to(dtype))
            y = functional.dequantize(codes, q.scale, zero_point, **q.options())
            expected = reference.dequantize(
                array(codes), array(q.scale), array(zero_point), **q.options()
            )
            label = f"{dtype} {shape} {name} {q.options()}"
            assert_bit_equal(y, tensor(expected), label)
            assert y.stride() == torch.empty_like(codes).stride(), label


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8], ids=str)
@pytest.mark.parametrize("scale", [0.1, 1.17549435e-38, 1e-40, 1e38])
def test_every_code(dtype: torch.dtype, scale: float) -> None:
    codes = torch.arange(256).to(dtype)
    for zero_point in (-128, 0, 127) if dtype == torch.int8 else (0, 127, 255):
        y = functional.dequantize(codes, scale, zero_point)
        expected = reference.dequantize(array(codes), [scale], [zero_point])
        assert_bit_equal(y, tensor(expected), f"{zero_point}")
