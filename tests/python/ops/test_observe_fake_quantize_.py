# SPDX-License-Identifier: Apache-2.0
"""observe_fake_quantize_: each batch on the grid of those before it, the state as observe_minmax_ leaves it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeqat import functional
from edgeqat.functional._activation import Activation
from edgeqat.ops import _reference as reference
from edgeqat.testing import LAYOUTS, assert_bit_equal, layouts_of, values
from op_cases import DTYPES, array, tensor

State = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
ALONE = {None: lambda x: x, "relu": F.relu, "relu6": F.relu6, "hardswish": F.hardswish}


def fresh(channels: int = 1) -> State:
    low, high = torch.full((channels,), torch.inf), torch.full((channels,), -torch.inf)
    count = torch.zeros(2, dtype=torch.int64)
    return low, high, count, torch.ones(channels), torch.zeros(channels, dtype=torch.int32)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "hardswish"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_batches_against_the_reference(
    axis: int | None, dtype: torch.dtype, activation: Activation, masked: bool
) -> None:
    shape = (3, 5, 12)
    names = list(layouts_of(shape))
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    for position, name in enumerate(names):
        mask = LAYOUTS[names[position - 1]](keep) if masked else None
        kept = array(mask)
        state, seen = fresh(1 if axis is None else shape[axis]), []
        for batch in range(3):
            x = LAYOUTS[name](values(shape, dtype, 0.05, batch))
            # the range of the batches before, that of the first batch for itself
            seen.append(reference.activate(array(x), activation)[0])
            known = seen[:1] if batch == 0 else seen[:batch]
            low, high, _ = reference.observe_minmax(known, 0.1, axis, kept)
            scale, zero_point = reference.choose_qparams(low, high, -8, 7, False)
            y, bits = torch.ops.edgeqat.observe_fake_quantize_(
                x, *state, -8, 7, False, 0.1, axis, mask, [*ALONE].index(activation)
            )
            expected, passes = reference.fake_quantize(
                array(x), scale, zero_point, -8, 7, axis=axis, mask=kept, activation=activation
            )
            label = f"{name} batch {batch}"
            assert_bit_equal(y, tensor(expected, dtype), label)
            assert y.stride() == torch.empty_like(x).stride(), label
            assert_bit_equal(bits, tensor(reference.pack_mask(passes)), label)
            low, high, count = reference.observe_minmax(seen, 0.1, axis, kept)
            for actual, wanted in zip(state, (low, high, count, scale, zero_point), strict=True):
                assert_bit_equal(actual, tensor(wanted), label)


@pytest.mark.parametrize("activation", [None, "relu", "hardswish"])
def test_gradient_is_that_of_fake_quantize(activation: Activation) -> None:
    state = fresh()
    for batch in range(3):
        x = (torch.randn(777) * (batch + 1)).requires_grad_()
        grad = torch.randn(777)
        y = functional.observe_fake_quantize_(x, *state, -8, 7, True, 0.1, activation=activation)
        again = functional.fake_quantize(x, *state[3:], -8, 7, activation=activation)
        assert_bit_equal(y, again)
        assert_bit_equal(*(torch.autograd.grad(v, x, grad)[0] for v in (y, again)))


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "hardswish"])
@pytest.mark.parametrize("axis", [None, 1])
def test_compiled_gives_the_same_bits(axis: int | None, activation: Activation) -> None:
    mask = torch.arange(24).reshape(4, 6) % 3 > 0 if axis == 1 else None

    def step(x: Tensor, *state: Tensor) -> Tensor:
        return functional.observe_fake_quantize_(
            x, *state, -8, 7, False, 0.1, axis, mask, activation
        ).square()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    states = (fresh(1 if axis is None else 6), fresh(1 if axis is None else 6))
    for batch in range(3):
        base = torch.randn(4, 6) * (batch + 1)
        results = []
        for run, state in zip((step, compiled), states, strict=True):
            x = base.clone().requires_grad_()
            y = run(x, *state)
            results.append((y, *torch.autograd.grad(y.sum(), x)))
        for actual, expected in zip(results[1], results[0], strict=True):
            assert_bit_equal(actual, expected)
        for actual, expected in zip(states[1], states[0], strict=True):
            assert_bit_equal(actual, expected)


def test_saves_one_bit_per_element() -> None:
    saved: list[Tensor] = []
    state = fresh()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        functional.observe_fake_quantize_(torch.randn(800, requires_grad=True), *state, -8, 7, True)
    assert [(t.dtype, t.numel()) for t in saved] == [(torch.uint8, 100)]


def test_changing_the_state_in_place_is_seen_by_autograd() -> None:
    state = fresh()
    weight = torch.ones(1, requires_grad=True)
    for x in (torch.randn(8), torch.randn(8, requires_grad=True)):
        product = weight * state[0].clamp(-1.0, 1.0).add_(0) * state[3]
        functional.observe_fake_quantize_(x, *state, -8, 7, True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.sum().backward()


def test_non_finite_values_and_empty_batches() -> None:
    state = fresh()
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.75])
    y = functional.observe_fake_quantize_(x, *state, -8, 7, False)
    assert state[2].tolist() == [1, 3]
    assert (float(state[0]), float(state[1])) == (1.75, 1.75)
    assert y.isnan().tolist() == [True, False, False, False]
    before = [t.clone() for t in state]
    assert functional.observe_fake_quantize_(x[:0], *state, -8, 7, False).shape == (0,)
    for actual, expected in zip(state, before, strict=True):
        assert_bit_equal(actual, expected)


@pytest.mark.parametrize("position", range(5))
def test_refuses_a_state_of_another_kind(position: int) -> None:
    names = ("min_val", "max_val", "count", "scale", "zero_point")
    for wrong in (torch.zeros(3), torch.zeros(1, dtype=torch.float64)):
        state: list[Tensor] = list(fresh())
        state[position] = wrong
        with pytest.raises(ValueError, match=f"observe_fake_quantize_: {names[position]}"):
            functional.observe_fake_quantize_(torch.zeros(4), *state, -8, 7, True)


def test_refuses_other_arguments_and_vmap() -> None:
    x = torch.zeros(4)
    with pytest.raises(ValueError, match="averaging must be in"):
        functional.observe_fake_quantize_(x, *fresh(), -8, 7, True, 0.0)
    with pytest.raises(ValueError, match="qmin, qmax must be"):
        functional.observe_fake_quantize_(x, *fresh(), 7, -8, True)
    with pytest.raises(ValueError, match="axis must be in"):
        functional.observe_fake_quantize_(x, *fresh(), -8, 7, True, axis=1)
    with pytest.raises(ValueError, match="mask must be a bool tensor"):
        functional.observe_fake_quantize_(x, *fresh(), -8, 7, True, mask=x)
    with pytest.raises(ValueError, match="activation must be"):
        functional.observe_fake_quantize_(x, *fresh(), -8, 7, True, activation="elu")  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match=r"observe_fake_quantize_.*outside vmap"):
        torch.vmap(lambda v: functional.observe_fake_quantize_(v, *fresh(), -8, 7, True))(
            torch.zeros(2, 4)
        )
