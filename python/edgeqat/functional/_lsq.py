# SPDX-License-Identifier: Apache-2.0
"""Quantizers with a learned step: LSQ, LSQ+, PACT, power-of-two steps, EWGS; and their backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from edgeqat.functional._activation import HARDSWISH, Activation, activation_code
from edgeqat.functional._call import call, check_tensors
from edgeqat.ops import _autograd_lsq

#: How the scale parameter becomes the step.
Rule = Literal["lsq", "power_of_two", "pact"]
#: What is kept for backward.
Save = Literal["exact", "compact"]

_OPS = torch.ops.edgeqat
_RULES = {"lsq": 0, "power_of_two": 1, "pact": 2}
_SAVES = {"exact": 0, "compact": _autograd_lsq.COMPACT}


def learned_step(scale: Tensor, qmin: int, qmax: int, rule: Rule = "lsq") -> Tensor:
    """The step in use of a learned scale parameter: positive, whatever the parameter.

    With `m = max(|scale|, 2**-100)`: m itself ("lsq"), the next power of two from m on
    ("power_of_two"), or `m / (qmax - qmin)` ("pact", whose parameter is the clipping value alpha).

    Args:
        scale: float32, finite, any shape.
        qmin: lowest code.
        qmax: highest code.
        rule: which of the three.

    Returns:
        float32 in the shape of `scale`, without a gradient.

    Raises:
        ValueError: another dtype or rule, NaN or infinity, `qmin >= qmax`.

    Example:
        >>> learned_step(torch.tensor([-0.3, 6.0]), 0, 15)
        tensor([0.3000, 6.0000])
        >>> learned_step(torch.tensor([-0.3, 6.0]), 0, 15, rule="power_of_two")
        tensor([0.5000, 8.0000])
        >>> learned_step(torch.tensor([6.0]), 0, 15, rule="pact")
        tensor([0.4000])
    """
    check_tensors("learned_step", "scale", scale)
    result: Tensor = call(_OPS.learned_step, scale.detach(), qmin, qmax, _rule_code(rule))
    return result


def lsq_fake_quantize(
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: Activation = None,
    rule: Rule = "lsq",
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
    save: Save = "exact",
) -> Tensor:
    """:func:`fake_quantize` with a learned step, and with `offset` a learned zero point.

    Forward is `fake_quantize(activation(x), step, z, qmin, qmax)` bit for bit, with
    `step = learned_step(scale)` and `z = clamp(round(-offset / step), qmin, qmax)`, 0 without an
    offset: what is trained is what is deployed.

    Backward, with `v = a / step`, `r = round(v) - v` and g the incoming gradient:

    - x is in range where `qmin <= v + z <= qmax`, as in the paper, but with both ends, so that a
      weight on the outermost code can return; :func:`fake_quantize` passes its gradient half a
      step further, to where the rounded code is clipped;
    - x: g in range, 0 where x is clipped (EWGS, `delta > 0`: `g - |g| * r * delta / (qmax - qmin)`);
    - scale: the sum of `g * r` in range and `g * qmin`, `g * qmax` where x is clipped, times
      d step / d scale and `grad_scale` (PACT: nothing in range);
    - offset: the sum of g where x is clipped, times `grad_scale`.

    NaN in x stays NaN and counts as in range; the gradient of its scale becomes NaN (with
    `save="compact"` it adds nothing). Second derivatives are refused.

    Args:
        x: float32, bfloat16 or float16, any shape.
        scale: the learned parameter, float32, finite, any sign; `[1]`, or as :func:`fake_quantize`.
        qmin: lowest code, at most 0 without an offset.
        qmax: highest code.
        axis: channel axis, or None for per tensor.
        group_size: elements along `axis` that share a scale, or None.
        offset: the learned offset of LSQ+, in units of x, float32 in the shape of `scale`; or None.
        mask: bool in the shape of x; where False, y is +0 and all gradients are 0.
        activation: "relu", "relu6" or "hardswish", applied to x first; None for none.
        rule: "lsq", "power_of_two" or "pact", see :func:`learned_step`.
        grad_scale: factor of the gradients of scale and offset; None for the LSQ paper's
            `1 / sqrt(n * qmax)` with n elements to a scale (for activations the paper leaves the
            batch out of n, as :class:`edgeqat.nn.LearnedActivationQuantizer` does); 1 for pact.
        delta: strength of EWGS; 0 for the clipped straight-through estimator.
        damping: adds the gradient of `damping * (a - y)**2` in range, which holds weights in the
            middle of their step (oscillation dampening).
        save: "exact" keeps x by reference, "compact" one byte an element, with an error of the
            scale's gradient of at most `sum |g| / 506` times its factors (relu6: 500).

    Returns:
        y in the shape and dtype of x.

    Raises:
        ValueError: a wrong dtype, shape, device, range, name or option; NaN or infinity in scale or
            offset; `save="compact"` with hardswish or damping, which need x.
        TypeError: x, scale, offset or mask is no tensor.
        RuntimeError: a second derivative.

    Example:
        >>> x = torch.tensor([0.1, 0.35, 9.0], requires_grad=True)
        >>> scale = torch.tensor([0.25], requires_grad=True)
        >>> y = lsq_fake_quantize(x, scale, -8, 7, grad_scale=1.0)
        >>> y
        tensor([0.0000, 0.2500, 1.7500], grad_fn=<LsqExactBackward>)
        >>> y.sum().backward()
        >>> x.grad, scale.grad
        (tensor([1., 1., 0.]), tensor([6.2000]))
    """
    check_tensors("lsq_fake_quantize", "x", x)
    check_tensors("lsq_fake_quantize", "scale", scale)
    if offset is not None:
        check_tensors("lsq_fake_quantize", "offset", offset)
    code = _save_code(save)
    options = (activation_code(activation), _rule_code(rule), grad_scale, delta, damping)
    if code == _autograd_lsq.COMPACT and (damping != 0.0 or options[0] == HARDSWISH):
        raise ValueError(
            'edgeqat::lsq_fake_quantize: save must be "exact" for hardswish and for damping, whose '
            'gradients need x, found "compact".'
        )
    grid = (qmin, qmax, axis, group_size)
    y: Tensor = call(_autograd_lsq.lsq_fake_quantize, x, scale, offset, mask, grid, options, code)
    return y


def lsq_fake_quantize_train(
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: Activation = None,
    rule: Rule = "lsq",
    grad_scale: float | None = None,
    delta: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """:func:`lsq_fake_quantize` that also returns the byte per element that backward can do with.

    Use it to write an autograd function of your own around the pair; models call
    `lsq_fake_quantize(..., save="compact")`.

    Args:
        x: see :func:`lsq_fake_quantize`.
        scale: see there.
        qmin: lowest code.
        qmax: highest code.
        axis: channel axis, or None.
        group_size: elements along `axis` that share a scale, or None.
        offset: see there.
        mask: see there.
        activation: "relu", "relu6" or None.
        rule: see there.
        grad_scale: see there.
        delta: see there.

    Returns:
        y, and the residual: int8 in the shape of x. -126..126: `round(253 * (round(v) - v))`;
        -128 and 127: clipped at qmin, at qmax; -127: no gradient (relu6: 250 levels, and 126 for
        values from 6 on).

    Raises:
        ValueError: as :func:`lsq_fake_quantize`.

    Example:
        >>> x = torch.tensor([0.1, 0.35, 9.0, -9.0])
        >>> y, residual = lsq_fake_quantize_train(x, torch.tensor([0.25]), -8, 7)
        >>> residual
        tensor([-101, -101,  127, -128], dtype=torch.int8)
    """
    options = (activation_code(activation), _rule_code(rule), grad_scale, delta)
    result: tuple[Tensor, Tensor] = call(
        _OPS.lsq_fake_quantize_train,
        *(x, scale, qmin, qmax, axis, group_size, offset, mask),
        *options,
    )
    return result


def lsq_fake_quantize_backward(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: Activation = None,
    rule: Rule = "lsq",
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of :func:`lsq_fake_quantize`, recomputed from x in one pass.

    Args:
        grad: the incoming gradient, dtype and shape of x.
        x: what forward was given; see :func:`lsq_fake_quantize` for all that follow.
        scale: see there.
        qmin: lowest code.
        qmax: highest code.
        axis: channel axis, or None.
        group_size: elements along `axis` that share a scale, or None.
        offset: see there.
        mask: see there.
        activation: see there.
        rule: see there.
        grad_scale: see there.
        delta: see there.
        damping: see there.

    Returns:
        Gradients of x (its shape and dtype), of scale, and of offset (empty without one).

    Raises:
        ValueError: as :func:`lsq_fake_quantize`.

    Example:
        >>> x, grad = torch.tensor([0.1, 0.35, 9.0]), torch.ones(3)
        >>> lsq_fake_quantize_backward(grad, x, torch.tensor([0.25]), -8, 7, grad_scale=1.0)
        (tensor([1., 1., 0.]), tensor([6.2000]), tensor([]))
    """
    options = (activation_code(activation), _rule_code(rule), grad_scale, delta, damping)
    result: tuple[Tensor, Tensor, Tensor] = call(
        _OPS.lsq_fake_quantize_backward,
        *(grad, x, scale, qmin, qmax, axis, group_size, offset, mask),
        *options,
    )
    return result


