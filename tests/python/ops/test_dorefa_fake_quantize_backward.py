# SPDX-License-Identifier: Apache-2.0
"""dorefa_fake_quantize_backward: the slope in float64, to the last digits float32 has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference_quantizers as reference
from edgeqat.testing import LAYOUTS, assert_bit_equal
from op_cases import DTYPES, GRANULARITIES, array, grid


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_grid(granularity: str, dtype: torch.dtype) -> None:
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}[dtype]
    smallest = {torch.float32: 1e-37, torch.bfloat16: 1e-37, torch.float16: 1e-7}[dtype]
    for seed, case in enumerate(grid(granularity, dtype, full=False)):
        x = (case.x.float() * 0.02).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        grad = torch.randn(x.shape, generator=generator).to(dtype)
        options = {**case.qparams.options(), "mask": case.mask}
        found = functional.dorefa_fake_quantize_backward(grad, x, **options)
        arrays = {**case.qparams.options(), "mask": array(case.mask)}
        wanted = reference.dorefa_fake_quantize_backward(array(grad), array(x), **arrays)
        wanted = np.where(
            np.abs(wanted) > torch.finfo(dtype).max, np.copysign(np.inf, wanted), wanted
        )
        values = array(found).astype(np.float64)
        bad = ~np.isclose(values, wanted, rtol=tolerance, atol=smallest, equal_nan=True)
        assert not bad.any(), f"{case.label}: {array(found)[bad]}, expected {wanted[bad]}"
        assert found.stride() == torch.empty_like(x).stride()


def test_the_layout_is_that_of_x() -> None:
    x, grad = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    wanted = functional.dorefa_fake_quantize_backward(grad, x, axis=1)
    for name in ("channels_last", "transposed", "step_two"):
        for other in ("contiguous", "channels_last"):
            laid_out, incoming = LAYOUTS[name](x), LAYOUTS[other](grad)
            found = functional.dorefa_fake_quantize_backward(incoming, laid_out, axis=1)
            assert_bit_equal(found, wanted, f"{name} {other}")
            assert found.stride() == torch.empty_like(laid_out).stride()


def test_the_slope_keeps_its_digits_where_tanh_is_one() -> None:
    x = torch.linspace(9.5, 40.0, 100)
    found = functional.dorefa_fake_quantize_backward(torch.ones(100), x)
    wanted = 1 / torch.cosh(x.double()) ** 2
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=0.0)
    assert (torch.tanh(x) == 1).all()


def test_gradients_of_other_types_and_shapes_are_refused() -> None:
    x = torch.randn(3, 4)
    for grad, name in ((x.bfloat16(), "grad must be a float32"), (x[:2], "grad must be of shape")):
        with pytest.raises(ValueError, match=rf"dorefa_fake_quantize_backward: {name}"):
            functional.dorefa_fake_quantize_backward(grad, x)
    with pytest.raises(ValueError, match=r"dorefa_fake_quantize_backward: x must be float32"):
        functional.dorefa_fake_quantize_backward(x.double(), x.double())
