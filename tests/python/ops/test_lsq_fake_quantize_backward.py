# SPDX-License-Identifier: Apache-2.0
"""lsq_fake_quantize_backward: known values, deterministic sums, large sums, refusals."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal


def test_known_values() -> None:
    x = torch.tensor([0.1, 0.35, 9.0, -9.0])
    grad = torch.tensor([1.0, -2.0, 4.0, 8.0])
    scale, offset = torch.tensor([0.25]), torch.tensor([-0.5])  # zero point 2
    found = functional.lsq_fake_quantize_backward(
        grad, x, scale, -8, 7, offset=offset, grad_scale=0.5
    )
    assert_bit_equal(found[0], torch.tensor([1.0, -2.0, 0.0, 0.0]))
    inside = 1.0 * (0 - 0.4) - 2.0 * (1 - 1.4)
    torch.testing.assert_close(found[1], torch.tensor([0.5 * (inside + 4 * 7 - 8 * 8)]))
    assert_bit_equal(found[2], torch.tensor([6.0]))


def test_ewgs_follows_the_distance_to_the_grid() -> None:
    x, grad = torch.tensor([0.3, 0.7, 0.3, 0.7]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    grad_x, *_ = functional.lsq_fake_quantize_backward(
        grad, x, torch.tensor([1.0]), 0, 3, delta=0.6
    )
    # g * (1 + delta * sign(g) * (x_n - x_q)), x in units of the range 3
    wanted = grad * (1 + 0.6 * grad.sign() * (x - x.round()) / 3)
    torch.testing.assert_close(grad_x, wanted)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_large_sums_keep_their_digits(axis: int | None) -> None:
    """A million equal terms: float32 sums one after the other would be off in the third digit."""
    x = torch.full((64, 128, 128), 1.3)
    grad = torch.full_like(x, 0.1)
    channels = 1 if axis is None else x.shape[axis]
    found = functional.lsq_fake_quantize_backward(
        grad, x, torch.ones(channels), -8, 7, axis=axis, grad_scale=1.0
    )[1]
    term = float(torch.tensor(0.1) * (1.0 - torch.tensor(1.3)))
    wanted = torch.full((channels,), term * x.numel() / channels)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_the_same_twice_and_with_any_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 40, 333, generator=generator)
    before = torch.get_num_threads()
    try:
        for axis in (None, 0, 1, 2):
            scale = torch.full((1 if axis is None else x.shape[axis],), 0.1)
            found = []
            for threads in (1, 1, 2, 5):
                torch.set_num_threads(threads)
                found.append(functional.lsq_fake_quantize_backward(x, x, scale, -8, 7, axis=axis))
            for other in found[1:]:
                for a, w in zip(other, found[0], strict=True):
                    assert_bit_equal(a, w)
    finally:
        torch.set_num_threads(before)


def test_refusals() -> None:
    x, scale = torch.randn(4), torch.ones(1)
    for grad, message in [
        (torch.randn(5), r"grad must be of shape \[4\]"),
        (torch.randn(4).bfloat16(), "x must be a bfloat16 tensor"),
        (torch.randn(4).double(), "grad must be float32, float16 or bfloat16"),
    ]:
        with pytest.raises(ValueError, match=message):
            functional.lsq_fake_quantize_backward(grad, x, scale, -8, 7)
    for option in ("delta", "damping", "grad_scale"):
        with pytest.raises(ValueError, match=f"{option} must be finite"):
            functional.lsq_fake_quantize_backward(x, x, scale, -8, 7, **{option: float("nan")})
