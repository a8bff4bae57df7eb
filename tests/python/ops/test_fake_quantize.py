# SPDX-License-Identifier: Apache-2.0
"""fake_quantize: forward and backward on the whole grid, special values, saved memory."""

from __future__ import annotations

import math

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference as reference
from edgeqat.testing import (
    LAYOUTS,
    RANGES,
    SHAPES,
    SPECIAL_VALUES,
    QParams,
    assert_bit_equal,
    qparams,
    values,
)
from op_cases import DTYPES, GRANULARITIES, Case, array, grid, reference_fake_quantize, tensor

SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])


@SIZES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_forward_grid(granularity: str, dtype: torch.dtype, full: bool) -> None:
    for case in grid(granularity, dtype, full=full):
        q = case.qparams
        y = functional.fake_quantize(case.x, *q.positional(), **q.options(), mask=case.mask)
        assert_bit_equal(y, reference_fake_quantize(case)[0], case.label)
        assert y.stride() == torch.empty_like(case.x).stride(), case.label


@SIZES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_backward_grid(granularity: str, dtype: torch.dtype, full: bool) -> None:
    for case in grid(granularity, dtype, full=full):
        q = case.qparams
        x = case.x.detach().requires_grad_()
        expected, in_range = reference_fake_quantize(case)
        y = functional.fake_quantize(x, *q.positional(), **q.options(), mask=case.mask)
        assert_bit_equal(y, expected, case.label)
        grad = values(tuple(x.shape), dtype, 0.1, seed=x.numel())
        (actual,) = torch.autograd.grad(y, x, grad)
        assert_bit_equal(actual, torch.where(in_range, grad, torch.zeros_like(grad)), case.label)


@pytest.mark.parametrize("scale", [0.125, 0.1, 3.0, 1e-5, 1e10, 1.17549435e-38, 1e-40, 3.4e38])
@pytest.mark.parametrize(("qmin", "qmax"), RANGES)
def test_special_values_and_ties(scale: float, qmin: int, qmax: int) -> None:
    steps = torch.arange(2 * qmin - 300, 2 * qmax + 301).float() / 2
    edges = torch.cat(
        [steps.nextafter(torch.tensor(-torch.inf)), steps, steps.nextafter(steps + 1)]
    )
    x = torch.cat([edges * scale, torch.tensor(SPECIAL_VALUES)])
    for zero_point in (qmin, 0 if qmin < 0 else qmax // 2, qmax):
        parameters = (
            torch.tensor([scale]),
            torch.tensor([zero_point], dtype=torch.int32),
            qmin,
            qmax,
        )
        label = f"{scale} {zero_point} {qmin}..{qmax}"
        case = Case(label, x, QParams(*parameters, None, None), None)
        y = functional.fake_quantize(x, *parameters)
        assert_bit_equal(y, reference_fake_quantize(case)[0], case.label)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_propagates_and_infinity_saturates(dtype: torch.dtype) -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.3], dtype=dtype, requires_grad=True)
    y = functional.fake_quantize(x, 0.25, 0, -8, 7)
    assert_bit_equal(y, torch.tensor([math.nan, 1.75, -2.0, 0.25], dtype=dtype))
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert_bit_equal(x.grad, torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype))


