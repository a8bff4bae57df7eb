# SPDX-License-Identifier: Apache-2.0
"""Binds example inputs to the arguments of a model's forward, and real calls to the captured graph's inputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Leaf:
    """One leaf of the example inputs.

    name: 'x', or 'batch.image' inside a nested argument. tensor: whether it is a graph input.
    value: what it was at capture when it is not a tensor (the graph holds for this value only).
    shape: at capture, -1 where any size is good. dtype: of the example.
    """

    name: str
    tensor: bool
    value: Any = None
    shape: tuple[int, ...] = ()
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Structure:
    """The nesting of a result: `template` is the result with leaf numbers for leaves.

    Pickles as plain data where a pytree spec would not (torch deprecated pickling leaf specs).
    """

    template: Any

    @property
    def spec(self) -> pytree.TreeSpec:
        """The same as a pytree spec."""
        return pytree.tree_structure(self.template)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        register_dataclasses(self.template)  # a new process does not know the model's own types


@dataclass(frozen=True)
class Signature:
    """The arguments of a model's forward.

    parameters: (name, kind, has default, default) in order. bound: the names that the example gave.
    leaves: the flattened values of `bound`. template: {name: value} with leaf numbers for leaves.
    guards: expressions over the arguments' sizes that must be true, see edgeqat.graph.guards.
    """

    parameters: tuple[tuple[str, str, bool, Any], ...]
    bound: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    template: dict[str, Any]
    guards: tuple[str, ...] = ()

    @property
    def spec(self) -> pytree.TreeSpec:
        """Structure of the bound arguments."""
        return pytree.tree_structure(self.template)

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""
        return tuple(leaf.name for leaf in self.leaves if leaf.tensor)

    def with_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> Signature:
        """The same with the given shapes of tensor leaves."""
        leaves = tuple(replace(x, shape=shapes.get(x.name, x.shape)) for x in self.leaves)
        return replace(self, leaves=leaves)


def register_dataclasses(tree: Any) -> None:
    """Makes dataclasses in `tree` known to torch as containers."""
    while kinds := {type(x) for x in pytree.tree_leaves(tree) if is_dataclass(x)}:
        for kind in kinds:  # again: a container shows the dataclasses inside it
            torch.export.register_dataclass(kind)


def bind(
    model: nn.Module, example_inputs: Any, example_kwargs: Mapping[str, Any] | None
) -> inspect.BoundArguments:
    """Binds by the signature of `model.forward`: a tensor is the first argument, a tuple or list is
    positional, a dict is by name; anything else is the first argument."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example_inputs, tuple | list):
        args = tuple(example_inputs)
    elif isinstance(example_inputs, dict):
        kwargs.update(example_inputs)
    else:
        args = (example_inputs,)
    kwargs.update(example_kwargs or {})
    signature = inspect.signature(model.forward)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"example inputs do not fit {type(model).__name__}.forward{signature}: {error}; give a tensor, a tuple "
            "(positional) or a dict (by name)"
        ) from None


def describe(bound: inspect.BoundArguments) -> Signature:
    """The `Signature` of bound example inputs."""
    values, spec = pytree.tree_flatten_with_path(dict(bound.arguments))
    leaves = []
    for key_path, value in values:
        name = ".".join(_key(k) for k in key_path)
        if isinstance(value, torch.Tensor):
            leaves.append(Leaf(name, True, None, tuple(value.shape), value.dtype))
        else:
            leaves.append(Leaf(name, False, value))
    parameters = tuple(
        (p.name, p.kind.name, p.default is not p.empty, None if p.default is p.empty else p.default)
        for p in bound.signature.parameters.values()
    )
    template = pytree.tree_unflatten(range(len(leaves)), spec)
    return Signature(parameters, tuple(bound.arguments), tuple(leaves), template)


def check(leaf: Leaf, value: Any) -> None:
    """Refuses a call that the captured graph would answer wrongly."""
    if not leaf.tensor:
        if isinstance(value, torch.Tensor) or not _same(value, leaf.value):
            found = "a tensor" if isinstance(value, torch.Tensor) else repr(value)
            raise ValueError(
                f"argument '{leaf.name}': the model was captured with {leaf.value!r}, found {found}; prepare it again "
                "with example inputs that hold the value you need"
            )
        return
    if not isinstance(value, torch.Tensor):
        raise TypeError(
            f"argument '{leaf.name}': expected a tensor as at capture, found {type(value).__name__}"
        )
    shape = value.shape
    if len(shape) != len(leaf.shape) or any(
        want not in (-1, have) for want, have in zip(leaf.shape, shape, strict=True)
    ):
        raise ValueError(
            f"argument '{leaf.name}': expected shape {list(leaf.shape)} (-1: any size), found {list(shape)}; "
            "only the batch may vary; plan and prepare the model with example inputs of this shape"
        )


def check_absent(name: str, default: Any, value: Any) -> None:
    """Refuses an argument that the example inputs left at its default."""
    if value is not default and not _same(value, default):
        raise ValueError(
            f"argument '{name}': the model was captured with its default {default!r}; prepare it again with an example "
            f"value for '{name}'"
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return a is b
    return type(a) is type(b) and bool(a == b)


def _key(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
