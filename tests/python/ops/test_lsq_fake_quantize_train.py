# SPDX-License-Identifier: Apache-2.0
"""lsq_fake_quantize_train: the residual of every element, its marks, and the gradient of the pair."""

from __future__ import annotations

import math

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal

SCALE = torch.tensor([0.25])


def test_every_level_and_mark() -> None:
    steps = torch.arange(-14.0, 14.0, 1 / 64).double()
    x = (steps * 0.25).float()
    y, residual = functional.lsq_fake_quantize_train(x, SCALE, -8, 7)
    rounded = steps.round()
    inside = ((rounded - steps) * 253).round()
    wanted = torch.where(steps < -8, -128.0, torch.where(steps > 7, 127.0, inside))
    assert torch.equal(residual.double(), wanted)
    assert int(residual[wanted.abs() <= 126].min()) == -126
    assert int(residual[wanted.abs() <= 126].max()) == 126
    assert_bit_equal(y, functional.fake_quantize(x, SCALE, 0, -8, 7))


def test_masks_activations_and_special_values() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.1, -0.1, 6.0, 7.0, 0.0])
    mask = torch.tensor([True] * 7 + [False])

    def residual(activation: str | None, scale: float) -> list[int]:
        found = functional.lsq_fake_quantize_train(
            x, torch.tensor([scale]), -8, 7, mask=mask, activation=activation
        )[1]
        return found.tolist()

    assert residual(None, 0.25) == [0, 127, -128, -101, 101, 127, 127, -127]
    assert residual("relu", 0.25) == [0, 127, -127, -101, -127, 127, 127, -127]
    assert residual("relu6", 0.25) == [0, 127, -127, -100, -127, 127, 127, -127]
    # 6 / 4 = 1.5 is in range: value 8, and no gradient for x
    assert residual("relu6", 4.0) == [0, 126, -127, -6, -127, 126, 126, -127]


def test_relu6_in_range_sends_its_residual_to_the_scale() -> None:
    x = torch.tensor([6.5, 20.0, 3.0], requires_grad=True)
    for save in ("exact", "compact"):
        scale = torch.tensor([4.1], requires_grad=True)
        y = functional.lsq_fake_quantize(
            x, scale, 0, 7, activation="relu6", grad_scale=1.0, save=save
        )
        grad_x, grad_scale = torch.autograd.grad(y.sum(), [x, scale])
        assert_bit_equal(grad_x, torch.tensor([0.0, 0.0, 1.0]))
        wanted = 2 * (1 - 6 / 4.1) + (1 - 3 / 4.1)
        assert grad_scale.item() == pytest.approx(wanted, abs=1 / 500)


def test_the_pair_is_differentiable() -> None:
    x = torch.randn(30, requires_grad=True)
    scale = torch.tensor([0.3], requires_grad=True)
    y, residual = functional.lsq_fake_quantize_train(x, scale, -8, 7, delta=0.1)
    assert not residual.requires_grad
    actual = torch.autograd.grad(y.sum(), [x, scale])
    z = functional.lsq_fake_quantize(x, scale, -8, 7, delta=0.1, save="compact")
    for a, w in zip(actual, torch.autograd.grad(z.sum(), [x, scale]), strict=True):
        assert_bit_equal(a, w)
