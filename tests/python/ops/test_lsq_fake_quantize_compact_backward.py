# SPDX-License-Identifier: Apache-2.0
"""lsq_fake_quantize_compact_backward: every residual there is, and the bound of its error."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_every_residual(activation: str | None) -> None:
    residual = torch.arange(-128, 128).to(torch.int8)
    for k in residual:
        found = functional.lsq_fake_quantize_compact_backward(
            *(torch.tensor([2.0]), k.reshape(1), torch.tensor([4.0]), -8, 7),
            offset=torch.zeros(1),
            activation=activation,
            grad_scale=1.0,
        )
        level, levels = int(k), 250 if activation == "relu6" else 253
        wanted = (2.0, 2.0 * level / levels, 0.0)
        if level == -128:
            wanted = (0.0, -16.0, 2.0)
        elif level == 127:
            wanted = (0.0, 14.0, 2.0)
        elif level == -127:
            wanted = (0.0, 0.0, 0.0)
        elif level == 126 and activation == "relu6":
            wanted = (0.0, 2.0 * (2 - 1.5), 0.0)
        assert [float(f) for f in found] == pytest.approx(wanted, rel=1e-6), level


@pytest.mark.parametrize("axis", [None, 1])
def test_the_error_of_the_sum_is_bounded(axis: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for seed in range(20):
        x = torch.randn(16, 8, 50, generator=generator.manual_seed(seed))
        grad = torch.randn(x.shape, generator=generator)
        scale = torch.full((1 if axis is None else 8,), 0.13)
        options = {"axis": axis, "grad_scale": 1.0}
        _, residual = functional.lsq_fake_quantize_train(x, scale, -8, 7, axis=axis)
        exact = functional.lsq_fake_quantize_backward(grad, x, scale, -8, 7, **options)
        compact = functional.lsq_fake_quantize_compact_backward(
            grad, residual, scale, -8, 7, **options
        )
        assert_bit_equal(compact[0], exact[0])
        weight = grad.abs().sum() if axis is None else grad.abs().sum(dim=(0, 2))
        share = float(((compact[1] - exact[1]).abs() / (weight / 506)).max())
        worst = max(worst, share)
    assert worst <= 1.0
    assert worst > 0.0


def test_refusals() -> None:
    grad, residual, scale = torch.randn(4), torch.zeros(4, dtype=torch.int8), torch.ones(1)
    with pytest.raises(ValueError, match="residual must be a int8 tensor"):
        functional.lsq_fake_quantize_compact_backward(grad, grad, scale, -8, 7)
    with pytest.raises(ValueError, match="activation must be none, relu or relu6"):
        functional.lsq_fake_quantize_compact_backward(
            grad, residual, scale, -8, 7, activation="hardswish"
        )
    with pytest.raises(ValueError, match=r"grad must be of shape \[4\]"):
        functional.lsq_fake_quantize_compact_backward(grad[:3], residual, scale, -8, 7)
