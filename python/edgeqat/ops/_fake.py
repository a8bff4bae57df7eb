# SPDX-License-Identifier: Apache-2.0
"""Fake (meta) kernels: shape, dtype and strides of every op's result without data.

They let torch.compile, torch.export and FakeTensorMode see through an op. Values, and with them the
checks on scales and ranges, are left to the real kernel at run time; devices are checked here, because
one argument on the meta device sends a call here that has data, whose result nobody would write.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import register_fake

from edgeqat.ops._arguments import named_tensors


def fake(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a fake kernel of edgeqat's op `name` that refuses tensors on different devices."""

    def decorate(kernel: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(kernel)
        def checked(*arguments: Any, **options: Any) -> Any:
            first, *others = named_tensors(name, arguments, options)
            device = first[1].device
            for argument, tensor in others:
                if tensor.device != device:
                    raise RuntimeError(
                        f"edgeqat::{name}: {argument} must be on the device of {first[0]} ({device}), found "
                        f"{tensor.device}. Move it with .to('{device}')."
                    )
            return kernel(*arguments, **options)

        register_fake(f"edgeqat::{name}", checked)
        return checked

    return decorate


@fake("observe_minmax_")
def _observe_minmax_(
    x: Tensor,
    min_val: Tensor,
    max_val: Tensor,
    count: Tensor,
    averaging: float | None = None,
    axis: int | None = None,
    mask: Tensor | None = None,
) -> None:
    return None


@fake("choose_qparams")
def _choose_qparams(
    min_val: Tensor, max_val: Tensor, qmin: int, qmax: int, symmetric: bool
) -> tuple[Tensor, Tensor]:
    return (
        min_val.new_empty(min_val.shape, dtype=torch.float32),
        min_val.new_empty(min_val.shape, dtype=torch.int32),
    )


@fake("fake_quantize")
def _fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
) -> Tensor:
    return torch.empty_like(x)


@fake("fake_quantize_train")
def _fake_quantize_train(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
    activation: int = 0,
) -> tuple[Tensor, Tensor]:
    bits = x.new_empty(((x.numel() + 7) // 8,), dtype=torch.uint8)
    return torch.empty_like(x), bits


@fake("fake_quantize_backward")
def _fake_quantize_backward(
    grad: Tensor, bits: Tensor, x: Tensor | None = None, activation: int = 0
) -> Tensor:
    return torch.empty_like(grad)


@fake("observe_fake_quantize_")
def _observe_fake_quantize_(
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
    activation: int = 0,
) -> tuple[Tensor, Tensor]:
    bits = x.new_empty(((x.numel() + 7) // 8,), dtype=torch.uint8)
    return torch.empty_like(x), bits


def _scale_shape(x: Tensor, axis: int | None, group_size: int | None) -> list[int]:
    if axis is None:
        return [1]
    if group_size is None:
        return [x.shape[axis]]
    shape = list(x.shape)
    shape[axis] = shape[axis] // group_size
    return shape


@fake("ternary_fake_quantize")
def _ternary_fake_quantize(
    x: Tensor, axis: int | None = None, group_size: int | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    scale = x.new_empty(_scale_shape(x, axis, group_size), dtype=torch.float32)
    return torch.empty_like(x), scale


@fake("dorefa_fake_quantize")
def _dorefa_fake_quantize(
    x: Tensor,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    return torch.empty_like(x)


@fake("dorefa_fake_quantize_backward")
def _dorefa_fake_quantize_backward(
    grad: Tensor,
    x: Tensor,
    axis: int | None = None,
    group_size: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    return torch.empty_like(x)


@fake("per_token_fake_quantize")
def _per_token_fake_quantize(x: Tensor, qmin: int, qmax: int, symmetric: bool) -> Tensor:
    return torch.empty_like(x)


@fake("oscillation_update_")
def _oscillation_update_(
    weight: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    codes: Tensor,
    direction: Tensor,
    frequency: Tensor,
    mean_code: Tensor,
    frozen: Tensor,
    momentum: float,
    freeze_threshold: float | None = None,
    axis: int | None = None,
    group_size: int | None = None,
) -> None:
    return None


@fake("quantize")
def _quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    *,
    axis: int | None = None,
    group_size: int | None = None,
) -> Tensor:
    return torch.empty_like(x, dtype=torch.int8 if qmin < 0 else torch.uint8)


@fake("dequantize")
def _dequantize(
    codes: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    *,
    axis: int | None = None,
    group_size: int | None = None,
) -> Tensor:
    return torch.empty_like(codes, dtype=torch.float32)


@fake("pack")
def _pack(codes: Tensor, bits: int) -> Tensor:
    return codes.new_empty(((codes.numel() * bits + 7) // 8,), dtype=torch.uint8)


@fake("unpack")
def _unpack(packed: Tensor, bits: int, shape: Sequence[int], signed: bool) -> Tensor:
    return packed.new_empty(shape, dtype=torch.int8 if signed else torch.uint8)
