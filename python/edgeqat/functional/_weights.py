# SPDX-License-Identifier: Apache-2.0
"""Weight quantizers that choose their own scale: ternary (TWN) and DoReFa."""

from __future__ import annotations

from torch import Tensor

from edgeqat.functional._call import call
from edgeqat.ops import _autograd_dorefa, _autograd_identity


def ternary_fake_quantize(
    x: Tensor,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Round weights to -scale, 0 or +scale, with the scale that approximates them best.

    `threshold = 0.7 * mean |x|`, `scale` is the mean of the `|x|` above the threshold, y is
    `sign(x) * scale` there and 0 elsewhere; for every tensor, channel or group. Means are over the
    finite elements that the mask keeps. NaN stays NaN, infinities become +-scale. A channel of
    zeros has scale 1. `quantize(y, scale, 0, -1, 1, axis=axis)` gives the codes.

    The gradient is the incoming one (0 where pruned); scale is a statistic without a gradient.

    Source: Li, Zhang, Liu, Ternary Weight Networks, 2016.

    Args:
        x: float32, bfloat16 or float16, any shape.
        axis: channel axis, or None for per tensor.
        group_size: elements along `axis` that share a scale, or None.
        mask: bool in the shape of x; where False, y is +0 and the gradient 0.

    Returns:
        y in the shape and dtype of x, and scale: float32 `[1]`, `[x.size(axis)]`, or with groups
        `x.shape` with dimension `axis` divided by `group_size`.

    Raises:
        ValueError: wrong dtype, axis, group size or mask.

    Example:
        >>> import torch
        >>> ternary_fake_quantize(torch.tensor([-1.0, 0.3, 2.0, 0.7]))
        (tensor([-1.5000,  0.0000,  1.5000,  0.0000]), tensor([1.5000]))
    """
    result: tuple[Tensor, Tensor] = call(
        _autograd_identity.ternary_fake_quantize, x, axis, group_size, mask
    )
    return result


def dorefa_fake_quantize(
    x: Tensor,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Squash weights into [-1, 1] by tanh and round them to a grid of step `1 / qmax`.

    `t = tanh(x) / tanh(max |x|)`, `y = fake_quantize(t, 1 / qmax, 0, qmin, qmax)`; the maximum of
    every tensor, channel or group is over the finite elements that the mask keeps. The codes of an
    integer runtime are `quantize(y, 1 / qmax, 0, qmin, qmax)`: unlike the 2^k levels of the paper
    they contain 0. NaN stays NaN, infinities become +-1, a channel of zeros stays zero.

    The gradient is `grad * (1 - tanh(x)^2) / tanh(max |x|)`, with the maximum as a constant, 0 where
    pruned. Training keeps x by reference.

    Source: Zhou et al., DoReFa-Net, 2016.

    Args:
        x: float32, bfloat16 or float16, any shape.
        qmin: lowest code, at most `-qmax`.
        qmax: highest code, at least 1; 7 for 4 bits.
        axis: channel axis, or None for per tensor.
        group_size: elements along `axis` that share a maximum, or None.
        mask: bool in the shape of x; where False, y is +0 and the gradient 0.

    Returns:
        y in the shape and dtype of x, within [-1, 1].

    Raises:
        ValueError: wrong dtype, code range, axis, group size or mask.

    Example:
        >>> import torch
        >>> dorefa_fake_quantize(torch.tensor([-0.1, 0.3, 2.0]), -2, 2)
        tensor([0.0000, 0.5000, 1.0000])
    """
    y: Tensor = call(_autograd_dorefa.dorefa_fake_quantize, x, qmin, qmax, axis, group_size, mask)
    return y


def dorefa_fake_quantize_backward(
    grad: Tensor,
    x: Tensor,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Gradient of :func:`dorefa_fake_quantize` with regard to x.

    `grad * (1 - tanh(x)^2) / tanh(max |x|)` in float32, +0 where the mask is False.

    Args:
        grad: gradient of y, in the dtype and shape of x.
        x: what the forward pass was given.
        axis: as there.
        group_size: as there.
        mask: as there.

    Returns:
        The gradient for x in its shape and dtype.

    Raises:
        ValueError: as the forward pass, or a gradient of another dtype or shape.

    Example:
        >>> import torch
        >>> dorefa_fake_quantize_backward(torch.ones(2), torch.tensor([0.0, 20.0]))
        tensor([1.0000e+00, 1.6993e-17])
    """
    result: Tensor = call(
        _autograd_dorefa.dorefa_fake_quantize_backward, grad, x, axis, group_size, mask
    )
    return result
