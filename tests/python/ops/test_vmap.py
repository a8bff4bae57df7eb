# SPDX-License-Identifier: Apache-2.0
"""torch.vmap and torch.func: equal to a loop over samples, or refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal
from op_cases import samples

# operator -> "batched", "per sample" or "refused"
PROMISED = dict(
    re.findall(
        r"^\| (\w+) \|.*\| (batched|per sample|refused) \|$",
        (Path(__file__).parents[3] / "docs" / "ops.md").read_text(),
        re.M,
    )
)
X = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
ZERO = torch.zeros(1, dtype=torch.int32)


def stacked(function, *batched: torch.Tensor):
    results = [function(*arguments) for arguments in zip(*batched, strict=True)]
    if isinstance(results[0], torch.Tensor):
        return torch.stack(results)
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True))


@pytest.mark.parametrize("axis", [None, 0, 1, -1, -2])
@pytest.mark.parametrize("in_dim", [0, 1, 2])
def test_data_is_batched(axis: int | None, in_dim: int) -> None:
    channels = 1 if axis is None else (4, 8)[axis]
    scale = torch.rand(channels) + 0.05
    zero_point = torch.ones(channels, dtype=torch.int32)

    def fake(x: torch.Tensor) -> torch.Tensor:
        return torch.ops.edgeqat.fake_quantize(x, scale, zero_point, -8, 7, axis=axis)

    def round_trip(x: torch.Tensor) -> torch.Tensor:
        codes = functional.quantize(x, scale, zero_point, -8, 7, axis=axis)
        return functional.dequantize(codes, scale, zero_point, axis=axis)

    for function in (fake, round_trip):
        actual = torch.vmap(function, in_dims=in_dim)(X.movedim(0, in_dim))
        assert_bit_equal(actual, stacked(function, X))


def test_scales_groups_and_masks_are_batched() -> None:
    scales = torch.rand(3, 4, 2) + 0.05
    masks = torch.rand(X.shape) < 0.5
    zeros = torch.zeros(4, 2, dtype=torch.int32)

    def fake(x: torch.Tensor, scale: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        options = {"axis": 1, "group_size": 4, "mask": mask}
        return functional.fake_quantize(x, scale, zeros, -8, 7, **options)

    assert_bit_equal(torch.vmap(fake)(X, scales, masks), stacked(fake, X, scales, masks))


def test_ops_with_several_results() -> None:
    def function(x: torch.Tensor):
        scale, zero_point = functional.choose_qparams(x.amin()[None], x.amax()[None], 0, 15, False)
        y, bits = functional.fake_quantize_train(x, scale, zero_point, 0, 15)
        packed = functional.pack(functional.quantize(x, scale, zero_point, 0, 15), 4)
        return y, bits, packed, functional.unpack(packed, 4, (4, 8), False)

    for actual, expected in zip(torch.vmap(function)(X), stacked(function, X), strict=True):
        assert_bit_equal(actual, expected)


def test_gradients_per_sample() -> None:
    def loss(x: torch.Tensor) -> torch.Tensor:
        return functional.fake_quantize(x, torch.tensor([0.2]), ZERO, -8, 7).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss))(X)
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(x), x)
    assert_bit_equal(per_sample, expected)
    assert_bit_equal(torch.func.grad(lambda x: torch.vmap(loss)(x).sum())(X), expected)


def test_functional_call() -> None:
    linear = torch.nn.Linear(8, 2)
    weights = {name: p.detach() for name, p in linear.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        weight = functional.fake_quantize(parameters["weight"], 0.05, 0, -8, 7)
        out = torch.func.functional_call(linear, {**parameters, "weight": weight}, (X,))
        return out.square().sum()

    actual = torch.func.grad(loss)(weights)["weight"]
    weight = functional.fake_quantize(linear.weight, 0.05, 0, -8, 7)
    torch.nn.functional.linear(X, weight, linear.bias).square().sum().backward()
    assert linear.weight.grad is not None
    assert_bit_equal(actual, linear.weight.grad)


def test_observers_are_refused_by_name() -> None:
    state = torch.tensor([torch.inf]), torch.tensor([-torch.inf]), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(NotImplementedError, match=r"observe_minmax_.*outside vmap"):
        torch.vmap(lambda x: functional.observe_minmax_(x, *state))(X)


def variations(x: torch.Tensor) -> torch.Tensor:
    """Three tensors like x, in one."""
    flat = x.detach().flatten()
    return torch.stack([x.detach(), flat.flip(0).reshape(x.shape), flat.roll(1).reshape(x.shape)])


def batched_call(op: str, sample: int) -> tuple[Any, torch.Tensor]:
    """A call of `op` as a function of its data alone, and data for it with a batch in front."""
    arguments, keywords = samples(op, requires_grad=False)[sample]
    function = getattr(torch.ops.edgeqat, op).default
    first, *rest = arguments
    if op == "choose_qparams":  # the minima stay below the maxima
        return lambda x: function(x, *rest), torch.stack([first, first - 1.0, first * 2 - 3.0])
    if isinstance(first, torch.Tensor):
        return lambda x: function(x, *rest, **keywords), variations(first)
    return lambda x: function([x, *first[1:]], *rest, **keywords), variations(first[0])


def test_every_operator_has_a_row() -> None:
    schema = (Path(__file__).parents[3] / "csrc" / "torch" / "schema.cpp").read_text()
    assert set(PROMISED) == set(re.findall(r'm\.def\(\s*"(\w+)\(', schema))


@pytest.mark.parametrize("op", [op for op, rule in PROMISED.items() if rule != "refused"])
@pytest.mark.parametrize("sample", range(0, 12, 2))
def test_every_operator_equals_a_loop(op: str, sample: int) -> None:
    function, data = batched_call(op, sample)
    several = not isinstance(function(data[0]), torch.Tensor)
    expected = stacked(function, data)
    for in_dim in (0, -1):
        actual = torch.vmap(function, in_dims=in_dim)(data.movedim(0, in_dim))
        for ours, theirs in zip(actual, expected, strict=True) if several else [(actual, expected)]:
            assert_bit_equal(ours, theirs)


@pytest.mark.parametrize("op", [op for op, rule in PROMISED.items() if rule == "refused"])
def test_refused_operators_say_what_to_do(op: str) -> None:
    function, data = batched_call(op, 1)
    with pytest.raises(NotImplementedError, match=rf"edgeqat\.{op} .*torch\.vmap; \w+"):
        torch.vmap(function)(data)
