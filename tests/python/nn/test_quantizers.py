# SPDX-License-Identifier: Apache-2.0
"""The statistical quantizer modules: one op a call, the same numbers as the ops one after the other."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from edgeqat import functional
from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer
from edgeqat.quantization.spec import QuantSpec
from edgeqat.testing import assert_bit_equal

WEIGHTS = [
    QuantSpec(4),
    QuantSpec(8, granularity="channel", axis=0, narrow_range=True),
    QuantSpec(3, granularity="channel", axis=1),
    QuantSpec(4, granularity="group", axis=1, group_size=4),
]


def test_a_batch_is_quantized_with_the_range_of_those_before() -> None:
    quantizer = ActivationQuantizer(QuantSpec(8, symmetric=False), averaging=0.25)
    first, second = torch.tensor([-1.0, 3.0]), torch.tensor([-9.0, 30.0])
    # the first batch with its own range
    assert quantizer(first).tolist() == pytest.approx([-1.0, 3.0], abs=0.01)
    # -9 and 30 saturate at the grid of the first; the range moves a quarter of the way
    assert quantizer(second).tolist() == pytest.approx([-1.0, 3.0], abs=0.01)
    assert (float(quantizer.min_val), float(quantizer.max_val)) == (-3.0, 9.75)
    assert quantizer(first).tolist() == pytest.approx([-1.0, 3.0], abs=0.03)
    assert quantizer.count.tolist() == [3, 0]
    before = copy.deepcopy(quantizer.state_dict())
    quantizer.eval()(second)
    for name, value in quantizer.state_dict().items():
        assert_bit_equal(value, before[name], name)


def test_recomputing_gives_the_same_values_and_counts_once() -> None:
    results = []
    for recompute in (False, True):
        quantizer = ActivationQuantizer(QuantSpec(4, symmetric=False), averaging=0.5)
        quantizer(torch.tensor([-1.0, 1.0]))
        seen: list[Tensor] = []

        def block(x: Tensor, quantizer: ActivationQuantizer = quantizer) -> Tensor:
            seen.append(quantizer(x * 3))  # noqa: B023
            return seen[-1].square()  # noqa: B023

        x = torch.linspace(-1.0, 1.0, 64).requires_grad_()
        if recompute:
            y = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
        else:
            y = block(x)
        y.sum().backward()
        assert len(seen) == 1 + recompute
        for again in seen[1:]:
            assert_bit_equal(again.detach(), seen[0].detach())
        assert x.grad is not None
        results.append((x.grad, quantizer.count, quantizer.min_val, quantizer.scale))
    for actual, expected in zip(*results, strict=True):
        assert_bit_equal(actual, expected)


@pytest.mark.parametrize("spec", WEIGHTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_weight_is_quantized_with_its_own_range(spec: QuantSpec, dtype: torch.dtype) -> None:
    quantizer = WeightQuantizer(spec, (6, 8))
    for step in range(3):  # no trace of the call before
        weight = (torch.randn(6, 8) / (step + 1)).to(dtype).requires_grad_()
        actual = quantizer(weight)
        (grad,) = torch.autograd.grad(actual.sum(), weight)
        other = WeightQuantizer(spec, (6, 8))
        scale, zero_point = other.choose(weight)
        wide = weight.detach().requires_grad_()
        expected = functional.fake_quantize(
            wide,
            scale,
            zero_point,
            spec.qmin,
            spec.qmax,
            axis=spec.axis,
            group_size=spec.group_size,
        )
        assert_bit_equal(actual, expected)
        assert_bit_equal(grad, torch.autograd.grad(expected.sum(), wide)[0])
        assert_bit_equal(quantizer.scale, scale)
        assert_bit_equal(quantizer.zero_point, zero_point)


def test_helpers_of_a_call_are_no_state() -> None:
    quantizer = WeightQuantizer(WEIGHTS[1], (6, 8))
    weight = torch.randn(6, 8)
    expected = quantizer(weight)
    assert set(quantizer.state_dict()) == {"scale", "zero_point", "flags"}
    for twin in (copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))):
        assert_bit_equal(twin(weight), expected)


def test_compiled_modules_keep_the_same_state() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(6, 8))
            self.weight_quantizer = WeightQuantizer(WEIGHTS[1], (6, 8))
            self.input_quantizer = ActivationQuantizer(QuantSpec(8, symmetric=False))

        def forward(self, x: Tensor) -> Tensor:
            return self.input_quantizer(x) @ self.weight_quantizer(self.weight).T

    eager = Layer()
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for step in range(3):
        x = torch.randn(5, 8) * (step + 1)
        eager.zero_grad()
        twin.zero_grad()
        results = [eager(x), compiled(x)]
        for y in results:
            y.square().sum().backward()
        assert_bit_equal(results[1], results[0])
        assert eager.weight.grad is not None
        assert twin.weight.grad is not None
        assert_bit_equal(twin.weight.grad, eager.weight.grad)
        for name, value in eager.state_dict().items():
            assert_bit_equal(twin.state_dict()[name], value, name)
