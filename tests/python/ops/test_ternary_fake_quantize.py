# SPDX-License-Identifier: Apache-2.0
"""ternary_fake_quantize: values and scales equal the reference, the gradient is straight through."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference_quantizers as reference
from edgeqat.testing import assert_bit_equal
from op_cases import DTYPES, GRANULARITIES, array, grid, samples, tensor


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_grid(granularity: str, dtype: torch.dtype, full: bool) -> None:
    for case in grid(granularity, dtype, full=full):
        options = case.qparams.options()
        y, scale = functional.ternary_fake_quantize(case.x, **options, mask=case.mask)
        wanted, wanted_scale = reference.ternary_fake_quantize(
            array(case.x), **options, mask=array(case.mask)
        )
        assert_bit_equal(scale, tensor(wanted_scale), case.label)
        assert_bit_equal(y, tensor(wanted, dtype), case.label)
        assert y.stride() == torch.empty_like(case.x).stride()


def test_codes_come_back_from_the_values() -> None:
    x = torch.randn(6, 40)
    y, scale = functional.ternary_fake_quantize(x, axis=0)
    codes = functional.quantize(y, scale, torch.zeros(6, dtype=torch.int32), -1, 1, axis=0)
    assert set(codes.unique().tolist()) == {-1, 0, 1}
    assert_bit_equal(codes * scale[:, None] + 0.0, y)


def test_the_scale_is_the_least_squares_one_of_its_support() -> None:
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    y, scale = functional.ternary_fake_quantize(x)
    best = (x * y.sign()).sum() / y.sign().abs().sum()
    assert scale.item() == pytest.approx(best.item(), rel=1e-6)
    assert ((x - y) ** 2).sum() < ((x - 1.2 * y) ** 2).sum()
    assert ((x - y) ** 2).sum() < ((x - 0.8 * y) ** 2).sum()


def test_pruned_weights_have_no_say() -> None:
    x = torch.tensor([1.0, -1.0, 1000.0, 0.1])
    mask = torch.tensor([True, True, False, True])
    y, scale = functional.ternary_fake_quantize(x, mask=mask)
    assert y.tolist() == [1.0, -1.0, 0.0, 0.0]
    assert scale.item() == 1.0


def test_layouts_have_the_same_sums() -> None:
    x = torch.randn(16, 8, 33, 29)
    wanted, wanted_scale = functional.ternary_fake_quantize(x)
    for other in (x.to(memory_format=torch.channels_last), x.permute(3, 2, 1, 0).contiguous()):
        other = other if other.shape == x.shape else other.permute(3, 2, 1, 0)
        y, scale = functional.ternary_fake_quantize(other)
        assert_bit_equal(scale, wanted_scale)
        assert_bit_equal(y, wanted)


def test_same_twice_and_with_any_number_of_threads() -> None:
    x = torch.randn(513, 1537)
    before = torch.get_num_threads()
    try:
        for axis in (None, 0, 1):
            torch.set_num_threads(1)
            wanted = functional.ternary_fake_quantize(x, axis=axis)
            for threads in (1, 2, 3, 8):
                torch.set_num_threads(threads)
                found = functional.ternary_fake_quantize(x, axis=axis)
                for a, b in zip(found, wanted, strict=True):
                    assert_bit_equal(a, b, f"axis {axis}, {threads} threads")
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_gradient_is_straight_through_where_the_mask_keeps(dtype: torch.dtype) -> None:
    x = torch.randn(5, 33).to(dtype).requires_grad_()
    mask = torch.rand(5, 33) < 0.5
    grad = torch.randn(5, 33).to(dtype)
    grad[0, 0], mask[0, 0] = torch.nan, False
    for call in (functional.ternary_fake_quantize, torch.ops.edgeqat.ternary_fake_quantize):
        y, scale = call(x, axis=0)
        assert not scale.requires_grad
        assert_bit_equal(torch.autograd.grad(y, x, grad)[0], grad)
        y, _ = call(x, axis=0, mask=mask)
        wanted = torch.where(mask, grad, torch.zeros_like(grad))
        assert_bit_equal(torch.autograd.grad(y, x, grad)[0], wanted)


def test_keeps_the_mask_and_nothing_else() -> None:
    x = torch.randn(64, 64, requires_grad=True)
    mask = torch.rand(64, 64) < 0.5
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        functional.ternary_fake_quantize(x)
        assert saved == []
        functional.ternary_fake_quantize(x, mask=mask)
    assert [t.data_ptr() for t in saved] == [mask.data_ptr()]


@pytest.mark.parametrize("masked", [False, True])
def test_vmap_equals_a_loop(masked: bool) -> None:
    x = torch.randn(3, 4, 8)
    mask = torch.rand(3, 4, 8) < 0.7 if masked else None

    def function(t: torch.Tensor, m: torch.Tensor | None = None) -> Any:
        return functional.ternary_fake_quantize(t, axis=0, mask=m)

    batched = (x,) if mask is None else (x, mask)
    found = torch.vmap(function)(*batched)
    wanted = [function(*parts) for parts in zip(*batched, strict=True)]
    for a, b in zip(found, zip(*wanted, strict=True), strict=True):
        assert_bit_equal(a, torch.stack(b))
    grads = torch.func.vmap(torch.func.grad(lambda *a: function(*a)[0].sum()))(*batched)
    assert_bit_equal(grads, torch.ones_like(x) if mask is None else mask.float())


def test_compiled_training_equals_eager_with_a_dynamic_batch() -> None:
    torch._dynamo.reset()

    def step(x: torch.Tensor) -> torch.Tensor:
        y, scale = functional.ternary_fake_quantize(x * 2, axis=1)
        return y.square() * scale

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
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(6, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight, _ = functional.ternary_fake_quantize(self.weight, axis=0)
            return torch.nn.functional.linear(x, weight)

    model = Model()
    shapes = ({0: torch.export.Dim("batch", min=2)},)
    program = torch.export.export(model, (torch.randn(4, 8),), dynamic_shapes=shapes, strict=strict)
    for candidate in (program, program.run_decompositions()):
        names = [str(n.target) for n in candidate.graph.nodes if n.op == "call_function"]
        assert names.count("edgeqat.ternary_fake_quantize.default") == 1
        x = torch.randn(9, 8)
        assert_bit_equal(candidate.module()(x), model(x))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,)])
def test_degenerate_shapes(shape: tuple[int, ...]) -> None:
    x = torch.full(shape, -2.5)
    y, scale = functional.ternary_fake_quantize(x)
    assert_bit_equal(y, x)
    assert_bit_equal(scale, torch.tensor([2.5 if x.numel() else 1.0]))
    if shape == (0, 3):
        assert functional.ternary_fake_quantize(x, axis=1)[1].tolist() == [1.0, 1.0, 1.0]
        assert functional.ternary_fake_quantize(x, axis=0)[1].shape == (0,)


@pytest.mark.parametrize(
    ("argument", "value", "name"),
    [
        ("x", torch.ones(4, 6, dtype=torch.float64), "x must be float32"),
        ("x", torch.ones(4, 6, dtype=torch.int8), "x must be float32"),
        ("axis", 2, "axis must be"),
        ("axis", None, "axis must be given with group_size"),
        ("group_size", 4, "group_size must be a divisor"),
        ("group_size", 0, "group_size must be a divisor"),
        ("mask", torch.ones(4, 6), "mask must be a bool"),
        ("mask", torch.ones(6, dtype=torch.bool), "mask must be of shape"),
    ],
    ids=str,
)
def test_refusals(argument: str, value: Any, name: str) -> None:
    good: dict[str, Any] = {"x": torch.randn(4, 6), "axis": 1, "group_size": 3, "mask": None}
    functional.ternary_fake_quantize(**good)
    with pytest.raises((ValueError, IndexError), match=rf"edgeqat::ternary_fake_quantize: {name}"):
        functional.ternary_fake_quantize(**{**good, argument: value})


def test_samples_cover_masks_and_groups() -> None:
    options = [o for _, o in samples("ternary_fake_quantize")]
    assert any(o["mask"] is not None for o in options)
    assert any(o["group_size"] for o in options)
