# SPDX-License-Identifier: Apache-2.0
"""The tensors among an op's arguments, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def _named(given: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for key, value in given.items():
        if isinstance(value, Tensor):
            yield key, value
        elif isinstance(value, (list, tuple)):
            yield from _named({f"{key}[{i}]": item for i, item in enumerate(value)})


def named_tensors(
    op: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor in the order of the schema, also inside lists: `scale`, `x[1]`."""
    schema = getattr(torch.ops.edgeqat, op).default._schema
    names = [argument.name for argument in schema.arguments]
    return _named({**dict(zip(names, arguments, strict=False)), **options})
