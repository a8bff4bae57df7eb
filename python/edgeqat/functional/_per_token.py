# SPDX-License-Identifier: Apache-2.0
"""Dynamic quantization of activations, one scale for every token."""

from __future__ import annotations

from torch import Tensor

from edgeqat.functional._call import call, check_tensors
from edgeqat.ops import _autograd_identity


def per_token_fake_quantize(x: Tensor, qmin: int, qmax: int, symmetric: bool) -> Tensor:
    """Round every row of the last axis to a grid of its own range, in floating point.

    `scale, zero_point = choose_qparams(min, max, qmin, qmax, symmetric)` with the smallest and the
    largest finite value of the row, then :func:`fake_quantize` of the row with them. Nothing is
    observed beforehand and there is no state: a runtime computes the same at inference. NaN stays
    NaN and infinities saturate, without a say in the range; a row of zeros has scale 1.

    The gradient is the incoming one for every element, because no value of a row lies beyond its
    own range. Training keeps nothing for it.

    Args:
        x: float32, bfloat16 or float16, any shape, usually `[batch, tokens, features]`. A tensor
            without axes is one row of one element.
        qmin: lowest code.
        qmax: highest code.
        symmetric: zero point 0 (or the middle of an unsigned range), else the affine rule.

    Returns:
        y in the shape and dtype of x.

    Raises:
        ValueError: wrong dtype or code range.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, -0.3, 0.0], [30.0, 70.0, -14.0]])
        >>> per_token_fake_quantize(x, -7, 7, symmetric=True)
        tensor([[  1.0000,  -0.2857,   0.0000],
                [ 30.0000,  70.0000, -10.0000]])
    """
    check_tensors("per_token_fake_quantize", "x", x)
    y: Tensor = call(_autograd_identity.per_token_fake_quantize, x, qmin, qmax, symmetric)
    return y
