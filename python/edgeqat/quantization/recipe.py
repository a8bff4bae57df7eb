# SPDX-License-Identifier: Apache-2.0
"""Recipe: what the user wants, independent of any model. A frozen dataclass that is also a YAML file."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

BatchNormMode = Literal["live", "folded", "frozen"]


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
        batch_norm: "live" normalises with batch statistics while training; "folded" trains the weights already multiplied by
            gamma / sigma of the running statistics; "frozen" keeps running statistics and trains gamma and beta.
        averaging: weight of a new batch in the moving average of activation ranges while training.
        reduce_range: 7-bit weights where 8 are asked, for ONNX Runtime on x86 without VNNI, whose 16-bit sums saturate.
        overrides: ``(pattern, {"weight_bits": 4, ...})`` pairs for layers whose name matches the glob pattern;
            keys: weight_bits, activation_bits (None = float).

    Raises:
        ValueError: a field is unknown or out of range.

    Example:
        >>> Recipe.named("w4a8").weight_bits
        4
    """

    weight_bits: int = 8
    activation_bits: int = 8
    weight_granularity: Literal["tensor", "channel", "group"] = "channel"
    group_size: int | None = None
    narrow_range: bool | None = None
    symmetric_activations: bool = False
    first_last_bits: int | None = 8
    input_bits: int = 8
    output_bits: int | None = 8
    batch_norm: BatchNormMode = "live"
    averaging: float = 0.01
    reduce_range: bool = False
    overrides: tuple[tuple[str, dict[str, int | None]], ...] = ()

    def __post_init__(self) -> None:
        for name in (
            "weight_bits",
            "activation_bits",
            "first_last_bits",
            "input_bits",
            "output_bits",
        ):
            bits = getattr(self, name)
            optional = name in ("first_last_bits", "output_bits")
            if not (bits is None and optional) and not (isinstance(bits, int) and 2 <= bits <= 8):
                raise ValueError(f"Recipe: {name} must be an integer in 2..8, found {bits!r}")
        if self.weight_granularity not in ("tensor", "channel", "group"):
            raise ValueError(
                "Recipe: weight_granularity must be 'tensor', 'channel' or 'group', "
                f"found {self.weight_granularity!r}"
            )
        if (self.weight_granularity == "group") != (self.group_size is not None):
            raise ValueError(
                "Recipe: give group_size with weight_granularity='group', and only then"
            )
        if self.batch_norm not in ("live", "folded", "frozen"):
            raise ValueError(
                f"Recipe: batch_norm must be 'live', 'folded' or 'frozen', found {self.batch_norm!r}"
            )
        if self.batch_norm == "live" and self.weight_granularity == "tensor":
            raise ValueError(
                "Recipe: weights with one scale a tensor cannot follow live BatchNorm, whose factor differs from channel to "
                "channel; use batch_norm='folded' or 'frozen', or weight_granularity='channel'"
            )
        if not isinstance(self.averaging, (int, float)) or not 0.0 < self.averaging <= 1.0:
            raise ValueError(f"Recipe: averaging must be in (0, 1], found {self.averaging!r}")
        for pattern, change in self.overrides:
            unknown = set(change) - {"weight_bits", "activation_bits"}
            if unknown:
                raise ValueError(f"Recipe: override {pattern!r} has unknown keys {sorted(unknown)}")

    @staticmethod
    def named(name: str | Recipe) -> Recipe:
        """The recipe called `name`: "int8" (W8A8), "int4" (W4A8), "w<bits>a<bits>", or a path to a YAML file."""
        if isinstance(name, Recipe):
            return name
        if not isinstance(name, str):
            raise TypeError(
                f"plan: recipe must be a name, a path or a Recipe, found {type(name).__name__}"
            )
        text = {"int8": "w8a8", "int4": "w4a8"}.get(name, name)
        match = re.fullmatch(r"w([2-8])a([2-8])", text)
        if match:
            return Recipe(weight_bits=int(match[1]), activation_bits=int(match[2]))
        if text.endswith((".yaml", ".yml")):
            return Recipe.from_yaml(Path(text).read_text())
        raise ValueError(
            f"plan: unknown recipe {name!r}; give 'int8', 'int4', 'w4a8' (any widths 2..8), a YAML file or a Recipe"
        )

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Recipe:
        """The recipe in plain data; an unknown key is refused with the nearest known one."""
        known = [field.name for field in fields(Recipe)]
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = (
                    f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"
                )
                raise ValueError(f"Recipe: unknown key {key!r}{hint}")
        given = data.get("overrides", ())
        given = list(given.items()) if isinstance(given, dict) else given
        if not isinstance(given, (list, tuple)) or not all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[1], dict)
            for pair in given
        ):
            raise ValueError(
                "Recipe: overrides must map layer patterns to {weight_bits: ..., activation_bits: ...}, "
                f"found {data['overrides']!r}"
            )
        overrides = tuple((str(p), dict(c)) for p, c in given)
        return Recipe(**{**data, "overrides": overrides})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and YAML."""
        data = asdict(self)
        data["overrides"] = [[pattern, dict(change)] for pattern, change in self.overrides]
        return data

    @staticmethod
    def from_yaml(text: str) -> Recipe:
        """The recipe in a YAML mapping (safe loader: no objects are constructed)."""
        try:
            data = yaml.safe_load(text)
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
