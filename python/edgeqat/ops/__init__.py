# SPDX-License-Identifier: Apache-2.0
"""What the dispatcher needs from Python for every op of torch.ops.edgeqat.

Schemas and kernels come with the C++ library; importing this package adds the fake kernels, the
autograd formulas, the autocast policy, the vmap rules and the refusal of sparse tensors. Call the
ops by `edgeqat.functional`.
"""

from __future__ import annotations

from edgeqat.ops import (
    _autocast,
    _autograd,
    _autograd_dorefa,
    _autograd_identity,
    _autograd_lsq,
    _autograd_observe,
    _fake,
    _fake_lsq,
    _layout,
    _oscillation,
    _vmap,
)

__all__ = [
    "_autocast",
    "_autograd",
    "_autograd_dorefa",
    "_autograd_identity",
    "_autograd_lsq",
    "_autograd_observe",
    "_fake",
    "_fake_lsq",
    "_layout",
    "_oscillation",
    "_vmap",
]
