# SPDX-License-Identifier: Apache-2.0
"""Formats, recipes and targets: what they accept, what they refuse, and that YAML restores them."""

from __future__ import annotations

import pytest

from edgeqat import QuantSpec, Recipe
from edgeqat.quantization.target import find_target


@pytest.mark.parametrize(
    ("bits", "narrow", "expected"),
    [(8, False, (-128, 127)), (8, True, (-127, 127)), (4, False, (-8, 7)), (2, True, (-1, 1))],
)
def test_range_of_codes(bits: int, narrow: bool, expected: tuple[int, int]) -> None:
    spec = QuantSpec(bits, narrow_range=narrow)
    assert (spec.qmin, spec.qmax) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 1}, "bits must be an integer in 2..8, found 1"),
        ({"bits": 9}, "found 9"),
        ({"bits": 4.0}, "found 4.0"),
        ({"bits": 8, "granularity": "row"}, "granularity must be"),
        ({"bits": 8, "granularity": "channel"}, "contradict"),
        ({"bits": 8, "axis": 0}, "contradict"),
        ({"bits": 8, "granularity": "group", "axis": 1}, "group_size"),
        ({"bits": 8, "granularity": "group", "axis": 1, "group_size": 0}, "at least 1"),
    ],
)
def test_spec_refuses(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantSpec(**fields)


def test_group_size_must_divide() -> None:
    spec = QuantSpec(4, granularity="group", axis=1, group_size=32)
    assert spec.scale_shape((8, 64)) == (8, 2)
    with pytest.raises(ValueError, match="32 does not divide axis 1 of size 65"):
        spec.scale_shape((8, 65))


def test_named_recipes() -> None:
    assert Recipe.named("int8") == Recipe(weight_bits=8, activation_bits=8)
    assert Recipe.named("int4") == Recipe.named("w4a8") == Recipe(weight_bits=4, activation_bits=8)
    with pytest.raises(ValueError, match="unknown recipe 'w9a8'"):
        Recipe.named("w9a8")


def test_yaml_restores_every_field(tmp_path) -> None:
    recipe = Recipe(
        weight_bits=3,
        batch_norm="folded",
        output_bits=None,
        overrides=(("layer3.*", {"weight_bits": 8}), ("fc", {"activation_bits": None})),
    )
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert Recipe.named(str(path)) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_bit: 4", "unknown key 'weight_bit'; did you mean 'weight_bits'"),
        ("- 1", "must be a mapping"),
        ("weight_bits: 4.5", "weight_bits must be an integer"),
        ("batch_norm: fold", "'live', 'folded' or 'frozen'"),
        ("weight_granularity: group", "give group_size"),
        ("weight_granularity: tensor", "one scale a tensor cannot follow live BatchNorm"),
        ("averaging: 0", "averaging must be in"),
        ("overrides: [['a', {bits: 4}]]", "unknown keys"),
        ("overrides: 3", "must map layer patterns"),
        ("weight_bits: [", "is not YAML"),
        ("averaging: text", "averaging must be in"),
    ],
)
def test_yaml_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_yaml(text)


def test_unknown_target_lists_the_known() -> None:
    with pytest.raises(
        ValueError, match="unknown target 'onnx'; known targets: npu_int8, onnxruntime"
    ):
        find_target("onnx")
