# SPDX-License-Identifier: Apache-2.0
"""Comparison by bits: two tensors are equal or the first difference is named."""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def assert_bit_equal(actual: Tensor, expected: Tensor, message: str = "") -> None:
    """Fail unless both tensors have the same dtype, shape and bits; layouts may differ.

    +0 and -0 differ. Every NaN equals every other NaN, because their payload is not specified.

    Args:
        actual: the result under test.
        expected: what it must be.
        message: put before the report, for example the case's parameters.

    Raises:
        AssertionError: names the first differing index, both values and how many differ.

    Example:
        >>> assert_bit_equal(torch.tensor([0.0]), torch.tensor([-0.0]))
        Traceback (most recent call last):
        ...
        AssertionError: 1 of 1 elements differ, first at (0,): 0.0, expected -0.0
    """
    prefix = f"{message}: " if message else ""
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        raise AssertionError(
            f"{prefix}{actual.dtype} {tuple(actual.shape)}, "
            f"expected {expected.dtype} {tuple(expected.shape)}"
        )
    a, b = actual.detach().contiguous(), expected.detach().contiguous()
    width = _BITS[a.element_size()]
    differs = a.view(width) != b.view(width)
    if a.is_floating_point():
        differs &= ~(a.isnan() & b.isnan())
    count = int(differs.sum())
    if count:
        index = tuple(int(i) for i in differs.nonzero()[0])
        raise AssertionError(
            f"{prefix}{count} of {a.numel()} elements differ, first at {index}: "
            f"{a[index].item()!r}, expected {b[index].item()!r}"
        )
