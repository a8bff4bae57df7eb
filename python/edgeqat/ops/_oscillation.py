# SPDX-License-Identifier: Apache-2.0
"""Autograd of oscillation_update_: none; it changes weights like an optimizer step does."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.graph import increment_version

_OPS = torch.ops.edgeqat
#: Positions of the tensors that the op writes.
_WRITTEN = (0, 5, 6, 7, 8, 9)
_below_autograd = torch._C._AutoDispatchBelowAutograd


def _oscillation_update_(*arguments: Any) -> None:
    # A weight that requires grad is changed as by optimizer.step(): it stays a leaf, without history.
    with torch.no_grad(), _below_autograd():
        _OPS.oscillation_update_(*arguments)


def _count_versions(keyset: Any, *arguments: Any) -> None:
    # backward through the weights of before the step is refused, not silently wrong
    increment_version([arguments[i] for i in _WRITTEN])
    _OPS.oscillation_update_.default.redispatch(
        keyset & torch._C._after_ADInplaceOrView_keyset, *arguments
    )


_library = torch.library.Library("edgeqat", "IMPL")
_library.impl("oscillation_update_", _oscillation_update_, "Autograd")
_library.impl("oscillation_update_", _count_versions, "ADInplaceOrView", with_keyset=True)
