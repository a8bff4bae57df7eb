# SPDX-License-Identifier: Apache-2.0
"""learned_step: positive by construction, powers of two that are exact, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal
from lsq_formula import step_of

RULES = ("lsq", "power_of_two", "pact")


@pytest.mark.parametrize("rule", RULES)
def test_equals_the_formula_in_double(rule: str) -> None:
    generator = torch.Generator().manual_seed(0)
    exponents = torch.randint(-90, 90, (5000,), generator=generator)
    scale = torch.randn(5000, generator=generator) * 2.0**exponents
    scale = torch.cat([scale, 2.0 ** torch.arange(-99.0, 126.0), torch.tensor([-0.75, 3.0])])
    for qmin, qmax in [(-8, 7), (0, 255), (-2, 1)]:
        wanted = step_of(scale.double(), qmin, qmax, rule).float()
        assert_bit_equal(functional.learned_step(scale, qmin, qmax, rule), wanted)


def test_the_step_is_positive_for_every_parameter() -> None:
    parameters = torch.tensor([0.0, -0.0, 1e-45, -1e-38, -0.3, 0.5, 3.4e38, -3.4e38])
    for rule, (qmin, qmax) in itertools.product(RULES, [(-8, 7), (0, 255)]):
        step = functional.learned_step(parameters, qmin, qmax, rule)
        assert (step > 0).all()
        assert step.isfinite().all()
        if rule == "power_of_two":
            assert (torch.frexp(step).mantissa == 0.5).all()
            assert (step[4:6] == torch.tensor([0.5, 0.5])).all()
        scale = parameters[4:5].clone().requires_grad_()
        functional.lsq_fake_quantize(
            torch.ones(3) * 9, scale, 0, 7, grad_scale=1.0
        ).sum().backward()
        assert scale.grad is not None
        assert scale.grad.item() == pytest.approx(-21.0)


def test_shape_layout_and_gradient() -> None:
    scale = torch.rand(3, 4).t().requires_grad_()
    step = functional.learned_step(scale, -8, 7)
    assert_bit_equal(step, scale.detach())
    assert not step.requires_grad
    assert functional.learned_step(torch.empty(0), -8, 7).shape == (0,)


def test_refusals() -> None:
    for scale, message in [
        (torch.ones(2).double(), "scale must be a float32 tensor"),
        (torch.tensor([1.0, math.nan]), "scale must be finite, found nan at position 1"),
        (torch.tensor([-math.inf]), "scale must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            functional.learned_step(scale, -8, 7)
    with pytest.raises(ValueError, match="qmin, qmax must be"):
        functional.learned_step(torch.ones(1), 7, -8)
    with pytest.raises(ValueError, match='rule must be "lsq"'):
        functional.learned_step(torch.ones(1), -8, 7, "cubic")
    with pytest.raises(RuntimeError, match="rule must be 0"):
        torch.ops.edgeqat.learned_step(torch.ones(1), -8, 7, 3)
