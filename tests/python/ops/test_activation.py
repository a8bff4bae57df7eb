# SPDX-License-Identifier: Apache-2.0
"""Fused activations: the values, bits and gradients of the activation followed by fake_quantize."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeqat import functional
from edgeqat.functional._activation import Activation, activation_code
from edgeqat.ops import _reference as reference
from edgeqat.testing import assert_bit_equal
from op_cases import DTYPES, GRANULARITIES, array, grid, tensor

NAMES: tuple[Activation, ...] = ("relu", "relu6", "hardswish")
ALONE = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6, "hardswish": F.hardswish}
SIZES = pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])


@SIZES
@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_grid(granularity: str, dtype: torch.dtype, activation: Activation, full: bool) -> None:
    for case in grid(granularity, dtype, full=full):
        q = case.qparams
        y, bits = functional.fake_quantize_train(
            case.x, *q.positional(), **q.options(), mask=case.mask, activation=activation
        )
        qparams = (q.scale.numpy(), q.zero_point.numpy(), q.qmin, q.qmax)
        options = {**q.options(), "mask": array(case.mask), "activation": activation}
        expected, passes = reference.fake_quantize(array(case.x), *qparams, **options)
        assert_bit_equal(y, tensor(expected, dtype), case.label)
        assert_bit_equal(bits, tensor(reference.pack_mask(passes)), case.label)
        x = case.x.detach().requires_grad_()
        same = functional.fake_quantize(
            x, *q.positional(), **q.options(), mask=case.mask, activation=activation
        )
        assert_bit_equal(same, y, case.label)
        grad = torch.linspace(-1.0, 1.0, x.numel()).reshape(x.shape).to(dtype)
        (actual,) = torch.autograd.grad(same, x, grad)
        slope = reference.activate(array(case.x), activation)[1]
        wanted = tensor(array(grad) * slope, dtype)
        flat = tensor(slope == 0.0) if activation != "hardswish" else x.detach() <= -3
        passes = tensor(passes) & ~flat
        assert_bit_equal(actual, wanted.where(passes, torch.zeros_like(wanted)), case.label)


@pytest.mark.parametrize("activation", NAMES)
def test_equals_torch_one_after_the_other(activation: Activation) -> None:
    generator = torch.Generator().manual_seed(1)
    x = (3 * torch.randn(50_000, generator=generator)).requires_grad_()
    grad = torch.randn(50_000, generator=generator)
    results = []
    for fused in (True, False):
        inner = x if fused else ALONE[activation or "none"](x)
        y = functional.fake_quantize(
            inner, 0.021, -100, -128, 127, activation=activation if fused else None
        )
        results.append((y, *torch.autograd.grad(y, x, grad)))
    assert_bit_equal(results[0][0], results[1][0])
    assert_bit_equal(results[0][1], results[1][1])


def test_gradient_stops_where_the_activation_does() -> None:
    # -0.1 and 0.1 get the same code; only 0.1 came through the relu
    x = torch.tensor([-0.1, 0.1, 0.0, 5.99, 6.0, torch.nan], requires_grad=True)
    functional.fake_quantize(x, 1.0, 0, -8, 7, activation="relu6").sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("activation", ["none", *NAMES])
def test_saved_for_backward(activation: Activation) -> None:
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        x = torch.randn(800, requires_grad=True)
        functional.fake_quantize(x, 0.1, 0, -8, 7, activation=activation)
    bits = [t for t in saved if t.dtype == torch.uint8]
    rest = [t for t in saved if t.dtype != torch.uint8]
    assert [t.numel() for t in bits] == [100]
    # hardswish keeps x by reference
    assert [t.data_ptr() for t in rest] == ([x.data_ptr()] if activation == "hardswish" else [])


@pytest.mark.parametrize("activation", NAMES)
def test_double_backward_is_the_same_selection(activation: Activation) -> None:
    x = torch.linspace(-4.0, 8.0, 41).requires_grad_()
    grad = torch.ones(41, requires_grad=True)
    y = functional.fake_quantize(x, 0.5, 0, -16, 15, activation=activation)
    (first,) = torch.autograd.grad(y, x, grad, create_graph=True)
    weight = torch.arange(41.0)
    (second,) = torch.autograd.grad(first, grad, weight)
    slope = reference.activate(x.detach().numpy(), activation)[1]
    assert_bit_equal(second, weight * tensor(slope) * (x.detach() < 7.75))  # 8 is code 16


@pytest.mark.parametrize("activation", NAMES)
def test_channels_last(activation: Activation) -> None:
    x = torch.randn(2, 6, 5, 4).contiguous(memory_format=torch.channels_last)
    results = []
    for data in (x, x.contiguous()):
        data = data.detach().requires_grad_()
        y = functional.fake_quantize(data, 0.05, 1, -8, 7, activation=activation)
        results.append((y, *torch.autograd.grad(y.square().sum(), data)))
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)
    assert_bit_equal(results[0][0], results[1][0])
    assert_bit_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("activation", NAMES)
def test_under_vmap_and_grad(activation: Activation) -> None:
    x = torch.linspace(-4.0, 8.0, 24).reshape(3, 8)

    def loss(row: Tensor) -> Tensor:
        return functional.fake_quantize(row, 0.5, 0, -16, 15, activation=activation).square().sum()

    expected = torch.stack([torch.func.grad(loss)(row) for row in x])
    assert_bit_equal(torch.vmap(torch.func.grad(loss))(x), expected)
    leaf = x.clone().requires_grad_()
    torch.stack([loss(row) for row in leaf]).sum().backward()
    assert leaf.grad is not None
    assert_bit_equal(leaf.grad, expected)


@pytest.mark.parametrize("activation", NAMES)
def test_compiles_without_a_graph_break(activation: Activation) -> None:
    def step(x: Tensor) -> Tensor:
        return functional.fake_quantize(x, 0.5, 0, -16, 15, activation=activation).square().sum()

    gradients = []
    for run in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        x = torch.linspace(-4.0, 8.0, 41).requires_grad_()
        run(x).backward()
        gradients.append(x.grad)
    assert_bit_equal(gradients[1], gradients[0])


def test_refusals() -> None:
    x = torch.zeros(8)
    with pytest.raises(ValueError, match=r"activation must be .*'gelu'"):
        functional.fake_quantize(x, 1.0, 0, -8, 7, activation="gelu")  # type: ignore[arg-type]
    scale, zero_point = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    for code in (-1, 4):
        with pytest.raises(RuntimeError, match=rf"activation must be 0 .* found {code}"):
            torch.ops.edgeqat.fake_quantize(x, scale, zero_point, -8, 7, activation=code)
    bits = torch.zeros(1, dtype=torch.uint8)
    with pytest.raises(ValueError, match="x must be the input of fake_quantize_train"):
        functional.fake_quantize_backward(x, bits, activation="hardswish")
    for wrong in (x.half(), torch.zeros(2, 4)):
        with pytest.raises(ValueError, match="fake_quantize_backward: x must be"):
            functional.fake_quantize_backward(x, bits, wrong, "hardswish")


def test_names() -> None:
    assert [activation_code(name) for name in (None, "none", *NAMES)] == [0, 0, 1, 2, 3]