def lsq_fake_quantize_compact_backward(
    grad: Tensor,
    residual: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    activation: Activation = None,
    rule: Rule = "lsq",
    grad_scale: float | None = None,
    delta: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of :func:`lsq_fake_quantize` from the residual instead of x.

    Args:
        grad: the incoming gradient, shape of x.
        residual: from :func:`lsq_fake_quantize_train`, called with the arguments that follow.
        scale: see :func:`lsq_fake_quantize`.
        qmin: lowest code.
        qmax: highest code.
        axis: channel axis, or None.
        group_size: elements along `axis` that share a scale, or None.
        offset: see there.
        activation: "relu", "relu6" or None.
        rule: see there.
        grad_scale: see there.
        delta: see there.

    Returns:
        Gradients of x (shape of x, dtype of `grad`), of scale, and of offset (empty without one).

    Raises:
        ValueError: as :func:`lsq_fake_quantize`.

    Example:
        >>> residual = torch.tensor([-101, -101, 127], dtype=torch.int8)
        >>> scale, grad = torch.tensor([0.25]), torch.ones(3)
        >>> lsq_fake_quantize_compact_backward(grad, residual, scale, -8, 7, grad_scale=1.0)
        (tensor([1., 1., 0.]), tensor([6.2016]), tensor([]))
    """
    options = (activation_code(activation), _rule_code(rule), grad_scale, delta)
    result: tuple[Tensor, Tensor, Tensor] = call(
        _OPS.lsq_fake_quantize_compact_backward,
        *(grad, residual, scale, qmin, qmax, axis, group_size, offset),
        *options,
    )
    return result


def lsq_fake_quantize_multi(
    x: Sequence[Tensor],
    scale: Sequence[Tensor],
    qmin: Sequence[int],
    qmax: Sequence[int],
    *,
    axis: Sequence[int | None] | None = None,
    group_size: Sequence[int | None] | None = None,
    rule: Rule = "lsq",
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
) -> list[Tensor]:
    """:func:`lsq_fake_quantize` of many tensors in one call and one autograd node.

    For all weights of a model: small tensors then share the threads instead of waiting for each
    other, and the cost of a call is paid once. Each result is what the single op gives, bit for bit.
    Backward recomputes from x, which is kept by reference.

    Args:
        x: the tensors, any shapes; see :func:`lsq_fake_quantize` for each of their arguments.
        scale: one learned parameter for each.
        qmin: lowest code of each.
        qmax: highest code of each.
        axis: channel axis or None for each; None for all per tensor.
        group_size: group size or None for each; None for no groups.
        rule: of all of them.
        grad_scale: of all of them; None for each one's `1 / sqrt(n * qmax)`.
        delta: of all of them.
        damping: of all of them.

    Returns:
        One tensor for each x.

    Raises:
        ValueError: as :func:`lsq_fake_quantize`, naming the tensor, or lists of different lengths.
        NotImplementedError: under `torch.vmap`, where the op itself is called.

    Example:
        >>> weights = [torch.tensor([0.1, 0.35, 9.0]), torch.tensor([[0.3], [-0.2]])]
        >>> steps = [torch.tensor([0.25]), torch.tensor([0.25, 0.1])]
        >>> lsq_fake_quantize_multi(weights, steps, [-8, -8], [7, 7], axis=[None, 0])
        [tensor([0.0000, 0.2500, 1.7500]), tensor([[ 0.2500],
                [-0.2000]])]
    """
    if len(x) == 0:
        return []  # the dispatcher finds the kernel by a tensor
    check_tensors("lsq_fake_quantize_multi", "x", *x)
    check_tensors("lsq_fake_quantize_multi", "scale", *scale)
    lists = (list(x), list(scale), list(qmin), list(qmax), *_places(len(x), axis, group_size))
    result: list[Tensor] = call(
        *(_autograd_lsq.lsq_fake_quantize_multi, *lists),
        *(_rule_code(rule), grad_scale, delta, damping),
    )
    return result


def lsq_fake_quantize_multi_backward(
    grad: Sequence[Tensor],
    x: Sequence[Tensor],
    scale: Sequence[Tensor],
    qmin: Sequence[int],
    qmax: Sequence[int],
    *,
    axis: Sequence[int | None] | None = None,
    group_size: Sequence[int | None] | None = None,
    rule: Rule = "lsq",
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
) -> list[Tensor]:
    """The gradients of :func:`lsq_fake_quantize_multi`, recomputed from x.

    Args:
        grad: the incoming gradient of each result.
        x: what forward was given; see :func:`lsq_fake_quantize_multi` for all that follow.
        scale: see there.
        qmin: see there.
        qmax: see there.
        axis: see there.
        group_size: see there.
        rule: see there.
        grad_scale: see there.
        delta: see there.
        damping: see there.

    Returns:
        The gradients of all x, then those of all scales.

    Raises:
        ValueError: as :func:`lsq_fake_quantize_multi`.

    Example:
        >>> x, grad, scale = torch.tensor([0.1, 0.35, 9.0]), torch.ones(3), torch.tensor([0.25])
        >>> lsq_fake_quantize_multi_backward([grad], [x], [scale], [-8], [7], grad_scale=1.0)
        [tensor([1., 1., 0.]), tensor([6.2000])]
    """
    for name, tensors in (("grad", grad), ("x", x), ("scale", scale)):
        check_tensors("lsq_fake_quantize_multi_backward", name, *tensors)
    lists = (list(grad), list(x), list(scale), list(qmin), list(qmax))
    result: list[Tensor] = call(
        *(_OPS.lsq_fake_quantize_multi_backward, *lists, *_places(len(x), axis, group_size)),
        *(_rule_code(rule), grad_scale, delta, damping),
    )
    return result


def _places(
    count: int, axis: Sequence[int | None] | None, group_size: Sequence[int | None] | None
) -> tuple[list[int], list[int]]:
    """Axes and group sizes as the op takes them: no list of optional integers."""
    axes = [None] * count if axis is None else axis
    sizes = [None] * count if group_size is None else group_size
    return [_autograd_lsq.NO_AXIS if k is None else k for k in axes], [g or 0 for g in sizes]


def _rule_code(rule: Rule) -> int:
    code = _RULES.get(rule)
    if code is None:
        raise ValueError(
            f'edgeqat: rule must be "lsq", "power_of_two" or "pact", found {rule!r}. They differ in '
            "how the parameter becomes the step: see edgeqat.functional.learned_step."
        )
    return code


def _save_code(save: Save) -> int:
    code = _SAVES.get(save)
    if code is None:
        raise ValueError(
            f'edgeqat: save must be "exact" (x by reference) or "compact" (one byte an element), '
            f"found {save!r}."
        )
    return code
