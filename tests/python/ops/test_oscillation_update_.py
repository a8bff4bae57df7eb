# SPDX-License-Identifier: Apache-2.0
"""oscillation_update_: counters and frozen weights equal the reference over courses of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgeqat import functional
from edgeqat.ops import _reference_quantizers as reference
from edgeqat.testing import LAYOUTS, SHAPES, assert_bit_equal, layouts_of, qparams, values
from op_cases import DTYPES, GRANULARITIES, SHORT, array, tensor

STATE = ("codes", "direction", "frequency", "mean_code", "frozen")
Q1 = (torch.tensor([1.0]), torch.zeros(1, dtype=torch.int32))


def fresh(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """State of weights that were never seen, laid out as the weight where it is dense."""
    return {
        "codes": torch.zeros_like(weight, dtype=torch.int8),
        "direction": torch.zeros_like(weight, dtype=torch.int8),
        "frequency": torch.zeros_like(weight, dtype=torch.float32),
        "mean_code": torch.full_like(weight, torch.nan, dtype=torch.float32),
        "frozen": torch.zeros_like(weight, dtype=torch.bool),
    }


def check(weight: torch.Tensor, state: dict[str, torch.Tensor], wanted: Any, label: str) -> None:
    values_, counters = wanted
    assert_bit_equal(weight, tensor(values_, weight.dtype), f"{label} weight")
    for name, expected in counters.items():
        assert_bit_equal(state[name], tensor(expected), f"{label} {name}")


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_four_steps(granularity: str, dtype: torch.dtype, full: bool) -> None:
    seed = 0
    for shape in SHAPES if full else SHORT:
        for name in layouts_of(shape):
            if name.startswith("expanded"):
                continue
            seed += 1
            q = qparams(shape, granularity, seed)
            qmin, qmax = (q.qmin, q.qmax) if q.qmin < 0 else (-8, 7)
            zero_point = q.zero_point.clamp(qmin, qmax)
            noise = 0.4 * float(q.scale.median())
            start = values(shape, dtype, float(q.scale.median()) / 20, seed)
            weight = LAYOUTS[name](start.clone())
            state = fresh(weight if seed % 3 else start)  # every third state has another layout
            counters = {k: array(v).copy() for k, v in state.items()}
            for step in range(4):
                generator = torch.Generator().manual_seed(seed * 10 + step)
                moved = start.float() + noise * torch.randn(shape, generator=generator)
                weight.copy_(moved)
                threshold = None if step == 0 else 0.15
                arguments = (q.scale, zero_point, qmin, qmax)
                functional.oscillation_update_(
                    weight, *arguments, *state.values(), 0.2, threshold, **q.options()
                )
                wanted = reference.oscillation_update(
                    array(moved.to(dtype)),
                    *(array(a) if isinstance(a, torch.Tensor) else a for a in arguments),
                    counters,
                    0.2,
                    threshold,
                    **q.options(),
                )
                check(weight, state, wanted, f"{dtype} {shape} {name} {q} step {step}")
                counters = wanted[1]


def test_a_weight_that_jumps_every_step_is_frozen_and_one_that_drifts_is_not() -> None:
    weight = torch.tensor([0.4, 0.4])
    state = fresh(weight)
    for step in range(200):
        weight[0] = 0.4 + 0.2 * (step % 2)  # jumps over 0.5
        weight[1] = -3.0 + 0.03 * step  # moves through all codes
        functional.oscillation_update_(weight, *Q1, -4, 3, *state.values(), 0.01, 0.3)
    assert state["frozen"].tolist() == [True, False]
    assert state["frequency"][1] == 0.0
    assert weight[0] in (0.0, 1.0)
    assert state["frequency"][0] == pytest.approx(0.3, abs=0.011)


def test_weights_in_training_stay_leaves_and_old_graphs_are_refused() -> None:
    weight = torch.randn(4, requires_grad=True)
    state = fresh(weight.detach())
    loss = weight.square().sum()
    before = [t._version for t in (weight, *state.values())]
    functional.oscillation_update_(weight, *Q1, -8, 7, *state.values(), 0.1)
    assert weight.is_leaf
    assert weight.requires_grad
    assert weight.grad_fn is None
    after = [t._version for t in (weight, *state.values())]
    assert all(a > b for a, b in zip(after, before, strict=True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_starting_from_codes_equals_starting_from_nan() -> None:
    weight = torch.randn(6, 5)
    started, unseen = fresh(weight), fresh(weight)
    functional.oscillation_update_(weight, *Q1, -8, 7, *unseen.values(), 0.1)
    started["codes"] = functional.quantize(weight, *Q1, -8, 7)
    started["mean_code"] = started["codes"].float()
    for _ in range(3):
        weight += 0.3 * torch.randn(6, 5)
        twin = weight.clone()
        functional.oscillation_update_(weight, *Q1, -8, 7, *unseen.values(), 0.1, 0.05)
        functional.oscillation_update_(twin, *Q1, -8, 7, *started.values(), 0.1, 0.05)
        assert_bit_equal(twin, weight)
        for name in STATE:
            assert_bit_equal(started[name], unseen[name], name)


def test_nan_weights_have_the_zero_point_and_recover_when_frozen() -> None:
    weight = torch.tensor([torch.nan, torch.inf, -torch.inf])
    state = fresh(weight)
    functional.oscillation_update_(weight, *Q1, -8, 7, *state.values(), 0.1)
    assert state["codes"].tolist() == [0, 7, -8]
    assert weight.isnan().tolist() == [True, False, False]
    state["frozen"].fill_(True)
    functional.oscillation_update_(weight, *Q1, -8, 7, *state.values(), 0.1)
    assert weight.tolist() == [0.0, 7.0, -8.0]


def test_an_empty_weight() -> None:
    weight = torch.empty(0, 3)
    functional.oscillation_update_(weight, *Q1, -8, 7, *fresh(weight).values(), 0.1, 0.0)


def test_compiled_step_equals_eager() -> None:
    torch._dynamo.reset()

    def step(w: torch.Tensor, delta: torch.Tensor, *state: torch.Tensor) -> None:
        with torch.no_grad():
            w.add_(delta)
            functional.oscillation_update_(w, *Q1, -8, 7, *state, 0.1, 0.05)

    run = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (5, 9):
        a = torch.randn(n, 4, requires_grad=True)
        b = a.detach().clone().requires_grad_()
        first, second = fresh(a.detach()), fresh(a.detach())
        for _ in range(4):
            delta = torch.randn(n, 4)
            step(a, delta, *first.values())
            run(b, delta, *second.values())
        assert_bit_equal(b, a)
        for name in STATE:
            assert_bit_equal(second[name], first[name], name)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("weight", torch.zeros(4, 3, dtype=torch.float64)),
        ("weight", torch.zeros(4, 3, dtype=torch.int8)),
        ("scale", torch.zeros(1)),
        ("scale", torch.ones(2)),
        ("zero_point", torch.full((1,), 99, dtype=torch.int32)),
        ("codes", torch.zeros(4, 3, dtype=torch.uint8)),
        ("codes", torch.zeros(3, 4, dtype=torch.int8)),
        ("codes", torch.zeros(1, dtype=torch.int8).expand(4, 3)),
        ("direction", torch.zeros(4, 3)),
        ("frequency", torch.zeros(4, 3, dtype=torch.bfloat16)),
        ("frequency", torch.zeros(12)),
        ("mean_code", torch.zeros(8, 3)[::2]),
        ("frozen", torch.zeros(4, 3, dtype=torch.uint8)),
        ("momentum", 0.0),
        ("momentum", 1.5),
        ("momentum", float("nan")),
        ("freeze_threshold", -0.1),
        ("freeze_threshold", float("nan")),
        ("axis", 2),
        ("group_size", 2),
        ("qmax", 128),
        ("qmax", -8),
    ],
    ids=str,
)
def test_refusals_name_the_argument_and_write_nothing(argument: str, value: Any) -> None:
    weight = torch.randn(4, 3)
    good: dict[str, Any] = {
        "weight": weight,
        "scale": torch.ones(1),
        "zero_point": torch.zeros(1, dtype=torch.int32),
        "qmin": -8,
        "qmax": 7,
        **fresh(weight),
        "momentum": 0.1,
    }
    if argument == "group_size":
        good["axis"] = 1
    before = {k: v.clone() for k, v in good.items() if isinstance(v, torch.Tensor)}
    with pytest.raises((ValueError, IndexError), match=r"edgeqat::oscillation_update_: .*") as e:
        functional.oscillation_update_(**{**good, argument: value})
    assert argument in str(e.value)
    for name, kept in before.items():
        assert_bit_equal(good[name], kept, name)


def test_codes_beyond_int8_are_refused() -> None:
    weight = torch.randn(3)
    zero_point = torch.full((1,), 100, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"within \[-128, 127\]"):
        functional.oscillation_update_(
            weight, torch.ones(1), zero_point, 0, 255, *fresh(weight).values(), 0.1
        )


def test_vmap_is_refused_by_name() -> None:
    weights = torch.randn(2, 3)
    state = fresh(weights[0])
    with pytest.raises(NotImplementedError, match=r"oscillation_update_.*outside vmap"):
        torch.vmap(lambda w: functional.oscillation_update_(w, *Q1, -8, 7, *state.values(), 0.1))(
            weights
        )


def test_the_reference_itself_on_a_course_by_hand() -> None:
    state = {
        "codes": np.array([1]),
        "direction": np.array([1]),
        "frequency": np.array([0.0]),
        "mean_code": np.array([1.0]),
        "frozen": np.array([False]),
    }
    w, after = reference.oscillation_update([0.4], [1.0], [0], -2, 1, state, 0.5, 0.4)
    assert w.tolist() == [0.0]  # mean 0.5 rounds to 0
    assert (after["frequency"].tolist(), after["direction"].tolist()) == ([0.5], [-1])
