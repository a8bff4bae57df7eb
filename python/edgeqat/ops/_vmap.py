# SPDX-License-Identifier: Apache-2.0
"""torch.vmap rules: element-wise ops run once over the batch, the others once per sample.

Ops that update state in place cannot be batched: every sample would write the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import register_vmap

_Rule = Callable[..., tuple[Any, Any]]


def _select(argument: Any, dim: Any, index: int) -> Any:
    # a list argument, such as a shape, comes with a list of dims
    return argument.select(dim, index) if isinstance(dim, int) else argument


def _stack(results: list[Any]) -> tuple[Any, Any]:
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])


def _per_sample(op: Callable[..., Any]) -> _Rule:
    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any, **kwargs: Any) -> Any:
        return _stack(
            [
                op(*(_select(a, d, i) for a, d in zip(args, in_dims, strict=True)), **kwargs)
                for i in range(info.batch_size)
            ]
        )

    return rule


def _element_wise(op: Callable[..., Any]) -> _Rule:
    """Batch the data and shift a non-negative axis; batched or grouped qparams go per sample."""
    names = [argument.name for argument in op._schema.arguments]  # type: ignore[attr-defined]
    per_sample = _per_sample(op)

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any, **kwargs: Any) -> Any:
        batched = {names[i] for i, dim in enumerate(in_dims) if isinstance(dim, int)}
        bound = {**dict(zip(names, args, strict=False)), **kwargs}
        if batched != {names[0]} or bound.get("group_size") or bound.get("mask") is not None:
            return per_sample(info, in_dims, *args, **kwargs)
        bound[names[0]] = args[0].movedim(in_dims[0], 0)
        axis = bound.get("axis")
        if axis is not None and axis >= 0:
            bound["axis"] = axis + 1
        return op(**bound), 0

    return rule


def _refuse(op: str, why: str, instead: str) -> _Rule:
    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"edgeqat.{op} {why} and cannot run under torch.vmap; {instead}")

    return rule


def _per_token(
    info: Any, in_dims: tuple[int | None, ...], x: Tensor, *limits: Any
) -> tuple[Tensor, int]:
    """Rows do not see each other, so the batch only adds rows; a number is a row of its own."""
    batch = x.movedim(in_dims[0] or 0, 0)
    rows = batch.unsqueeze(-1) if batch.ndim == 1 else batch
    y: Tensor = torch.ops.edgeqat.per_token_fake_quantize(rows, *limits)
    return y.reshape(batch.shape), 0


_ops = torch.ops.edgeqat
register_vmap("edgeqat::per_token_fake_quantize", _per_token)
for _name in ("fake_quantize", "lsq_fake_quantize", "quantize", "dequantize"):
    register_vmap(f"edgeqat::{_name}", _element_wise(getattr(_ops, _name).default))
for _name in (
    "choose_qparams",
    "fake_quantize_train",
    "fake_quantize_backward",
    "ternary_fake_quantize",
    "dorefa_fake_quantize",
    "dorefa_fake_quantize_backward",
    "learned_step",
    "lsq_fake_quantize_train",
    "lsq_fake_quantize_backward",
    "lsq_fake_quantize_compact_backward",
    "pack",
    "unpack",
):
    register_vmap(f"edgeqat::{_name}", _per_sample(getattr(_ops, _name).default))
for _name, _instead in {
    "observe_minmax_": "observe the whole batch outside vmap",
    "observe_fake_quantize_": "observe the whole batch outside vmap",
    "oscillation_update_": "update one weight tensor after the other outside vmap",
}.items():
    register_vmap(f"edgeqat::{_name}", _refuse(_name, "updates its state in place", _instead))
for _name in ("lsq_fake_quantize_multi", "lsq_fake_quantize_multi_backward"):
    _instead = "edgeqat.functional calls the single op for each tensor there"
    register_vmap(f"edgeqat::{_name}", _refuse(_name, "takes lists of tensors", _instead))
