# SPDX-License-Identifier: Apache-2.0
"""Empty tensors, zero dimensions, ranks up to 8 and zero-size axes: a right result or a typed refusal."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import assert_bit_equal
from op_cases import DTYPES, array, tensor

SHAPES: list[tuple[int, ...]] = [
    *((), (0,), (1,), (0, 3), (3, 0), (0, 0), (1, 0, 2), (2, 3, 0), (0, 4, 4, 4)),
    *((1, 1), (1, 1, 1), (1,) * 5, (1,) * 8, (2, 1, 2, 1, 2), (1, 3, 1, 1, 1, 1)),
    *((2,) * 6, (2,) * 8, (1, 2, 3, 1, 2, 3, 1), (3, 1, 1, 1, 1, 1, 1, 2), (64, 1), (1, 64)),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_per_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape).to(dtype).requires_grad_()
    y = functional.fake_quantize(x, 0.1, 1, -8, 7)
    expected, in_range = reference.fake_quantize(array(x), [0.1], [1], -8, 7)
    assert_bit_equal(y, tensor(expected, dtype))
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert_bit_equal(grad, tensor(in_range, dtype))
    codes = functional.quantize(x, 0.1, 1, -8, 7)
    assert_bit_equal(codes, tensor(reference.quantize(array(x), [0.1], [1], -8, 7)))
    restored = functional.dequantize(codes, 0.1, 1)
    assert_bit_equal(restored, tensor(reference.dequantize(array(codes), [0.1], [1])))
    packed = functional.pack(codes, 4)
    assert_bit_equal(packed, tensor(reference.pack(array(codes), 4)))
    assert_bit_equal(functional.unpack(packed, 4, shape, True), codes)
    state = torch.tensor([torch.inf]), torch.tensor([-torch.inf]), torch.zeros(2, dtype=torch.int64)
    functional.observe_minmax_(x, *state)
    assert state[2].tolist() == [int(x.numel() > 0), 0]
    if x.numel():
        assert state[0].item() == x.min().item()
        assert state[1].item() == x.max().item()
    else:
        assert state[0].item() == torch.inf


@pytest.mark.parametrize("shape", [s for s in SHAPES if s], ids=str)
def test_every_axis_from_both_ends(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    for axis in range(-len(shape), len(shape)):
        scale = torch.rand(shape[axis]) + 0.1
        zero_point = torch.zeros(shape[axis], dtype=torch.int32)
        y = functional.fake_quantize(x, scale, zero_point, -8, 7, axis=axis)
        expected, _ = reference.fake_quantize(
            array(x), array(scale), array(zero_point), -8, 7, axis=axis
        )
        assert_bit_equal(y, tensor(expected), f"axis {axis}")
        size = shape[axis]
        groups = scale.new_ones([1 if i == axis % len(shape) else n for i, n in enumerate(shape)])
        if size:
            zeros = torch.zeros_like(groups, dtype=torch.int32)
            options = {"axis": axis, "group_size": size}
            y = functional.fake_quantize(x, groups, zeros, -8, 7, **options)
            expected, _ = reference.fake_quantize(x, groups, zeros, -8, 7, **options)
            assert_bit_equal(y, tensor(expected), f"axis {axis}, one group")


def test_an_axis_of_a_number_is_refused() -> None:
    for axis in (0, -1):
        with pytest.raises((ValueError, IndexError), match="axis"):
            functional.fake_quantize(
                torch.tensor(1.0),
                torch.ones(1),
                torch.zeros(1, dtype=torch.int32),
                -8,
                7,
                axis=axis,
            )


def test_broadcast_dimension_of_size_zero_strides() -> None:
    x = torch.tensor(3.3).expand(5, 7)
    assert_bit_equal(functional.fake_quantize(x, 0.5, 0, -8, 7), torch.full((5, 7), 3.5))
    mask = torch.tensor(False).expand(5, 7)
    assert_bit_equal(functional.fake_quantize(x, 0.5, 0, -8, 7, mask=mask), torch.zeros(5, 7))
