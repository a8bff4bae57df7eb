# SPDX-License-Identifier: Apache-2.0
"""lsq_fake_quantize_multi_backward: the gradients of each tensor as by itself; refusals."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal


def test_each_tensor_as_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes, axis = [(40000,), (3, 5), (6, 4, 3)], [None, 1, 0]
    x = [torch.randn(s, generator=generator) for s in shapes]
    grad = [torch.randn(s, generator=generator) for s in shapes]
    scale = [torch.rand(n, generator=generator) + 0.1 for n in (1, 5, 6)]
    qmin, qmax = [-8, -2, -128], [7, 1, 127]
    options = {"rule": "pact", "grad_scale": 0.5, "delta": 0.1, "damping": 0.2}
    found = functional.lsq_fake_quantize_multi_backward(
        grad, x, scale, qmin, qmax, axis=axis, **options
    )
    assert len(found) == 6
    for i in range(3):
        single = functional.lsq_fake_quantize_backward(
            grad[i], x[i], scale[i], qmin[i], qmax[i], axis=axis[i], **options
        )
        assert_bit_equal(found[i], single[0])
        assert_bit_equal(found[3 + i], single[1])


def test_refusals_name_the_tensor() -> None:
    x, scale = [torch.ones(3), torch.ones(3)], [torch.ones(1), torch.ones(1)]
    grad = [torch.ones(3), torch.ones(4)]
    with pytest.raises(ValueError, match=r"grad must be of shape \[3\].*\(tensor 1 of 2\)"):
        functional.lsq_fake_quantize_multi_backward(grad, x, scale, [-8] * 2, [7] * 2)
    with pytest.raises(ValueError, match="grad must be of length 2"):
        functional.lsq_fake_quantize_multi_backward(x[:1], x, scale, [-8] * 2, [7] * 2)
