# SPDX-License-Identifier: Apache-2.0
"""lsq_fake_quantize_multi: what the single op gives for each tensor, in one node that saves nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeqat import functional
from edgeqat.testing import assert_bit_equal

OPTIONS = {"rule": "power_of_two", "delta": 0.2, "damping": 0.3}


def weights() -> tuple[list[Tensor], list[Tensor], list[int], list[int], list[int | None]]:
    """Small and large, every granularity and dtype, one of them channels_last."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (16, 8, 3, 3), (300, 257), (40, 12, 1, 1), (5, 7)]
    x = [torch.randn(s, generator=generator) for s in shapes]
    x[1] = x[1].to(memory_format=torch.channels_last)
    x[4] = x[4].bfloat16()
    axis: list[int | None] = [None, 0, 1, -4, 0]
    scale = [torch.rand(1 if k is None else t.shape[k]) + 0.1 for t, k in zip(x, axis, strict=True)]
    return x, scale, [-8, -2, -127, -8, -4], [7, 1, 127, 7, 3], axis


@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_single_op_bit_for_bit(threads: int) -> None:
    x, scale, qmin, qmax, axis = weights()
    x, scale = ([t.requires_grad_() for t in ts] for ts in (x, scale))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = functional.lsq_fake_quantize_multi(x, scale, qmin, qmax, axis=axis, **OPTIONS)
        grads = [torch.randn_like(t) for t in y]
        actual = torch.autograd.grad(y, [*x, *scale], grads)
    finally:
        torch.set_num_threads(before)
    single = [
        functional.lsq_fake_quantize(t, s, low, high, axis=k, **OPTIONS)
        for t, s, low, high, k in zip(x, scale, qmin, qmax, axis, strict=True)
    ]
    for a, w in zip(y, single, strict=True):
        assert_bit_equal(a, w)
    wanted = torch.autograd.grad(single, [*x, *scale], grads)
    for a, w in zip(actual, wanted, strict=True):
        assert_bit_equal(a, w)
    by_hand = functional.lsq_fake_quantize_multi_backward(
        grads, x, scale, qmin, qmax, axis=axis, **OPTIONS
    )
    for a, w in zip(by_hand, wanted, strict=True):
        assert_bit_equal(a, w)


def test_groups() -> None:
    x, scale = [torch.randn(4, 8), torch.randn(6)], [torch.rand(4, 2) + 0.1, torch.ones(1)]
    y = functional.lsq_fake_quantize_multi(
        x, scale, [-8, -8], [7, 7], axis=[1, None], group_size=[4, None]
    )
    assert_bit_equal(
        y[0], functional.lsq_fake_quantize(x[0], scale[0], -8, 7, axis=1, group_size=4)
    )


def test_one_node_that_keeps_references() -> None:
    x, scale, qmin, qmax, axis = weights()
    leaves = [t.requires_grad_() for t in (*x, *scale)]
    saved: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = functional.lsq_fake_quantize_multi(x, scale, qmin, qmax, axis=axis)
    assert set(saved) == {t.data_ptr() for t in leaves}
    assert len({t.grad_fn for t in y}) == 1


def test_a_result_that_is_not_used() -> None:
    x, scale = [torch.randn(3, requires_grad=True) for _ in range(2)], [torch.ones(1)] * 2
    y = functional.lsq_fake_quantize_multi(x, scale, [-8, -8], [7, 7])
    y[0].sum().backward()
    assert_bit_equal(x[0].grad, torch.ones(3))
    assert_bit_equal(x[1].grad, torch.zeros(3))


def test_an_empty_list() -> None:
    assert functional.lsq_fake_quantize_multi([], [], [], []) == []


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_a_break(dynamic: bool) -> None:
    x, scale, qmin, qmax, axis = weights()

    def step(x: list[Tensor], scale: list[Tensor]) -> Tensor:
        y = functional.lsq_fake_quantize_multi(x, scale, qmin, qmax, axis=axis)
        return torch.stack([t.float().square().sum() for t in y]).sum()

    def run(function: object) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (*x, *scale)]
        function(leaves[: len(x)], leaves[len(x) :]).backward()  # type: ignore[operator]
        return [t.grad for t in leaves if t.grad is not None]

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for actual, wanted in zip(run(compiled), run(step), strict=True):
        assert_bit_equal(actual, wanted)


def test_under_torch_func() -> None:
    x, scale = torch.randn(3, 5), torch.tensor([0.3])

    def loss(x: Tensor) -> Tensor:
        y = functional.lsq_fake_quantize_multi([x, 2 * x], [scale, scale], [-8, -2], [7, 1])
        return (y[0] * y[1]).sum()

    per_sample = torch.func.vmap(torch.func.grad(loss))(x)
    wanted = torch.stack([torch.func.grad(loss)(row) for row in x])
    assert_bit_equal(per_sample, wanted)
    with pytest.raises(NotImplementedError, match="takes lists of tensors"):
        torch.vmap(
            lambda x: torch.ops.edgeqat.lsq_fake_quantize_multi([x], [scale], [-8], [7], [0], [0])
        )(x)


def test_refusals_name_the_tensor() -> None:
    x, scale = [torch.ones(3), torch.ones(3)], [torch.ones(1), torch.tensor([torch.nan])]
    with pytest.raises(ValueError, match=r"scale must be finite.*\(tensor 1 of 2\)"):
        functional.lsq_fake_quantize_multi(x, scale, [-8, -8], [7, 7])
    with pytest.raises(ValueError, match="qmax must be of length 2"):
        functional.lsq_fake_quantize_multi(x, scale, [-8, -8], [7])
