# SPDX-License-Identifier: Apache-2.0
"""How every function of this package calls its op: refusals as ValueError, Python numbers as tensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from numbers import Number
from typing import Any

import torch
from torch import Tensor

# "edgeqat::pack: ..." of the operators' checks, "pack: ..." of the core's; "CUDA error: ..." is none
_REFUSAL = re.compile(r"(edgeqat::)?\w+: ")
# the dispatcher's own: "edgeqat::pack() Expected a value of type 'Tensor' for argument 'codes' but instead found type 'list'."
_MISMATCH = re.compile(
    r"(edgeqat::\w+)\(\) Expected a value of type '(?:Optional\[)?Tensor\]?' for argument '(\w+)' "
    r"but instead found type '(\w+)'"
)
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat, Number)  # the last for NumPy's scalars


def call(op: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run an op; a refused argument is a ValueError, what is no tensor a TypeError, as for any Python function."""
    try:
        return op(*arguments, **options)
    except RuntimeError as error:
        if _REFUSAL.match(str(error)):
            raise ValueError(str(error)) from None
        if (mismatch := _MISMATCH.match(str(error))) is not None:
            op_name, argument, found = mismatch.groups()
            raise TypeError(_no_tensor(op_name, argument, found)) from None
        raise


def _no_tensor(op: str, argument: str, found: str) -> str:
    return f"{op}: {argument} must be a tensor, found {found}. Use torch.tensor([...])."


def check_tensors(op: str, name: str, *given: object) -> None:
    """Refuse numbers and arrays where Python, which comes before the op, has tensors."""
    for index, value in enumerate(given):
        if not isinstance(value, Tensor):
            where = name if len(given) == 1 else f"{name}[{index}]"
            raise TypeError(_no_tensor(f"edgeqat::{op}", where, type(value).__name__))


def as_tensors(
    op: str, scale: Tensor | float, zero_point: Tensor | int, **data: Tensor
) -> tuple[Tensor, Tensor]:
    """Python numbers as one-element tensors on the device of the data, which is given by its name."""
    ((name, x),) = data.items()
    check_tensors(op, name, x)
    for argument, value in (("scale", scale), ("zero_point", zero_point)):
        if not isinstance(value, _NUMBERS):
            check_tensors(op, argument, value)
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