def test_masked_elements_are_plus_zero_whatever_they_were() -> None:
    x = torch.tensor([math.nan, -3.0, math.inf, 1.0], requires_grad=True)
    mask = torch.tensor([False, False, False, True])
    y = functional.fake_quantize(x, 0.5, 3, -8, 7, mask=mask)
    assert_bit_equal(y, torch.tensor([0.0, 0.0, 0.0, 1.0]))
    (grad,) = torch.autograd.grad(y, x, torch.full((4,), math.nan))
    assert_bit_equal(grad, torch.tensor([0.0, 0.0, 0.0, math.nan]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_training_saves_one_bit_per_element(dtype: torch.dtype) -> None:
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    # a leaf that requires grad and a tensor in the middle of a graph
    leaf = torch.randn(64, 127, dtype=dtype, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for call in (functional.fake_quantize, torch.ops.edgeqat.fake_quantize):
            for x in (leaf, leaf + 1):
                saved.clear()
                y = call(x, torch.tensor([0.1]), torch.tensor([0], dtype=torch.int32), -128, 127)
                assert [(t.dtype, t.numel()) for t in saved] == [(torch.uint8, 64 * 127 // 8)]
                assert y.requires_grad


def test_without_gradient_nothing_is_saved() -> None:
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda tensor: tensor):
        x = torch.randn(8, requires_grad=True)
        with torch.no_grad():
            assert not functional.fake_quantize(x, 0.1, 0, -8, 7).requires_grad
        assert not functional.fake_quantize(x.detach(), 0.1, 0, -8, 7).requires_grad
    assert saved == []


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_gradient_is_that_of_a_clamp_in_float64(granularity: str) -> None:
    # the surrogate: clamping x half a step beyond the range has the STE as its true derivative
    q = qparams((6, 8), granularity, seed=4)
    generator = torch.Generator().manual_seed(0)
    x = torch.empty(6, 8).uniform_(-40.0, 40.0, generator=generator).requires_grad_()
    wide = x.detach().double().requires_grad_()
    scale, zero = (_spread(t, q.axis, q.group_size).double() for t in (q.scale, q.zero_point))
    low, high = (q.qmin - 0.5 - zero) * scale, (q.qmax + 0.5 - zero) * scale
    weight = torch.randn(6, 8, generator=generator)
    (wide.clamp(low, high) * weight.double()).sum().backward()
    y = functional.fake_quantize(x, *q.positional(), **q.options())
    (y * weight).sum().backward()
    assert x.grad is not None
    assert wide.grad is not None
    assert 0 < int((x.grad == 0).sum()) < x.numel()
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=0, atol=0)


def _spread(parameter: torch.Tensor, axis: int | None, group_size: int | None) -> torch.Tensor:
    if axis is None:
        return parameter.expand(6, 8)
    if group_size is None:
        return parameter.reshape([-1, 1] if axis % 2 == 0 else [1, -1]).expand(6, 8)
    return parameter.repeat_interleave(group_size, dim=axis)


def test_double_backward_is_the_same_selection() -> None:
    x = torch.tensor([0.3, 9.0, -0.2], requires_grad=True)
    for call in (functional.fake_quantize, torch.ops.edgeqat.fake_quantize):
        y = call(x, torch.tensor([0.25]), torch.tensor([0], dtype=torch.int32), -8, 7)
        (grad,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(grad.sum(), x)
        assert_bit_equal(second, torch.tensor([2.0, 0.0, 2.0]))


@pytest.mark.parametrize("call", [functional.fake_quantize, torch.ops.edgeqat.fake_quantize])
@pytest.mark.parametrize("x_requires_grad", [True, False])
def test_a_scale_that_wants_a_gradient_is_refused(call, x_requires_grad: bool) -> None:
    x = torch.randn(4, requires_grad=x_requires_grad)
    scale = torch.tensor([0.1], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"scale requires grad.*scale\.detach\(\)"):
        call(x, scale, torch.tensor([0], dtype=torch.int32), -8, 7)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_idempotent(granularity: str, dtype: torch.dtype) -> None:
    for seed in range(30):
        q = qparams((6, 8), granularity, seed)
        x = values((6, 8), dtype, 0.1, seed)
        once = functional.fake_quantize(x, *q.positional(), **q.options())
        twice = functional.fake_quantize(once, *q.positional(), **q.options())
        # 255 steps need 8 bits; bfloat16 has 8, so k * scale moves by at most half a step and with
        # an odd bound a clamped value may land on a tie: compare those where the grid fits
        fits = dtype == torch.float32 or q.qmax - q.qmin < 64
        if fits:
            assert_bit_equal(twice, once, f"seed {seed}")


def test_granularities_agree_where_scales_are_equal() -> None:
    x = values((6, 8), torch.float32, 0.1, seed=3)
    scale, zero_point = torch.tensor([0.1]), torch.tensor([1], dtype=torch.int32)
    expected = functional.fake_quantize(x, scale, zero_point, -8, 7)
    for shape, options in (((8,), {"axis": 1}), ((6, 2), {"axis": 1, "group_size": 4})):
        actual = functional.fake_quantize(
            x, scale.expand(shape), zero_point.expand(shape).contiguous(), -8, 7, **options
        )
        assert_bit_equal(actual, expected, str(options))


def test_scale_of_zero_dimensions_and_python_numbers() -> None:
    x = torch.randn(5)
    expected = functional.fake_quantize(x, 0.1, 2, -8, 7)
    scalar = functional.fake_quantize(
        x, torch.tensor(0.1), torch.tensor(2, dtype=torch.int32), -8, 7
    )
    assert_bit_equal(scalar, expected)


def test_output_never_aliases_the_input() -> None:
    x = torch.zeros(4)
    assert functional.fake_quantize(x, 1.0, 0, -8, 7).data_ptr() != x.data_ptr()


def test_flushing_denormals_changes_nothing_above_tiny_scales() -> None:
    x = torch.tensor([1e-45, -1e-39, 1e-38, 3e-5, -7e-30, 0.3, 1e-20])
    for scale in (1e-30, 1e-6, 0.1):
        expected = functional.fake_quantize(x, scale, 0, -8, 7)
        assert torch.set_flush_denormal(True)
        try:
            assert_bit_equal(functional.fake_quantize(x, scale, 0, -8, 7), expected)
        finally:
            torch.set_flush_denormal(False)


def test_activation_checkpointing_recomputes_the_same_bits() -> None:
    def block(x: torch.Tensor) -> torch.Tensor:
        return functional.fake_quantize(x * 3, 0.1, 0, -8, 7).square()

    gradients = []
    for run in (block, lambda x: torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)):
        x = torch.linspace(-1.0, 1.0, 64).requires_grad_()
        run(x).sum().backward()
        gradients.append(x.grad)
    assert_bit_equal(gradients[1], gradients[0])


def test_the_grid_is_large() -> None:
    # results compared with the reference by the tests of the ops, with one instruction set: forward,
    # backward, train, quantize (9 families each), backward op 3, observe 18, dequantize 6, pack 12
    assert len(SHAPES) >= 40
    assert len(LAYOUTS) >= 7
    points = sum(1 for _ in grid("tensor", torch.float32, full=True))
    assert points * (9 + 9 + 9 + 9 + 3 + 18 + 6 + 12) >= 25_000


@pytest.mark.parametrize("inner", [1, 2, 3, 7, 63, 64, 65, 170, 171, 255, 256, 257, 511, 512, 513])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels_that_end_around_a_block(channels: int, inner: int) -> None:
    # the kernels work on blocks of 512 elements: a channel may end one element before a block does
    for outer in (1, 2, 3):
        x = values((outer, channels, inner), torch.float32, 0.1, seed=inner)
        generator = torch.Generator().manual_seed(inner)
        scale = torch.rand(channels, generator=generator) + 0.05
        zero_point = torch.randint(-8, 8, (channels,), generator=generator, dtype=torch.int32)
        case = Case(f"outer {outer}", x, QParams(scale, zero_point, -8, 7, 1, None), None)
        y, bits = functional.fake_quantize_train(x, scale, zero_point, -8, 7, axis=1)
        expected, in_range = reference_fake_quantize(case)
        assert_bit_equal(y, expected, case.label)
        assert_bit_equal(bits, tensor(reference.pack_mask(array(in_range))), case.label)
        codes = functional.quantize(x, scale, zero_point, -8, 7, axis=1)
        wanted = reference.quantize(array(x), scale, zero_point, -8, 7, axis=1)
        assert_bit_equal(codes, tensor(wanted), case.label)
        low, high = torch.full((channels,), torch.inf), torch.full((channels,), -torch.inf)
        count = torch.zeros(2, dtype=torch.int64)
        functional.observe_minmax_(x, low, high, count, axis=1)
        expected_low, expected_high, _ = reference.observe_minmax([array(x)], None, 1)
        assert_bit_equal(low, tensor(expected_low), case.label)
        assert_bit_equal(high, tensor(expected_high), case.label)


# 2^-24: steps of float16 denormals; 129 / 128 and 1025 / 1024: products that are ties of 16-bit floats
@pytest.mark.parametrize(
    "scale", [2.0**-24, 2.0**-17, 1e-5, 0.1, 129 / 128, 2**-8 * 1025 / 1024, 3.0, 300.0]
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_value_of_the_16_bit_types(dtype: torch.dtype, scale: float) -> None:
    every_bit_pattern = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    for qmin, qmax, zero_point in ((-128, 127, 0), (0, 255, 3), (-8, 7, -8)):
        parameters = torch.tensor([scale]), torch.tensor([zero_point], dtype=torch.int32)
        q = QParams(*parameters, qmin, qmax, None, None)
        case = Case(f"{qmin}..{qmax}", every_bit_pattern, q, None)
        y, bits = functional.fake_quantize_train(every_bit_pattern, *q.positional())
        expected, in_range = reference_fake_quantize(case)
        assert_bit_equal(y, expected, case.label)
        assert_bit_equal(bits, tensor(reference.pack_mask(array(in_range))), case.label)
        codes = functional.quantize(every_bit_pattern, *q.positional())
        wanted = reference.quantize(array(every_bit_pattern), [scale], [zero_point], qmin, qmax)
        assert_bit_equal(codes, tensor(wanted), case.label)


def test_gradient_has_the_layout_of_the_result() -> None:
    """A row-major gradient behind a channels_last tensor makes BatchNorm's backward four times as slow."""
    x = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    seed = torch.randn(2, 8, 4, 4)
    state = (
        torch.tensor([torch.inf]),
        torch.tensor([-torch.inf]),
        torch.zeros(2, dtype=torch.int64),
    )
    qparams = (torch.tensor([0.1]), torch.zeros(1, dtype=torch.int32))
    for y in (
        functional.fake_quantize(x, *qparams, -8, 7),
        functional.observe_fake_quantize_(x, *state, *qparams, -8, 7, True),
        functional.lsq_fake_quantize(x, torch.tensor([0.1]), -8, 7, save="compact"),
    ):
        (grad,) = torch.autograd.grad(y, x, seed)
        assert grad.stride() == x.stride()
        assert torch.equal(grad[grad != 0], seed[grad != 0])
