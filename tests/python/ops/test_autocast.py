# SPDX-License-Identifier: Apache-2.0
"""Autocast: every op keeps the dtypes it is given; a mixed-precision step keeps bfloat16."""

from __future__ import annotations

import pytest
import torch

from edgeqat import functional
from edgeqat.ops._autocast import POLICY
from edgeqat.testing import assert_bit_equal
from op_cases import DTYPES, samples


@pytest.mark.parametrize("autocast_dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("op", POLICY)
def test_results_are_those_without_autocast(op: str, autocast_dtype: torch.dtype) -> None:
    overload = getattr(torch.ops.edgeqat, op).default
    plain, mixed = samples(op, requires_grad=False), samples(op, requires_grad=False)
    for (arguments, options), (same, same_options) in zip(plain, mixed, strict=True):
        expected = overload(*arguments, **options)
        with torch.autocast("cpu", dtype=autocast_dtype):
            actual = overload(*same, **same_options)
        if op.endswith("_"):  # in place: what it wrote, and what it only read
            tensors = ([a for a in run if isinstance(a, torch.Tensor)] for run in (arguments, same))
            expected, actual = tensors
        pairs = ((expected, actual),) if isinstance(expected, torch.Tensor) else None
        for e, a in pairs or zip(expected, actual, strict=True):
            assert_bit_equal(a, e)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fake_quantize_keeps_the_dtype_of_its_input(dtype: torch.dtype) -> None:
    x = torch.randn(8, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = functional.fake_quantize(x, 0.1, 0, -128, 127)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_a_training_step_under_autocast() -> None:
    linear = torch.nn.Linear(8, 4)
    x = torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = linear(x)
        y = functional.fake_quantize(hidden, 0.05, 0, -128, 127)
        weight = functional.fake_quantize(linear.weight, 0.01, 0, -128, 127)
        z = torch.nn.functional.linear(x, weight)
    assert (hidden.dtype, y.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (weight.dtype, z.dtype) == (torch.float32, torch.bfloat16)
    (y.float().sum() + z.float().sum()).backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.dtype == torch.float32
    assert linear.weight.grad.isfinite().all()
