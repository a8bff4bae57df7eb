# SPDX-License-Identifier: Apache-2.0
"""choose_qparams: both rules against a float64 reference, dead channels, refusals."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import RANGES, assert_bit_equal
from op_cases import array, tensor

TINY = 1.17549435e-38


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("qmin", "qmax"), RANGES)
def test_random_ranges(qmin: int, qmax: int, symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(qmax)
    exponent = torch.empty(20_000).uniform_(-40, 38, generator=generator)
    a, b = torch.randn(2, 20_000, generator=generator).unbind()
    a, b = a * 10**exponent / 8, b * 10**exponent / 8
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    actual = functional.choose_qparams(low, high, qmin, qmax, symmetric)
    expected = reference.choose_qparams(array(low), array(high), qmin, qmax, symmetric)
    assert_bit_equal(actual[0], tensor(expected[0]), "scale")
    assert_bit_equal(actual[1], tensor(expected[1]), "zero point")
    assert bool((actual[0] >= TINY).all())
    assert int(actual[1].min()) >= qmin
    assert int(actual[1].max()) <= qmax


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("low", "high"),
    [(torch.inf, -torch.inf), (0.0, 0.0), (-1e-45, 1e-45), (0.0, 1e-39), (-0.0, 0.0)],
)
def test_dead_channels_get_scale_one(low: float, high: float, symmetric: bool) -> None:
    for qmin, qmax in RANGES:
        scale, zero_point = functional.choose_qparams(
            torch.tensor([low]), torch.tensor([high]), qmin, qmax, symmetric
        )
        middle = (qmin + qmax + 1) // 2
        assert scale.tolist() == [1.0]
        assert zero_point.tolist() == [0 if qmin < 0 or not symmetric else middle]


def test_extreme_ranges_stay_finite() -> None:
    largest = torch.tensor([3.4028235e38])
    for symmetric in (True, False):
        scale, zero_point = functional.choose_qparams(-largest, largest, -128, 127, symmetric)
        assert scale.isfinite().all()
        assert zero_point.tolist() == [0]


def test_symmetric_narrow_range_is_amax_over_127() -> None:
    low, high = torch.tensor([-0.3, -2.0]), torch.tensor([1.27, 1.0])
    scale, zero_point = functional.choose_qparams(low, high, -127, 127, True)
    assert_bit_equal(scale, (torch.tensor([1.27, 2.0]).double() / 127).float())
    assert zero_point.tolist() == [0, 0]


def test_zero_has_an_exact_code_in_affine_mode() -> None:
    low, high = torch.tensor([0.5, -2.0, -3.0]), torch.tensor([1.5, -1.0, 4.0])
    scale, zero_point = functional.choose_qparams(low, high, 0, 255, False)
    assert_bit_equal(scale, (torch.tensor([1.5, 2.0, 7.0]).double() / 255).float())
    assert zero_point.tolist() == [0, 255, 109]


@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3), (), (0,)])
def test_shape_is_kept(shape: tuple[int, ...]) -> None:
    scale, zero_point = functional.choose_qparams(
        torch.zeros(shape), torch.ones(shape), -8, 7, True
    )
    assert scale.shape == zero_point.shape == shape
    assert (scale.dtype, zero_point.dtype) == (torch.float32, torch.int32)


@pytest.mark.parametrize(
    ("low", "high"), [(torch.nan, 1.0), (0.0, torch.nan), (0.0, torch.inf), (2.0, 1.0)]
)
def test_impossible_ranges_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=r"choose_qparams: min_val, max_val must be finite"):
        functional.choose_qparams(torch.tensor([low]), torch.tensor([high]), -8, 7, True)
