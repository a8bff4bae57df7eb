# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training for edge hardware: what is trained is what the exported file computes.

Example:
    >>> import torch, edgeqat
    >>> y = edgeqat.functional.fake_quantize(torch.tensor([0.26, 9.0]), 0.5, 0, -8, 7)
    >>> y
    tensor([0.5000, 3.5000])
"""

from __future__ import annotations

from edgeqat import _C, _loader

_loader.load()

__version__: str = _C.version()
