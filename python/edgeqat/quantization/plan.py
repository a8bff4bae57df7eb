# SPDX-License-Identifier: Apache-2.0
"""Plan: a recipe resolved on one model, one decision per tensor; printable, editable, serialisable."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tabulate import tabulate

from edgeqat import _C
from edgeqat._C import TensorPlan
from edgeqat.quantization.recipe import Recipe
from edgeqat.quantization.target import Target, find_target

__all__ = ["CoverageError", "LayerPlan", "Plan", "Selection", "TensorPlan"]


class CoverageError(ValueError):
    """`strict=True` found tensors that stay float.

    Example:
        >>> import torch, edgeqat
        >>> edgeqat.plan(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softplus()), torch.randn(2, 4), strict=True)
        Traceback (most recent call last):
        ...
        edgeqat.quantization.plan.CoverageError: plan: 1 tensors stay float:...
    """


def _row(tensor: TensorPlan, operator: str) -> list[str]:
    """One row of the printed table."""
    scheme = ""
    if tensor.bits is not None and tensor.status == "quantized":
        scheme = ("symmetric" if tensor.symmetric else "affine") + f", per {tensor.granularity}"
    width = (
        "float" if tensor.status == "float" else "" if tensor.bits is None else f"int{tensor.bits}"
    )
    shape = "x".join("N" if size < 0 else str(size) for size in tensor.shape)
    return [tensor.name, operator, shape, tensor.status, width, scheme, tensor.note, tensor.source]


@dataclass
class LayerPlan:
    """The tensors of one operator: its weight, if it has one, its output, and its input where it rounds that once more.

    Example:
        >>> layer = LayerPlan("relu", "relu", TensorPlan("relu", "quantized", 8))
        >>> [tensor.name for tensor in layer.tensors]
        ['relu']
    """

    name: str
    operator: str
    output: TensorPlan
    weight: TensorPlan | None = None
    input: TensorPlan | None = None

    @property
    def tensors(self) -> list[TensorPlan]:
        """Weight, input and output."""
        return [t for t in (self.weight, self.input, self.output) if t is not None]


class Selection:
    """The layers that a pattern matched; reading gives all their tensors, assigning changes all of them.

    Example:
        >>> import torch, edgeqat
        >>> plan = edgeqat.plan(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)), torch.randn(2, 4))
        >>> plan["*"].weight.bits = 4
        >>> [(tensor.name, tensor.bits) for tensor in plan["*"].weight]
        [('0.weight', 4), ('1.weight', 4)]
    """

    def __init__(self, layers: list[LayerPlan], slot: str | None = None) -> None:
        object.__setattr__(self, "_layers", layers)
        object.__setattr__(self, "_slot", slot)

    @property
    def weight(self) -> Selection:
        """The weights of these layers."""
        return Selection([layer for layer in self._layers if layer.weight is not None], "weight")

    @property
    def input(self) -> Selection:
        """The inputs of those of these layers that round them once more."""
        return Selection([layer for layer in self._layers if layer.input is not None], "input")

    @property
    def output(self) -> Selection:
        """The outputs of these layers that have a scale of their own."""
        return Selection(
            [layer for layer in self._layers if layer.output.status in ("quantized", "float")],
            "output",
        )

    def _tensors(self) -> list[TensorPlan]:
        if self._slot is None:
            return [tensor for layer in self._layers for tensor in layer.tensors]
        return [getattr(layer, self._slot) for layer in self._layers]

    def __iter__(self) -> Iterator[TensorPlan]:
        return iter(self._tensors())

    def __len__(self) -> int:
        return len(self._tensors())

    def __getattr__(self, name: str) -> Any:
        values = [getattr(tensor, name) for tensor in self._tensors()]
        return values[0] if len(values) == 1 else values

    def __setattr__(self, name: str, value: Any) -> None:
        if self._slot is None:
            raise AttributeError(
                f"plan: say which tensors: plan[...].weight.{name} or plan[...].output.{name}"
            )
        if not len(self):
            raise ValueError(f"plan: the selected layers have no {self._slot} to edit")
        for tensor in self._tensors():
            if not hasattr(tensor, name):
                raise AttributeError(f"plan: a tensor has no field {name!r}")
            setattr(tensor, name, value)


@dataclass
class Plan:
    """A decision per tensor of one model.

    Example:
        >>> import torch, edgeqat
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> plan = edgeqat.plan(model, torch.randn(2, 4), recipe="int8")
        >>> plan["2"].weight.bits = 4
        >>> plan["2"].weight.bits
        4
    """

    recipe: Recipe
    target: str
    layers: dict[str, LayerPlan]
    mode: Literal["graph", "module"] = "graph"
    shared_groups: list[list[str]] = field(default_factory=list)
    example_inputs: Any = field(default=None, repr=False, compare=False)
    example_kwargs: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    dynamic_batch: bool = True

    def __getitem__(self, pattern: str) -> Selection:
        """The layers whose name equals or matches the glob `pattern`.

        Raises:
            KeyError: none does; the message lists names that are near.
        """
        found = [layer for name, layer in self.layers.items() if name == pattern]
        found = found or [
            layer for name, layer in self.layers.items() if fnmatch.fnmatchcase(name, pattern)
        ]
        if not found:
            names = ", ".join(list(self.layers)[:8])
            raise KeyError(
                f"plan: no layer matches {pattern!r}; layers: {names}{', ...' if len(self.layers) > 8 else ''}"
            )
        return Selection(found)

    @property
    def tensors(self) -> list[TensorPlan]:
        """Every tensor once, in the order of the graph (a tied weight appears with its first layer)."""
        seen: dict[str, TensorPlan] = {}
        for layer in self.layers.values():
            for tensor in layer.tensors:
                seen.setdefault(
                    tensor.name if tensor is layer.weight else tensor.name + "\0", tensor
                )
        return list(seen.values())

    def unquantized(self) -> list[TensorPlan]:
        """The tensors that stay float, each with the reason in `note`."""
        own_inputs = {
            id(layer.input) for layer in self.layers.values()
        }  # float: read as the tensor is
        return [t for t in self.tensors if t.status == "float" and id(t) not in own_inputs]

    def check(self, *, strict: bool = False, target: Target | None = None) -> None:
        """Hold the plan against its target; `strict` also refuses tensors that stay float.

        Args:
            strict: refuse tensors that stay float.
            target: the target itself, for one that edgeqat does not know by name.

        Raises:
            ValueError: the target cannot store or compute a width or granularity.
            CoverageError: `strict` and a tensor stays float; the message lists each with its reason and source line.
        """
        self._core().check(find_target(target or self.target))
        left = self.unquantized()
        if strict and left:
            lines = "\n".join(
                f"  {t.name}: {t.note} ({t.source or 'source unknown'})" for t in left
            )
            raise CoverageError(
                f"plan: {len(left)} tensors stay float:\n{lines}\nChange the model or the recipe, or use strict=False."
            )

    def rows(self) -> list[list[str]]:
        """The printed table as lists."""
        rows, seen = [], set()
        for layer in self.layers.values():
            for tensor in layer.tensors:
                if tensor is layer.weight and tensor.name in seen:
                    continue
                seen.add(tensor.name if tensor is layer.weight else None)
                rows.append(_row(tensor, layer.operator))
        return rows

    def __str__(self) -> str:
        header = ["tensor", "operator", "shape", "status", "width", "scheme", "note", "source"]
        count = len(self.tensors)
        left = len(self.unquantized())
        table = tabulate(self.rows(), header, tablefmt="simple", disable_numparse=True)
        return f"{table}\n{count} tensors, {left} stay float; target {self.target}"

    def _core(self) -> _C.Plan:
        """The plan as the C++ core has it, checked."""
        return _C.Plan(
            recipe=_C.Recipe(**vars(self.recipe)),
            target=self.target,
            mode=self.mode,
            dynamic_batch=self.dynamic_batch,
            shared_groups=self.shared_groups,
            layers=[
                _C.LayerPlan(layer.name, layer.operator, layer.output, layer.weight, layer.input)
                for layer in self.layers.values()
            ],
        )

    @staticmethod
    def _from_core(core: _C.Plan) -> Plan:
        weights: dict[str, TensorPlan] = {}  # layers that share a weight hold one object
        layers = {}
        for layer in core.layers:
            weight = layer.weight
            if weight is not None:
                weight = weights.setdefault(weight.name, weight)
            layers[layer.name] = LayerPlan(
                layer.name, layer.operator, layer.output, weight, layer.input
            )
        return Plan(
            Recipe.from_dict(core.recipe.to_dict()),
            core.target,
            layers,
            core.mode,
            core.shared_groups,
            dynamic_batch=core.dynamic_batch,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the recipe, the target and every decision (without example inputs).

        Raises:
            ValueError: an edit left a tensor or the plan as a whole in contradiction; the message names the field.
        """
        return self._core().to_dict()

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Plan:
        """The plan that `to_dict` wrote; give `example_inputs` to `prepare` with it.

        Raises:
            FormatError: the version is newer, or a field is missing, unknown or wrong.
        """
        return Plan._from_core(_C.Plan.from_dict(data))

    def to_json(self, **options: Any) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), **options)

    @staticmethod
    def from_json(text: str) -> Plan:
        """The plan in JSON text.

        Raises:
            FormatError: as `from_dict`, or the text is not JSON.
        """
        return Plan._from_core(_C.Plan.parse(text))
