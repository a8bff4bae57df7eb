# SPDX-License-Identifier: Apache-2.0
"""Fake (meta) kernels of the quantizers with a learned step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.library import register_fake


@register_fake("edgeqat::learned_step")
def _learned_step(scale: Tensor, qmin: int, qmax: int, rule: int = 0) -> Tensor:
    return scale.new_empty(scale.shape)


@register_fake("edgeqat::lsq_fake_quantize")
def _lsq_fake_quantize(
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
    save: int = 0,
) -> Tensor:
    return torch.empty_like(x)


@register_fake("edgeqat::lsq_fake_quantize_train")
def _lsq_fake_quantize_train(
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x, dtype=torch.int8)


def _parameter_gradients(scale: Tensor, offset: Tensor | None) -> tuple[Tensor, Tensor]:
    return scale.new_empty(scale.shape), scale.new_empty((0,) if offset is None else scale.shape)


@register_fake("edgeqat::lsq_fake_quantize_backward")
def _lsq_fake_quantize_backward(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), *_parameter_gradients(scale, offset)


@register_fake("edgeqat::lsq_fake_quantize_compact_backward")
def _lsq_fake_quantize_compact_backward(
    grad: Tensor,
    residual: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    activation: int = 0,
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x = torch.empty_like(residual, dtype=grad.dtype)
    return grad_x, *_parameter_gradients(scale, offset)


@register_fake("edgeqat::lsq_fake_quantize_multi")
def _lsq_fake_quantize_multi(
    x: Sequence[Tensor],
    scale: Sequence[Tensor],
    qmin: Sequence[int],
    qmax: Sequence[int],
    axis: Sequence[int],
    group_size: Sequence[int],
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
) -> list[Tensor]:
    return [torch.empty_like(one) for one in x]


@register_fake("edgeqat::lsq_fake_quantize_multi_backward")
def _lsq_fake_quantize_multi_backward(
    grad: Sequence[Tensor],
    x: Sequence[Tensor],
    scale: Sequence[Tensor],
    qmin: Sequence[int],
    qmax: Sequence[int],
    axis: Sequence[int],
    group_size: Sequence[int],
    rule: int = 0,
    grad_scale: float | None = None,
    delta: float = 0.0,
    damping: float = 0.0,
) -> list[Tensor]:
    return [*(torch.empty_like(one) for one in x), *(s.new_empty(s.shape) for s in scale)]
