# SPDX-License-Identifier: Apache-2.0
"""Refuses sparse tensors by name; without these rules torch answers with a page about missing backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.library import Library

from edgeqat.ops._autocast import POLICY

#: Dispatch keys of tensors that are no plain arrays in memory.
KEYS = ("SparseCPU", "SparseCUDA", "SparseCsrCPU", "SparseCsrCUDA", "MkldnnCPU")


def _sparse(given: dict[str, Any]) -> Iterator[tuple[str, torch.layout]]:
    """Name and layout of every tensor that is not strided, also inside lists."""
    for key, value in given.items():
        if isinstance(value, Tensor) and value.layout != torch.strided:
            yield key, value.layout
        elif isinstance(value, (list, tuple)):
            yield from _sparse({f"{key}[{i}]": item for i, item in enumerate(value)})


def _refusal(name: str) -> Callable[..., NoReturn]:
    op = getattr(torch.ops.edgeqat, name).default
    names = [argument.name for argument in op._schema.arguments]

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        argument, found = next(_sparse({**dict(zip(names, arguments, strict=False)), **options}))
        raise RuntimeError(
            f"edgeqat::{name}: {argument} must be a strided (dense) tensor, found {found}. "
            "Convert it with .to_dense()."
        )

    return refuse


_library = Library("edgeqat", "IMPL")
for _name in POLICY:
    for _key in KEYS:
        _library.impl(_name, _refusal(_name), _key)
