# SPDX-License-Identifier: Apache-2.0
"""The fused quantizer of training: it quantizes a batch and measures its range in one read."""

from __future__ import annotations

from torch import Tensor

from edgeqat.functional._activation import Activation, activation_code
from edgeqat.functional._call import call, check_tensors
from edgeqat.ops import _autograd_observe


def observe_fake_quantize_(
    x: Tensor,
    min_val: Tensor,
    max_val: Tensor,
    count: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    symmetric: bool,
    averaging: float | None = None,
    axis: int | None = None,
    mask: Tensor | None = None,
    activation: Activation = None,
) -> Tensor:
    """Fake-quantize with the range of the batches before, and take this batch into the range.

    In order: `scale, zero_point = choose_qparams(min_val, max_val)`, in place;
    `y = fake_quantize(x, scale, zero_point)`; `observe_minmax_(activation(x), min_val, max_val,
    count)`. The tensor is read once, because the range that this batch has is used from the next one
    on, as FP8 training does (delayed scaling). Where a channel has no range yet, the batch is observed
    first, quantized with its own range and read a second time. Afterwards scale and zero_point are the
    ones that y was made with, so a recomputation of y needs `fake_quantize` alone. An empty batch is
    no batch.

    The gradient is that of :func:`fake_quantize`: clipped straight-through, one bit per element kept.

    Args:
        x: float32, bfloat16 or float16, any shape.
        min_val: float32 `[1]`, or `[x.size(axis)]`; start it at `+inf`. Updated.
        max_val: same shape; start it at `-inf`. Updated.
        count: int64 `[2]`: batches seen, non-finite values skipped; start it at 0. Updated.
        scale: float32, the shape of `min_val`. Overwritten.
        zero_point: int32, the shape of `min_val`. Overwritten.
        qmin: lowest code.
        qmax: highest code.
        symmetric: the rule of :func:`choose_qparams`.
        averaging: None for the running range, or the averaging constant of :func:`observe_minmax_`.
        axis: channel axis, or None for per tensor.
        mask: bool, the shape of x; where it is False y is +0, no gradient passes, and x is neither seen
            nor counted: the range is that of the survivors.
        activation: "relu", "relu6" or "hardswish", applied to x first; None for none.

    Returns:
        y in the shape and dtype of x.

    Raises:
        ValueError: wrong dtype, shape, device or memory of the state, wrong mask, axis, range, averaging
            or activation, or a range in the state that is not finite.

    Example:
        >>> import torch
        >>> low, high = torch.tensor([torch.inf]), torch.tensor([-torch.inf])
        >>> count = torch.zeros(2, dtype=torch.int64)
        >>> scale, zero_point = torch.ones(1), torch.zeros(1, dtype=torch.int32)
        >>> state = (low, high, count, scale, zero_point)
        >>> observe_fake_quantize_(torch.tensor([0.0, 1.1, 4.0]), *state, 0, 4, False)
        tensor([0., 1., 4.])
        >>> observe_fake_quantize_(torch.tensor([0.0, 1.1, 8.0]), *state, 0, 4, False)
        tensor([0., 1., 4.])
        >>> observe_fake_quantize_(torch.tensor([0.0, 1.1, 8.0]), *state, 0, 4, False)
        tensor([0., 2., 8.])
    """
    given = {"x": x, "min_val": min_val, "max_val": max_val, "count": count, "scale": scale}
    for name, tensor in {**given, "zero_point": zero_point}.items():
        check_tensors("observe_fake_quantize_", name, tensor)
    y: Tensor = call(
        _autograd_observe.observe_fake_quantize_,
        x,
        min_val,
        max_val,
        count,
        scale,
        zero_point,
        qmin,
        qmax,
        symmetric,
        averaging,
        axis,
        mask,
        activation_code(activation),
    )
    return y
