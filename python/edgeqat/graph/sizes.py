# SPDX-License-Identifier: Apache-2.0
"""Which sizes of the example inputs may vary: the variants of example and dynamic shapes to capture with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

# Example arguments and what torch.export takes as dynamic_shapes (None: every size is fixed).
Variant = tuple[inspect.BoundArguments, dict[str, Any] | None]


def variants(
    bound: inspect.BoundArguments, dynamic_batch: bool, dynamic_shapes: Mapping[str, Any] | None
) -> list[Variant]:
    """What to try in order; the first that captures with a batch that varies wins.

    torch takes a size of 1 for a constant, so sizes that vary are widened from 1 to 2.
    """
    if dynamic_shapes is not None:
        shapes = {name: dynamic_shapes.get(name) for name in bound.arguments}
        wide = {n: _widen_named(v, shapes[n]) for n, v in bound.arguments.items()}
        return [_variant(bound, wide, shapes)]
    size = batch_size(bound)
    if not dynamic_batch or size is None:
        return [(bound, None)]
    tried: list[Variant] = []
    for dims in (_leading, _anywhere):
        arguments = dict(bound.arguments)
        shapes = pytree.tree_map(_shapes(dims, size), arguments)
        if size == 1:
            arguments = pytree.tree_map(lambda v, d=dims: _double(v, d(v, 1)), arguments)
        if not tried or shapes != tried[0][1]:
            tried.append(_variant(bound, arguments, shapes))
    return [*tried, (bound, None)]


def batch_size(bound: inspect.BoundArguments) -> int | None:
    """Size of the first dimension of the first tensor that has dimensions; None without one."""
    for value in pytree.tree_leaves(dict(bound.arguments)):
        if isinstance(value, torch.Tensor) and value.dim() > 0:
            return int(value.shape[0])
    return None


def batch_varies(program: torch.export.ExportedProgram) -> bool:
    """True when the first input's first dimension stayed symbolic."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.name in inputs and isinstance(value, torch.Tensor) and value.dim() > 0:
            return plain_size(value.shape[0]) == -1
    return False


def plain_size(size: int | torch.SymInt) -> int:
    """The size as a number; -1 when it varies. A SymInt may turn out to be fixed late in the capture."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression) if expression.is_number else -1


def _leading(value: Any, size: int) -> list[int]:
    """Dimension 0, where it has the batch's size."""
    tensor = isinstance(value, torch.Tensor) and value.dim() > 0
    return [0] if tensor and value.shape[0] == size else []


def _anywhere(value: Any, size: int) -> list[int]:
    """Dimension 0, else the first of the batch's size: recurrent state is [layers, batch, features]."""
    if not isinstance(value, torch.Tensor):
        return []
    return [d for d, n in enumerate(value.shape) if n == size][:1]


def _shapes(dims: Callable[[Any, int], list[int]], size: int) -> Callable[[Any], Any]:
    return lambda value: dict.fromkeys(dims(value, size), torch.export.Dim.AUTO) or None


def _double(value: Any, dims: list[int]) -> Any:
    for dim in dims:
        value = torch.cat([value.detach(), value.detach()], dim)
    return value


def _widen_named(value: Any, shape: Any) -> Any:
    if isinstance(value, torch.Tensor):
        named = shape.items() if isinstance(shape, dict) else enumerate(shape or ())
        return _double(value, [d for d, n in named if n is not None and value.shape[d] == 1])
    if isinstance(value, dict) and isinstance(shape, dict):
        return {k: _widen_named(v, shape.get(k)) for k, v in value.items()}
    if isinstance(value, list | tuple) and isinstance(shape, list | tuple):
        return type(value)(_widen_named(v, s) for v, s in zip(value, shape, strict=True))
    return value


def _variant(
    bound: inspect.BoundArguments, arguments: dict[str, Any], shapes: dict[str, Any]
) -> Variant:
    shapes = dict(shapes)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD and name in shapes:
            shapes.update(shapes.pop(name) or {})  # see tracing: **kwargs become named parameters
    return inspect.BoundArguments(bound.signature, arguments), shapes
