# SPDX-License-Identifier: Apache-2.0
"""Plan: a recipe resolved on one model, one decision per tensor; printable, editable, serialisable."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tabulate import tabulate

from edgeqat.quantization.recipe import Recipe
from edgeqat.quantization.spec import Granularity, QuantSpec
from edgeqat.quantization.target import find_target

Status = Literal["quantized", "fused", "shared", "float"]
PLAN_VERSION = 1


class CoverageError(ValueError):
    """`strict=True` found tensors that stay float.

    Example:
        >>> import torch, edgeqat
        >>> edgeqat.plan(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softplus()), torch.randn(2, 4), strict=True)
        Traceback (most recent call last):
        ...
        edgeqat.quantization.plan.CoverageError: plan: 1 tensors stay float:...
    """


@dataclass
class TensorPlan:
    """The decision about one tensor.

    Assigning to `bits` (None leaves the tensor float) or to another field of the format checks the new value at once.

    Attributes:
        name: the tensor's name; weights carry their parameter's name.
        status: "quantized"; "fused": it exists only inside a merged operator; "shared": it carries the values and the scale of
            another tensor; "float": see `note`.
        bits: width, or None for float.
        note: the reason it stays float, or what it is fused into or shares with.
        source: the user's source line, ``file.py:12``.
        shape: -1 for sizes that may change.
        fixed_range: range known beforehand, such as (0, 1) for softmax.

    Example:
        >>> tensor = TensorPlan("fc.weight", "quantized", 8, granularity="channel", axis=0, shape=(10, 64))
        >>> tensor.bits = 4
        >>> tensor.spec.qmin, tensor.spec.qmax
        (-8, 7)
        >>> tensor.bits = 9
        Traceback (most recent call last):
        ...
        ValueError: QuantSpec: bits must be an integer in 2..8, found 9
    """

    name: str
    status: Status
    bits: int | None
    symmetric: bool = True
    granularity: Granularity = "tensor"
    axis: int | None = None
    group_size: int | None = None
    narrow_range: bool = False
    shape: tuple[int, ...] = ()
    source: str = ""
    note: str = ""
    fixed_range: tuple[float, float] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        before = getattr(self, name, None)
        object.__setattr__(self, name, value)
        if name in ("bits", "symmetric", "granularity", "axis", "group_size", "narrow_range"):
            if "fixed_range" not in self.__dict__:
                return  # still inside __init__
            try:
                if self.bits is not None and self.status in ("fused", "shared"):
                    raise ValueError(
                        f"plan: {self.name} is {self.status} ({self.note}); edit that tensor instead"
                    )
                if self.bits is not None:
                    self.spec.scale_shape(self.shape if self.axis is not None else ())
                    self.status = "quantized"
                elif self.status == "quantized":
                    self.status, self.note = "float", "left float by an edit of the plan"
            except ValueError:
                object.__setattr__(self, name, before)
                raise

    @property
    def spec(self) -> QuantSpec:
        """The number format.

        Raises:
            ValueError: the tensor stays float.
        """
        if self.bits is None:
            raise ValueError(
                f"plan: {self.name} stays float ({self.note}); it has no number format"
            )
        return QuantSpec(
            self.bits,
            self.symmetric,
            self.granularity,
            self.axis,
            self.group_size,
            self.narrow_range,
        )

    def row(self, operator: str) -> list[str]:
        """One row of the printed table."""
        scheme = ""
        if self.bits is not None and self.status == "quantized":
            scheme = ("symmetric" if self.symmetric else "affine") + f", per {self.granularity}"
        width = (
            "float" if self.status == "float" else "" if self.bits is None else f"int{self.bits}"
        )
        shape = "x".join("N" if size < 0 else str(size) for size in self.shape)
        return [self.name, operator, shape, self.status, width, scheme, self.note, self.source]


@dataclass
class LayerPlan:
    """The tensors of one operator: its weight, if it has one, and its output.

    Example:
        >>> layer = LayerPlan("relu", "relu", TensorPlan("relu", "quantized", 8))
        >>> [tensor.name for tensor in layer.tensors]
        ['relu']
    """

    name: str
    operator: str
    output: TensorPlan
    weight: TensorPlan | None = None

    @property
    def tensors(self) -> list[TensorPlan]:
        """Weight and output."""
        return [t for t in (self.weight, self.output) if t is not None]


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
        return [tensor for tensor in self.tensors if tensor.status == "float"]

    def check(self, *, strict: bool = False) -> None:
        """Hold the plan against its target; `strict` also refuses tensors that stay float.

        Raises:
            ValueError: the target cannot store or compute a width or granularity.
            CoverageError: `strict` and a tensor stays float; the message lists each with its reason and source line.
        """
        target = find_target(self.target)
        weights = {id(layer.weight) for layer in self.layers.values()}
        for tensor in self.tensors:
            if tensor.bits is None or tensor.status != "quantized":
                continue
            allowed = target.weight_bits if id(tensor) in weights else target.activation_bits
            if tensor.bits not in allowed:
                raise ValueError(
                    f"plan: target {target.name!r} has no int{tensor.bits} for {tensor.name}; it has {list(allowed)} bits"
                )
            if tensor.granularity not in target.granularities:
                raise ValueError(
                    f"plan: target {target.name!r} has no scales per {tensor.granularity} for {tensor.name}"
                )
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
                rows.append(tensor.row(layer.operator))
        return rows

    def __str__(self) -> str:
        header = ["tensor", "operator", "shape", "status", "width", "scheme", "note", "source"]
        count = len(self.tensors)
        left = len(self.unquantized())
        table = tabulate(self.rows(), header, tablefmt="simple", disable_numparse=True)
        return f"{table}\n{count} tensors, {left} stay float; target {self.target}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the recipe, the target and every decision (without example inputs)."""

        def tensor(t: TensorPlan) -> dict[str, Any]:
            keep = {
                k: v
                for k, v in t.__dict__.items()
                if not (v is None or v is False or v == "" or v == ()) or k == "bits"
            }
            return {**keep, "shape": list(t.shape)}

        layers = [
            {
                "name": layer.name,
                "operator": layer.operator,
                "output": tensor(layer.output),
                **({"weight": tensor(layer.weight)} if layer.weight else {}),
            }
            for layer in self.layers.values()
        ]
        return {
            "version": PLAN_VERSION,
            "recipe": self.recipe.to_dict(),
            "target": self.target,
            "mode": self.mode,
            "dynamic_batch": self.dynamic_batch,
            "shared_groups": self.shared_groups,
            "layers": layers,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Plan:
        """The plan that `to_dict` wrote; give `example_inputs` to `prepare` with it.

        Raises:
            ValueError: the version is newer, or a field is missing or wrong.
        """
        if not isinstance(data, dict):
            raise ValueError(
                f"plan: damaged plan data: expected a mapping, found {type(data).__name__}"
            )
        if data.get("version") != PLAN_VERSION:
            raise ValueError(
                f"plan: version {data.get('version')!r} is not {PLAN_VERSION}, the one this edgeqat reads"
            )

        weights: dict[str, TensorPlan] = {}

        def tensor(d: dict[str, Any]) -> TensorPlan:
            d = dict(d)
            d["shape"] = tuple(d.get("shape", ()))
            d["symmetric"] = bool(d.get("symmetric", False))
            if d.get("fixed_range") is not None:
                d["fixed_range"] = tuple(d["fixed_range"])
            return TensorPlan(**d)

        layers = {}
        try:
            for d in data["layers"]:
                weight = d.get("weight")
                if weight is not None:
                    weight = weights.setdefault(weight["name"], tensor(weight))
                layers[d["name"]] = LayerPlan(d["name"], d["operator"], tensor(d["output"]), weight)
            return Plan(
                Recipe.from_dict(data["recipe"]),
                data["target"],
                layers,
                data.get("mode", "graph"),
                data.get("shared_groups", []),
                dynamic_batch=data.get("dynamic_batch", True),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"plan: damaged plan data: {error!r}") from error

    def to_json(self, **options: Any) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), **options)

    @staticmethod
    def from_json(text: str) -> Plan:
        """The plan in JSON text."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"plan: the text is not JSON: {error}") from error
        return Plan.from_dict(data)
