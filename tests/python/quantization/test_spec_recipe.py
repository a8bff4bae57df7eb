# SPDX-License-Identifier: Apache-2.0
"""Formats, recipes and targets: what they accept, what they refuse, and that YAML restores them."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import pickle

import pytest
import torch

import edgeqat
from edgeqat import _C, QuantSpec, Recipe, Target
from edgeqat.graph.operators import COMPUTE, PASS_THROUGH, WEIGHTED
from edgeqat.quantization.plan import TensorPlan
from edgeqat.quantization.target import TARGETS, find_target


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
        (
            "overrides: [['a', {bits: 4}]]",
            "override 'a': unknown key 'bits'; known keys: weight_bits",
        ),
        ("overrides: {a: {weight_bits: 9}}", r"none or an integer in 2\.\.8, found 9"),
        ("overrides: 3", "must map layer patterns"),
        ("weight_bits: [", "is not YAML"),
        ("averaging: text", "averaging must be in"),
        ("averaging: .nan", r"averaging must be in \(0, 1\], found nan"),
        ("reduce_range: 1", "reduce_range must be true or false, found 1"),
        ("group_size: 2000-01-01", r"found datetime\.date\(2000, 1, 1\)"),
        ("8: 3", "unknown key '8'"),
        (
            "weight_bits: 4\nbatch_norm: live\nweight_bits: 8",
            "line 3: key 'weight_bits' comes twice, first in line 1",
        ),
        ("overrides:\n  a: {weight_bits: 4}\n  a: {weight_bits: 8}", "line 3: key 'a' comes twice"),
        (
            "overrides: {a: {weight_bits: 4, weight_bits: 4}}",
            "line 1: key 'weight_bits' comes twice",
        ),
        (
            "a: &a [1]\n"
            + "".join(
                f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n"
                for a, b in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "plain data: expected at most",
        ),
    ],
)
def test_yaml_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_yaml(text)


def test_the_dataclass_has_the_fields_and_defaults_of_the_core() -> None:
    core = _C.Recipe()
    assert [field.name for field in dataclasses.fields(Recipe)] == list(core.to_dict())
    assert Recipe().to_dict() == core.to_dict()
    for field in dataclasses.fields(Recipe):
        assert getattr(Recipe(), field.name) == getattr(core, field.name) == field.default


def test_overrides_in_any_form() -> None:
    expected = (("fc", {"weight_bits": 4}),)
    for given in (expected, [["fc", {"weight_bits": 4}]], {"fc": {"weight_bits": 4}}):
        assert Recipe(overrides=given).overrides == expected


@pytest.mark.parametrize(
    "value",
    [
        QuantSpec(4, granularity="group", axis=-1, group_size=32, narrow_range=True),
        find_target("npu_int8"),
        _C.Recipe(weight_bits=3, overrides={"fc": {"weight_bits": None}}),
    ],
)
def test_values_of_the_core_are_frozen_and_copy(value: object) -> None:
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert other == value
        assert other is not value
        assert hash(other) == hash(value)
    assert value != 4
    assert repr(value).strip("<>").removeprefix("edgeqat.").startswith(type(value).__name__)
    for name in ("bits", "name", "weight_bits", "new"):
        with pytest.raises(AttributeError):
            setattr(value, name, 3)


def test_a_spec_as_data() -> None:
    spec = QuantSpec(4, granularity="channel", axis=0)
    data = {
        "bits": 4,
        "symmetric": True,
        "granularity": "channel",
        "axis": 0,
        "group_size": None,
        "narrow_range": False,
    }
    assert spec.to_dict() == data
    assert QuantSpec(**data) == spec
    assert spec != spec.replace(bits=5) == QuantSpec(5, granularity="channel", axis=0)
    assert len({spec, QuantSpec(**data), spec.replace(bits=5)}) == 2
    assert repr(spec) == (
        "QuantSpec(bits=4, symmetric=True, granularity='channel', axis=0, group_size=None, narrow_range=False)"
    )
    with pytest.raises(ValueError, match="unknown key 'bit'; did you mean 'bits'"):
        spec.replace(bit=5)
    with pytest.raises(IndexError, match=r"axis must be in \[-1, 1\)"):
        spec.replace(axis=1).scale_shape((8,))


def test_a_target_of_ones_own() -> None:
    chip = Target("chip", weight_bits=[8], granularities=("tensor",), float_operators={"gelu"})
    assert (chip.weight_bits, chip.granularities) == ((8,), ("tensor",))
    assert chip.float_operators == frozenset({"gelu"})
    assert find_target(chip) is chip
    assert chip != find_target("onnxruntime")
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 4)), torch.randn(2, 4)
    recipe = Recipe(weight_bits=4, first_last_bits=None)
    with pytest.raises(ValueError, match=r"'chip' has no int4 for 0\.weight; it has \[8\] bits"):
        edgeqat.plan(model, x, recipe=recipe, target=chip)
    with pytest.raises(ValueError, match=r"'chip' has no scales per channel for 0\.weight"):
        edgeqat.plan(model, x, target=chip)


def test_operators_of_targets_are_those_of_the_graph() -> None:
    for target in TARGETS.values():
        named = target.float_operators | target.shared_scale_operators
        assert named <= {*COMPUTE, *WEIGHTED, *PASS_THROUGH}


@pytest.mark.parametrize("kind", [QuantSpec, Target, TensorPlan])
def test_examples_of_compiled_classes(kind: type) -> None:
    test = doctest.DocTestParser().get_doctest(kind.__doc__, {}, kind.__name__, None, None)
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_unknown_target_lists_the_known() -> None:
    with pytest.raises(
        ValueError, match="unknown target 'onnx'; known targets: npu_int8, onnxruntime"
    ):
        find_target("onnx")
