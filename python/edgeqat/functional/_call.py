# SPDX-License-Identifier: Apache-2.0
"""How every function of this package calls its op: refusals as ValueError, Python numbers as tensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# "edgeqat::pack: ..." of the operators' checks, "pack: ..." of the core's; "CUDA error: ..." is none
_REFUSAL = re.compile(r"(edgeqat::)?\w+: ")


def call(op: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run an op; a refused argument is a ValueError, as for any Python function."""
    try:
        return op(*arguments, **options)
    except RuntimeError as error:
        if _REFUSAL.match(str(error)):
            raise ValueError(str(error)) from None
        raise


def check_tensors(op: str, name: str, *given: object) -> None:
    """Refuse numbers and arrays where the gradient formula, which comes before the op, has tensors."""
    for index, value in enumerate(given):
        if not isinstance(value, Tensor):
            where = name if len(given) == 1 else f"{name}[{index}]"
            raise TypeError(
                f"edgeqat::{op}: {where} must be a tensor, found {type(value).__name__}. Use torch.tensor([...])."
            )


def as_tensors(scale: Tensor | float, zero_point: Tensor | int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Python numbers as one-element tensors on the device of x."""
    if not isinstance(scale, Tensor):
        # full: a fill on the device; torch.tensor would copy from the host and wait for the GPU
        scale = torch.full((1,), scale, dtype=torch.float64, device=x.device).float()
    if not isinstance(zero_point, Tensor):
        if isinstance(zero_point, float) or not -128 <= zero_point <= 255:
            raise ValueError(
                "edgeqat: zero_point must be an int in [qmin, qmax] or an int32 tensor, "
                f"found {zero_point!r}. Round it first."
            )
        zero_point = torch.full_like(scale, zero_point, dtype=torch.int32)
    return scale, zero_point
