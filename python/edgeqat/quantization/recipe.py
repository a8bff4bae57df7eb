# SPDX-License-Identifier: Apache-2.0
"""Recipe: what the user wants, independent of any model. A frozen dataclass that is also a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from edgeqat import _C
from edgeqat.quantization.spec import Granularity

BatchNormMode = Literal["live", "folded", "frozen"]
WeightRule = Literal["minmax", "lsq", "power_of_two", "dorefa", "ternary"]
ActivationRule = Literal["minmax", "lsq", "lsq+", "power_of_two", "pact"]
FirstStep = Literal["mse", "lsq"]


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice in one mapping, of which YAML readers silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ValueError(
                    f"Recipe: line {line}: key {key.value!r} comes twice, first in line {lines[key.value]}; keep one"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Recipe:
    """Bit widths and rules for a whole model.

    Args:
        weight_bits: width of weights, 2 to 8.
        activation_bits: width of activations, 2 to 8.
        weight_granularity: "channel", "tensor" or "group" (then `group_size` values along the input axis share a scale;
            linear layers only, others fall back to "channel" and say so in the plan).
        group_size: for weight_granularity="group".
        narrow_range: leave out the lowest code of weights; None = only at 8 bits (-127..127), where it costs nothing.
        symmetric_activations: zero point 0 for activations.
        first_last_bits: first and last weighted layer (weights and inputs) are at least this wide; None = no exception.
        input_bits: width of the model's inputs.
        output_bits: width of the model's outputs; None leaves them float.
        elementwise_bits: tensors that operators without weights read (residual sums, means, activations of their own) are at
            least this wide; a layer that reads such a tensor rounds its input once more, to `activation_bits`. None = no
            exception.
        weight_quantizer: "minmax" follows the largest magnitude; "lsq" and "power_of_two" learn the step; "dorefa" rounds
            behind tanh; "ternary" has three values. Weights wider than `weight_bits` stay with "minmax".
        activation_quantizer: "minmax" follows the range; "lsq" and "power_of_two" learn the step, "lsq+" an offset too,
            "pact" the clipping value. Tensors wider than `activation_bits`, and inputs, stay with "minmax".
        first_step: how learned steps of weights start: "mse" (least squared error) or "lsq" (``2 * mean|w| / sqrt(qmax)``).
        ewgs: strength of element-wise gradient scaling of the learned rules, 0 to 1; 0 is the straight-through estimator.
        batch_norm: "live" normalises with batch statistics while training; "folded" trains the weights already multiplied by
            gamma / sigma of the running statistics; "frozen" keeps running statistics and trains gamma and beta.
        averaging: weight of a new batch in the moving average of activation ranges while training.
        reduce_range: 7-bit weights where 8 are asked, for ONNX Runtime on x86 without VNNI, whose 16-bit sums saturate.
        overrides: ``(pattern, {"weight_bits": 4, ...})`` pairs for layers whose name matches the glob pattern;
            keys: weight_bits, activation_bits, input_bits (None = float).

    Raises:
        ValueError: a field is unknown or out of range.

    Example:
        >>> Recipe.named("w4a8").weight_bits
        4
    """

    weight_bits: int = 8
    activation_bits: int = 8
    weight_granularity: Granularity = "channel"
    group_size: int | None = None
    narrow_range: bool | None = None
    symmetric_activations: bool = False
    first_last_bits: int | None = 8
    input_bits: int = 8
    output_bits: int | None = 8
    elementwise_bits: int | None = 8
    weight_quantizer: WeightRule = "minmax"
    activation_quantizer: ActivationRule = "minmax"
    first_step: FirstStep = "mse"
    ewgs: float = 0.0
    batch_norm: BatchNormMode = "live"
    averaging: float = 0.01
    reduce_range: bool = False
    overrides: tuple[tuple[str, dict[str, int | None]], ...] = ()

    def __post_init__(self) -> None:
        checked = _C.Recipe(**vars(self))
        for field in fields(self):  # overrides may come as lists or as a mapping
            object.__setattr__(self, field.name, getattr(checked, field.name))

    @staticmethod
    def named(name: str | Recipe) -> Recipe:
        """The recipe called `name`: "int8" (W8A8), "int4" (W4A8), "w<bits>a<bits>", or a path to a YAML file."""
        if isinstance(name, Recipe):
            return name
        if not isinstance(name, str):
            raise TypeError(
                f"plan: recipe must be a name, a path or a Recipe, found {type(name).__name__}"
            )
        if name.endswith((".yaml", ".yml")):
            return Recipe.from_yaml(Path(name).read_text())
        return Recipe.from_dict(_C.Recipe.named(name).to_dict())

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Recipe:
        """The recipe in plain data; an unknown key is refused with the nearest known one."""
        checked = _C.Recipe(**{str(key): value for key, value in data.items()})
        return Recipe(**{field.name: getattr(checked, field.name) for field in fields(Recipe)})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and YAML."""
        return _C.Recipe(**vars(self)).to_dict()

    @staticmethod
    def from_yaml(text: str) -> Recipe:
        """The recipe in a YAML mapping (safe loader: no objects are constructed; a key that comes twice is refused)."""
        try:
            data = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            raise ValueError(f"Recipe: the text is not YAML: {error}") from error
        if not isinstance(data, dict):
            raise ValueError(
                f"Recipe: the YAML text must be a mapping, found {type(data).__name__}"
            )
        return Recipe.from_dict(data)

    def to_yaml(self) -> str:
        """The YAML text that `from_yaml` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some fields changed."""
        return replace(self, **changes)
