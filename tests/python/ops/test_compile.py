# SPDX-License-Identifier: Apache-2.0
"""torch.compile(fullgraph=True): equal to eager, dynamic batch without recompiling, one inductor run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from edgeqat import functional
from edgeqat.testing import assert_bit_equal, qparams
from op_cases import GRANULARITIES


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def batches(*sizes: int) -> list[torch.Tensor]:
    return [torch.randn(n, 6, 4, generator=torch.Generator().manual_seed(n)) for n in sizes]


def compiled(function: Callable[..., Any], dynamic: bool | None) -> Any:
    counter = CompileCounterWithBackend("aot_eager")
    return torch.compile(function, fullgraph=True, backend=counter, dynamic=dynamic), counter


@pytest.mark.parametrize("dynamic", [False, True, None])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_training_equals_eager(granularity: str, dynamic: bool | None) -> None:
    q = qparams((5, 6, 4), granularity, seed=1 if granularity == "tensor" else 8)
    axis = None if granularity == "tensor" else 1
    scale = q.scale[:1].expand(1 if axis is None else 6).clone()
    zero_point = torch.full(scale.shape, 1, dtype=torch.int32)

    def step(x: torch.Tensor) -> torch.Tensor:
        y = functional.fake_quantize(x * 2, scale, zero_point, -8, 7, axis=axis)
        return y * y

    run, counter = compiled(step, dynamic)
    for x in batches(5, 9, 13, 17):
        a, b = (x.clone().requires_grad_() for _ in range(2))
        expected, actual = step(a), run(b)
        assert_bit_equal(actual, expected)
        expected.sum().backward()
        actual.sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert_bit_equal(b.grad, a.grad)
    # dynamic=False: one per shape; None: static, then dynamic at the second shape
    assert counter.frame_count == {False: 4, True: 1, None: 2}[dynamic]


def every_op(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, count: torch.Tensor) -> Any:
    functional.observe_minmax_(x, low, high, count, averaging=0.1)
    scale, zero_point = functional.choose_qparams(low, high, -8, 7, symmetric=False)
    y, bits = functional.fake_quantize_train(x, scale, zero_point, -8, 7)
    grad = functional.fake_quantize_backward(y, bits)
    codes = functional.quantize(x, scale, zero_point, -8, 7)
    packed = functional.pack(codes, 4)
    restored = functional.unpack(packed, 4, x.shape, signed=True)
    return y, bits, grad, codes, packed, functional.dequantize(restored, scale, zero_point)


def fresh() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor([torch.inf]), torch.tensor([-torch.inf]), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize("dynamic", [False, True])
def test_every_op_without_gradient(dynamic: bool) -> None:
    run, counter = compiled(every_op, dynamic)
    eager_state, state = fresh(), fresh()
    for x in batches(5, 9, 13, 17):
        for actual, expected in zip(run(x, *state), every_op(x, *eager_state), strict=True):
            assert_bit_equal(actual, expected)
        for actual, expected in zip(state, eager_state, strict=True):
            assert_bit_equal(actual, expected)
    assert counter.frame_count == (1 if dynamic else 4)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_python_numbers_and_masks(granularity: str) -> None:
    q = qparams((6, 8), granularity, seed=2)
    x = torch.randn(6, 8)
    mask = torch.rand(6, 8) < 0.5

    def numbers(x: torch.Tensor) -> torch.Tensor:
        return functional.fake_quantize(x, 0.1, 3, -8, 7, mask=mask)

    def tensors(x: torch.Tensor) -> torch.Tensor:
        return functional.fake_quantize(x, *q.positional(), **q.options(), mask=mask)

    for function in (numbers, tensors):
        run, _ = compiled(function, None)
        assert_bit_equal(run(x), function(x))


def test_a_refusal_is_still_an_error_after_compilation() -> None:
    run, _ = compiled(lambda x, s: functional.fake_quantize(x, s, 0, -8, 7), None)
    assert run(torch.ones(1), torch.ones(1)).item() == 1.0
    with pytest.raises((ValueError, RuntimeError), match="scale must be"):
        run(torch.ones(1), torch.zeros(1))


def test_saves_bits_in_the_compiled_graph() -> None:
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    run, _ = compiled(lambda x: functional.fake_quantize(x, 0.1, 0, -8, 7), False)
    x = torch.randn(64, 128, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(x)
    large = [(t.dtype, t.numel()) for t in saved if t.numel() > 1]
    assert large == [(torch.uint8, 64 * 128 // 8)]


@pytest.mark.full  # the first C++ compilation of inductor takes 15 s and more
def test_inductor() -> None:
    def step(x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
        return functional.fake_quantize(x.relu(), scale, zero_point, -8, 7).square()

    run = torch.compile(step, fullgraph=True, dynamic=True)
    parameters = torch.tensor([0.1]), torch.tensor([0], dtype=torch.int32)
    for x in batches(5, 9):
        a, b = (x.clone().requires_grad_() for _ in range(2))
        expected, actual = step(a, *parameters), run(b, *parameters)
        assert_bit_equal(actual, expected)
        expected.sum().backward()
        actual.sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert_bit_equal(b.grad, a.grad)
