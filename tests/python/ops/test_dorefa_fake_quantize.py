# SPDX-License-Identifier: Apache-2.0
"""dorefa_fake_quantize: the reference's codes except beside ties, gradients of float64 autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference_quantizers as reference
from edgeqat.testing import assert_bit_equal
from op_cases import DTYPES, GRANULARITIES, array, grid, tensor

RANGES = ((-1, 1), (-2, 1), (-7, 7), (-8, 7), (-127, 127))


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_grid(granularity: str, dtype: torch.dtype, full: bool) -> None:
    for i, case in enumerate(grid(granularity, dtype, full=full)):
        options = {**case.qparams.options(), "mask": case.mask}
        x = (case.x.float() * 0.02).to(dtype)  # weights; the special values stay special
        qmin, qmax = RANGES[i % len(RANGES)]
        y = functional.dorefa_fake_quantize(x, qmin, qmax, **options)
        arrays = {**case.qparams.options(), "mask": array(case.mask)}
        wanted, position = reference.dorefa_fake_quantize(array(x), qmin, qmax, **arrays)
        with np.errstate(invalid="ignore"):
            beside = np.abs(np.abs(position) % 1.0 - 0.5) < 1e-4
        clear = torch.from_numpy(~beside)
        found, expected = y[clear], tensor(wanted, dtype)[clear]
        assert_bit_equal(found, expected, case.label)
        assert (y.float() - tensor(wanted)).abs().nan_to_num().max() <= 1.02 / qmax
        assert y.stride() == torch.empty_like(x).stride()


def test_values_are_those_of_fake_quantize_with_the_scale_of_a_runtime() -> None:
    x = torch.randn(50, 40)
    for qmin, qmax in RANGES:
        y = functional.dorefa_fake_quantize(x, qmin, qmax)
        assert_bit_equal(functional.fake_quantize(y, 1.0 / qmax, 0, qmin, qmax), y)
        codes = functional.quantize(y, 1.0 / qmax, 0, qmin, qmax)
        assert codes.abs().max() == qmax


def formula(x: torch.Tensor, axis: int | None) -> torch.Tensor:
    """t in float64, with the maximum as a constant; its gradient is that of y."""
    dims = [d for d in range(x.ndim) if d != axis] if axis is not None else list(range(x.ndim))
    largest = x.detach().abs().amax(dims, keepdim=True)
    return torch.tanh(x) / torch.tanh(largest)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_gradients_are_those_of_float64_autograd(axis: int | None) -> None:
    x = (0.7 * torch.randn(6, 5, 9)).requires_grad_()
    exact = x.detach().double().requires_grad_()
    grad = torch.randn(6, 5, 9)
    positive = None if axis is None else axis % 3
    for call in (functional.dorefa_fake_quantize, torch.ops.edgeqat.dorefa_fake_quantize):
        (found,) = torch.autograd.grad(call(x, -7, 7, axis=axis), x, grad)
        (wanted,) = torch.autograd.grad(formula(exact, positive), exact, grad.double())
        torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-9)


def test_second_derivatives_are_those_of_float64_autograd() -> None:
    x = (0.7 * torch.randn(6, 5)).requires_grad_()
    exact = x.detach().double().requires_grad_()
    grad = torch.randn(6, 5, requires_grad=True)
    exact_grad = grad.detach().double().requires_grad_()
    weights = torch.randn(6, 5)
    y = functional.dorefa_fake_quantize(x, -7, 7)
    (first,) = torch.autograd.grad(y, x, grad, create_graph=True)
    found = torch.autograd.grad((first * weights).sum(), (grad, x))
    (first_exact,) = torch.autograd.grad(formula(exact, None), exact, exact_grad, create_graph=True)
    wanted = torch.autograd.grad((first_exact * weights).sum(), (exact_grad, exact))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-6, atol=1e-8)


def test_the_mask_prunes_values_gradients_and_the_maximum() -> None:
    x = torch.tensor([0.5, -0.25, 9.0], requires_grad=True)
    mask = torch.tensor([True, True, False])
    y = functional.dorefa_fake_quantize(x, -7, 7, mask=mask)
    assert_bit_equal(y.detach(), torch.tensor([7.0, -4.0, 0.0]) * torch.tensor(1.0 / 7.0))
    (grad,) = torch.autograd.grad(y.sum(), x)
    t = torch.tanh(torch.tensor([0.5, 0.25], dtype=torch.float64))
    wanted = torch.cat([(1 - t * t) / t[0], torch.zeros(1, dtype=torch.float64)])
    torch.testing.assert_close(grad.double(), wanted, rtol=1e-6, atol=0.0)


def test_values_without_a_range() -> None:
    inf, nan = torch.inf, torch.nan
    x = torch.tensor([[0.0, -0.0, 0.0], [inf, -inf, nan], [1e-42, 0.0, -1e-42], [inf, 0.5, -0.5]])
    y = functional.dorefa_fake_quantize(x, -1, 1, axis=0)
    wanted = [[0.0, 0.0, 0.0], [1.0, -1.0, nan], [0.0, 0.0, 0.0], [1.0, 1.0, -1.0]]
    assert_bit_equal(y, torch.tensor(wanted))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_degenerate_shapes(shape: tuple[int, ...]) -> None:
    y = functional.dorefa_fake_quantize(torch.full(shape, -0.3), -1, 1)
    assert_bit_equal(y, torch.full(shape, -1.0))


def test_keeps_x_by_reference() -> None:
    x = torch.randn(64, 64, requires_grad=True)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        functional.dorefa_fake_quantize(x, -7, 7)
    assert [t.data_ptr() for t in saved] == [x.data_ptr()]


def test_same_twice_and_with_any_number_of_threads() -> None:
    x = torch.randn(513, 1537)
    grad = torch.randn(513, 1537)
    before = torch.get_num_threads()
    try:
        for axis in (None, 0, 1):
            torch.set_num_threads(1)
            y = functional.dorefa_fake_quantize(x, -7, 7, axis=axis)
            back = functional.dorefa_fake_quantize_backward(grad, x, axis=axis)
            for threads in (1, 2, 3, 8):
                torch.set_num_threads(threads)
                assert_bit_equal(functional.dorefa_fake_quantize(x, -7, 7, axis=axis), y)
                again = functional.dorefa_fake_quantize_backward(grad, x, axis=axis)
                assert_bit_equal(again, back)
    finally:
        torch.set_num_threads(before)


def test_vmap_equals_a_loop() -> None:
    x = 0.5 * torch.randn(3, 4, 8)

    def function(t: torch.Tensor) -> torch.Tensor:
        return functional.dorefa_fake_quantize(t, -7, 7, axis=0)

    assert_bit_equal(torch.vmap(function)(x), torch.stack([function(t) for t in x]))
    grads = torch.func.vmap(torch.func.grad(lambda t: function(t).square().sum()))(x)
    loop = []
    for t in x:
        leaf = t.clone().requires_grad_()
        loop.append(torch.autograd.grad(function(leaf).square().sum(), leaf)[0])
    assert_bit_equal(grads, torch.stack(loop))


def test_compiled_training_equals_eager_with_a_dynamic_batch() -> None:
    torch._dynamo.reset()

    def step(x: torch.Tensor) -> torch.Tensor:
        return functional.dorefa_fake_quantize(x * 2, -7, 7, axis=1).square()

    run = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (3, 7, 12):
        a = torch.randn(n, 5, requires_grad=True)
        b = a.detach().clone().requires_grad_()
        assert_bit_equal(run(b), step(a))
        step(a).sum().backward()
        run(b).sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert_bit_equal(b.grad, a.grad)


@pytest.mark.parametrize("strict", [True, False])
def test_export_is_one_node(strict: bool) -> None:
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.dorefa_fake_quantize(x, -7, 7, axis=1)

    shapes = ({0: torch.export.Dim("batch", min=2)},)
    program = torch.export.export(
        Model(), (torch.randn(4, 8),), dynamic_shapes=shapes, strict=strict
    )
    for candidate in (program, program.run_decompositions()):
        names = [str(n.target) for n in candidate.graph.nodes if n.op == "call_function"]
        assert names == ["edgeqat.dorefa_fake_quantize.default"]
        x = torch.randn(9, 8)
        assert_bit_equal(candidate.module()(x), Model()(x))


@pytest.mark.parametrize(
    ("argument", "value", "name"),
    [
        ("x", torch.ones(4, 6, dtype=torch.float64), "x must be float32"),
        ("x", torch.ones(4, 6, dtype=torch.int32), "x must be float32"),
        ("qmin", 0, "qmin, qmax must be around 0"),
        ("qmin", -3, "qmin, qmax must be around 0"),
        ("qmin", -200, "qmin, qmax must be qmin < qmax within"),
        ("qmax", 0, "qmin, qmax must be around 0"),
        ("axis", -3, "axis must be"),
        ("group_size", 4, "group_size must be a divisor"),
        ("mask", torch.ones(4, 6, dtype=torch.uint8), "mask must be a bool"),
    ],
    ids=str,
)
def test_refusals(argument: str, value: Any, name: str) -> None:
    good: dict[str, Any] = {"x": torch.randn(4, 6), "qmin": -7, "qmax": 7, "axis": 1}
    functional.dorefa_fake_quantize(**good, group_size=3)
    with pytest.raises((ValueError, IndexError), match=rf"edgeqat::dorefa_fake_quantize: {name}"):
        functional.dorefa_fake_quantize(**{**good, argument: value})
