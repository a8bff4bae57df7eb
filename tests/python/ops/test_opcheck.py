# SPDX-License-Identifier: Apache-2.0
"""torch.library.opcheck on every op and a dozen samples each, without a failures dictionary."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_map_only

from edgeqat.ops._autocast import POLICY
from op_cases import samples


@pytest.mark.parametrize("op", POLICY)
@pytest.mark.parametrize("part", [0, *(pytest.param(i, marks=pytest.mark.full) for i in (1, 2, 3))])
def test_opcheck(op: str, part: int) -> None:
    overload = getattr(torch.ops.edgeqat, op).default
    chosen = samples(op)
    assert len(chosen) >= 12
    for arguments, options in chosen[part::4]:
        torch.library.opcheck(overload, arguments, options)


@pytest.mark.parametrize("op", POLICY)
def test_samples_run_and_fake_kernels_agree(op: str) -> None:
    overload = getattr(torch.ops.edgeqat, op).default
    for arguments, options in samples(op, requires_grad=False):
        meta, on_meta = tree_map_only(torch.Tensor, lambda t: t.to("meta"), (arguments, options))
        real, fake = overload(*arguments, **options), overload(*meta, **on_meta)
        for r, f in zip(_tensors(real), _tensors(fake), strict=True):
            assert (r.shape, r.dtype, _strides(r)) == (f.shape, f.dtype, _strides(f))


def _strides(result: torch.Tensor) -> list[int]:
    # of dimensions with more than one element: torch's own meta kernels differ in the others
    return [s for n, s in zip(result.shape, result.stride(), strict=True) if n > 1]


def _tensors(result: object) -> tuple[torch.Tensor, ...]:
    if result is None:
        return ()
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)  # type: ignore[arg-type]
