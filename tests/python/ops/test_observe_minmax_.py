# SPDX-License-Identifier: Apache-2.0
"""observe_minmax_: ranges equal the reference's, non-finite values are counted and left out."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import LAYOUTS, SHAPES, assert_bit_equal, layouts_of, values
from op_cases import DTYPES, SHORT, array, tensor

SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])
State = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def fresh(channels: int = 1) -> State:
    return (
        torch.full((channels,), torch.inf),
        torch.full((channels,), -torch.inf),
        torch.zeros(2, dtype=torch.int64),
    )


def observe(
    batches: list[torch.Tensor],
    averaging: float | None,
    axis: int | None,
    mask: torch.Tensor | None = None,
) -> State:
    state = fresh(1 if axis is None else batches[0].shape[axis])
    for batch in batches:
        functional.observe_minmax_(batch, *state, averaging=averaging, axis=axis, mask=mask)
    return state


def check(
    batches: list[torch.Tensor],
    averaging: float | None,
    axis: int | None,
    label: str,
    mask: torch.Tensor | None = None,
) -> None:
    expected = reference.observe_minmax([array(b) for b in batches], averaging, axis, array(mask))
    for actual, wanted in zip(observe(batches, averaging, axis, mask), expected, strict=True):
        assert_bit_equal(actual, tensor(wanted), label)


@SIZES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("averaging", [None, 0.1])
def test_grid(averaging: float | None, dtype: torch.dtype, full: bool) -> None:
    seed = 0
    for shape in SHAPES if full else SHORT:
        for name in layouts_of(shape):
            seed += 1
            # 0.01 keeps max - min of two batches finite in float16
            batches = [LAYOUTS[name](values(shape, dtype, 0.01, seed + i)) for i in range(2)]
            for axis in (None, seed % len(shape), -1 - seed % len(shape)):
                check(batches, averaging, axis, f"{dtype} {shape} {name} axis={axis}")


@pytest.mark.parametrize("averaging", [None, 0.01, 0.3, 1.0])
def test_many_batches(averaging: float | None) -> None:
    batches = [torch.randn(7, 33, generator=torch.Generator().manual_seed(i)) for i in range(100)]
    check(batches, averaging, 0, "per channel")
    check(batches, averaging, None, "per tensor")


def test_one_nan_and_one_infinity_in_a_hundred_batches() -> None:
    batches = [torch.randn(64, generator=torch.Generator().manual_seed(i)) for i in range(100)]
    clean = [b.clone() for b in batches]
    clean[40] = clean[40][torch.arange(64) != 3]
    clean[70] = clean[70][torch.arange(64) != 9]
    batches[40][3], batches[70][9] = torch.nan, torch.inf
    minimum, maximum, count = observe(batches, None, None)
    expected_minimum, expected_maximum, _ = observe(clean, None, None)
    assert_bit_equal(minimum, expected_minimum)
    assert_bit_equal(maximum, expected_maximum)
    assert count.tolist() == [100, 2]


@pytest.mark.parametrize("averaging", [None, 0.1])
def test_a_channel_without_finite_values_keeps_its_state(averaging: float | None) -> None:
    state = fresh(2)
    bad = torch.tensor([[torch.nan, torch.inf], [1.0, 2.0]])
    functional.observe_minmax_(bad, *state, averaging=averaging, axis=0)
    assert state[0].tolist() == [torch.inf, 1.0]
    assert state[1].tolist() == [-torch.inf, 2.0]
    functional.observe_minmax_(torch.tensor([[3.0], [1.0]]), *state, averaging=averaging, axis=0)
    assert state[0][0] == state[1][0] == 3.0
    assert state[2].tolist() == [2, 2]


def test_negative_zero_counts_as_zero() -> None:
    minimum, maximum, _ = observe([torch.tensor([-0.0]), torch.tensor([0.0, -0.0])], None, None)
    assert_bit_equal(minimum, torch.tensor([0.0]))
    assert_bit_equal(maximum, torch.tensor([0.0]))


@pytest.mark.parametrize("call", [functional.observe_minmax_, torch.ops.edgeqat.observe_minmax_])
def test_statistics_never_require_grad(call) -> None:
    state = fresh()
    call(torch.randn(8, requires_grad=True) * 2, *state)
    assert not any(t.requires_grad or t.grad_fn for t in state)
    assert state[0].isfinite().all()


def test_updates_in_place_and_marks_the_version() -> None:
    state = fresh()
    before = [(t.data_ptr(), t._version) for t in state]
    functional.observe_minmax_(torch.ones(3), *state)
    for tensor_, (pointer, version) in zip(state, before, strict=True):
        assert tensor_.data_ptr() == pointer
        assert tensor_._version > version


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_value_of_the_16_bit_types(dtype: torch.dtype) -> None:
    every_bit_pattern = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).reshape(4096, 16)
    check([every_bit_pattern], None, 0, "rows")
    check([every_bit_pattern], None, 1, "columns")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_pruned_elements_are_not_there(axis: int | None, dtype: torch.dtype) -> None:
    shape = (3, 5, 40)
    names = list(layouts_of(shape))
    for position, name in enumerate(names):
        batches = [LAYOUTS[name](values(shape, dtype, 0.01, position + i)) for i in range(2)]
        keep = torch.rand(shape, generator=torch.Generator().manual_seed(position)) < 0.3
        keep[:, 2] = False  # a channel without survivors
        check(batches, 0.1, axis, name, LAYOUTS[names[position - 1]](keep))


def test_the_scale_of_a_pruned_weight_is_that_of_its_survivors() -> None:
    weight = torch.tensor([[0.5, -9.0, 0.25], [7.0, -1.0, 1.0]])
    mask = weight.abs() < 5
    low, high, count = observe([weight], None, 0, mask)
    scale, _ = functional.choose_qparams(low, high, -127, 127, symmetric=True)
    torch.testing.assert_close(scale, torch.tensor([0.5, 1.0]) / 127)
    assert count.tolist() == [1, 0]


def test_refuses_another_mask() -> None:
    for wrong in (torch.ones(3), torch.ones(4, dtype=torch.bool)):
        with pytest.raises(ValueError, match="observe_minmax_: mask must be"):
            functional.observe_minmax_(torch.zeros(3), *fresh(), mask=wrong)
