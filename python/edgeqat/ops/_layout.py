# SPDX-License-Identifier: Apache-2.0
"""Refuses sparse tensors by name; without these rules torch answers with a page about missing backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch.library import Library

from edgeqat.ops._arguments import named_tensors
from edgeqat.ops._autocast import POLICY

#: Dispatch keys of tensors that are no plain arrays in memory.
KEYS = ("SparseCPU", "SparseCUDA", "SparseCsrCPU", "SparseCsrCUDA", "MkldnnCPU")


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        given = named_tensors(name, arguments, options)
        argument, found = next((key, t) for key, t in given if t.layout != torch.strided)
        raise RuntimeError(
            f"edgeqat::{name}: {argument} must be a strided (dense) tensor, found {found.layout}. "
            "Convert it with .to_dense()."
        )

    return refuse


_library = Library("edgeqat", "IMPL")
for _name in POLICY:
    for _key in KEYS:
        _library.impl(_name, _refusal(_name), _key)
