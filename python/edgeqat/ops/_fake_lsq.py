# SPDX-License-Identifier: Apache-2.0
"""Fake (meta) kernels of the quantizers with a learned step. What decides no shape or dtype is passed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgeqat.ops._fake import fake

Gradients = tuple[Tensor, Tensor, Tensor]


def _parameter_gradients(scale: Tensor, offset: Tensor | None) -> tuple[Tensor, Tensor]:
    return scale.new_empty(scale.shape), scale.new_empty((0,) if offset is None else scale.shape)


@fake("learned_step")
def _learned_step(scale: Tensor, *_: Any) -> Tensor:
    return scale.new_empty(scale.shape)


@fake("lsq_fake_quantize")
def _lsq_fake_quantize(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


@fake("lsq_fake_quantize_train")
def _lsq_fake_quantize_train(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x, dtype=torch.int8)


@fake("lsq_fake_quantize_backward")
def _lsq_fake_quantize_backward(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    *_: Any,
) -> Gradients:
    return torch.empty_like(x), *_parameter_gradients(scale, offset)


@fake("lsq_fake_quantize_compact_backward")
def _lsq_fake_quantize_compact_backward(
    grad: Tensor,
    residual: Tensor,
    scale: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    offset: Tensor | None = None,
    *_: Any,
) -> Gradients:
    grad_x = torch.empty_like(residual, dtype=grad.dtype)
    return grad_x, *_parameter_gradients(scale, offset)


@fake("lsq_fake_quantize_multi")
def _lsq_fake_quantize_multi(x: Sequence[Tensor], *_: Any) -> list[Tensor]:
    return [torch.empty_like(one) for one in x]


@fake("lsq_fake_quantize_multi_backward")
def _lsq_fake_quantize_multi_backward(
    grad: Sequence[Tensor], x: Sequence[Tensor], scale: Sequence[Tensor], *_: Any
) -> list[Tensor]:
    return [*(torch.empty_like(one) for one in x), *(s.new_empty(s.shape) for s in scale)]
