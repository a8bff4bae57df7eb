# SPDX-License-Identifier: Apache-2.0
"""per_token_fake_quantize: every row has its own range, the gradient is the identity."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference_quantizers as reference
from edgeqat.testing import LAYOUTS, RANGES, SHAPES, assert_bit_equal, layouts_of, values
from op_cases import DTYPES, SHORT, array, tensor


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
def test_grid(symmetric: bool, dtype: torch.dtype, full: bool) -> None:
    seed = 0
    for shape in SHAPES if full else SHORT:
        for name in layouts_of(shape):
            seed += 1
            qmin, qmax = RANGES[seed % len(RANGES)]
            x = LAYOUTS[name](values(shape, dtype, 0.01, seed))
            y = functional.per_token_fake_quantize(x, qmin, qmax, symmetric)
            wanted = reference.per_token_fake_quantize(array(x), qmin, qmax, symmetric)
            assert_bit_equal(y, tensor(wanted, dtype), f"{dtype} {shape} {name} {qmin}..{qmax}")
            assert y.stride() == torch.empty_like(x).stride()


def test_every_row_equals_choose_qparams_and_fake_quantize_of_it() -> None:
    x = torch.randn(6, 50) * torch.logspace(-3, 3, 6)[:, None]
    for symmetric in (True, False):
        low, high = x.amin(1), x.amax(1)
        scale, zero_point = functional.choose_qparams(low, high, -8, 7, symmetric)
        expected = functional.fake_quantize(x, scale, zero_point, -8, 7, axis=0)
        assert_bit_equal(functional.per_token_fake_quantize(x, -8, 7, symmetric), expected)


def test_rows_do_not_see_each_other() -> None:
    x = torch.randn(4, 9)
    y = functional.per_token_fake_quantize(x, -127, 127, True)
    x[2] = torch.nan
    changed = functional.per_token_fake_quantize(x, -127, 127, True)
    assert_bit_equal(changed[[0, 1, 3]], y[[0, 1, 3]])
    assert changed[2].isnan().all()


def test_values_without_a_range() -> None:
    x = torch.tensor([[0.0, -0.0], [torch.inf, -torch.inf], [torch.nan, 3.0], [1e-42, 0.0]])
    y = functional.per_token_fake_quantize(x, -127, 127, True)
    assert_bit_equal(y, torch.tensor([[0.0, 0.0], [127.0, -127.0], [torch.nan, 3.0], [0.0, 0.0]]))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (1, 1, 1)])
def test_degenerate_shapes(shape: tuple[int, ...]) -> None:
    x = torch.full(shape, -2.5)
    y = functional.per_token_fake_quantize(x, -127, 127, True)
    assert_bit_equal(y, torch.full(shape, -2.5))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_gradient_is_the_identity_and_nothing_is_kept(dtype: torch.dtype) -> None:
    x = values((5, 33), dtype, 0.1, seed=4).requires_grad_()
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = functional.per_token_fake_quantize(x, -8, 7, False)
    grad = torch.randn(5, 33).to(dtype)
    (found,) = torch.autograd.grad(y, x, grad, create_graph=False)
    assert_bit_equal(found, grad)
    assert saved == []
    op = torch.ops.edgeqat.per_token_fake_quantize(x, -8, 7, False)
    assert_bit_equal(torch.autograd.grad(op, x, grad)[0], grad)


def test_second_derivatives_are_those_of_the_identity() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    y = functional.per_token_fake_quantize(x, -8, 7, True)
    (first,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert_bit_equal(first.detach(), 3 * y.detach() ** 2)
    assert_bit_equal(second, 6 * y.detach())


def test_same_twice_and_with_any_number_of_threads() -> None:
    x = values((700, 1203), torch.float32, 0.1, seed=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = functional.per_token_fake_quantize(x, -8, 7, False)
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert_bit_equal(functional.per_token_fake_quantize(x, -8, 7, False), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("in_dim", [0, 1, 2])
def test_vmap_equals_a_loop(in_dim: int) -> None:
    x = torch.randn(3, 4, 8)

    def function(t: torch.Tensor) -> torch.Tensor:
        return functional.per_token_fake_quantize(t, -8, 7, True)

    expected = torch.stack([function(t) for t in x.unbind(in_dim)])
    assert_bit_equal(torch.vmap(function, in_dims=in_dim)(x), expected)
    op = torch.ops.edgeqat.per_token_fake_quantize
    assert_bit_equal(torch.vmap(lambda t: op(t, -8, 7, True), in_dims=in_dim)(x), expected)
    numbers = torch.vmap(lambda t: op(t, -1, 1, True))(torch.tensor([1.0, -3.0]))
    assert_bit_equal(numbers, torch.tensor([1.0, -3.0]))
    grads = torch.func.vmap(torch.func.grad(lambda t: function(t).sum()))(x)
    assert_bit_equal(grads, torch.ones_like(x))


def test_compiled_training_equals_eager_with_a_dynamic_batch() -> None:
    torch._dynamo.reset()

    def step(x: torch.Tensor) -> torch.Tensor:
        return functional.per_token_fake_quantize(x * 2, -8, 7, symmetric=False).square()

    run = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (3, 7, 12):
        a, b = (torch.ones(n, 5).cumsum(0).requires_grad_() for _ in range(2))
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
            return functional.per_token_fake_quantize(x, -8, 7, symmetric=True)

    shapes = ({0: torch.export.Dim("batch", min=2)},)
    program = torch.export.export(
        Model(), (torch.randn(4, 8),), dynamic_shapes=shapes, strict=strict
    )
    for candidate in (program, program.run_decompositions()):
        names = [str(n.target) for n in candidate.graph.nodes if n.op == "call_function"]
        assert names == ["edgeqat.per_token_fake_quantize.default"]
        x = torch.randn(9, 8)
        assert_bit_equal(candidate.module()(x), Model()(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.bool, torch.complex64])
def test_other_types_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"edgeqat::per_token_fake_quantize: x must be float32"):
        functional.per_token_fake_quantize(torch.ones(2, 2).to(dtype), -8, 7, True)


@pytest.mark.parametrize(("qmin", "qmax"), [(7, -8), (3, 3), (-129, 127), (-1, 255), (0, 256)])
def test_code_ranges_are_refused(qmin: int, qmax: int) -> None:
    with pytest.raises(ValueError, match=r"per_token_fake_quantize: qmin, qmax must be .*found"):
        functional.per_token_fake_quantize(torch.ones(2, 2), qmin, qmax, True)
