# SPDX-License-Identifier: Apache-2.0
"""Which quantizer a recipe's rule means for one tensor of the plan."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import Tensor

from edgeqat.nn.learned import LearnedActivationQuantizer, LearnedWeightQuantizer
from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer
from edgeqat.nn.weight_rules import DorefaWeightQuantizer, TernaryWeightQuantizer
from edgeqat.quantization.plan import TensorPlan
from edgeqat.quantization.recipe import Recipe
from edgeqat.quantization.spec import Granularity


def overridden(recipe: Recipe, name: str, key: str, value: int | None) -> int | None:
    """`value`, or what the last override of `recipe` says whose pattern matches the layer `name` and that has `key`."""
    for pattern, change in recipe.overrides:
        if fnmatchcase(name, pattern) and key in change:
            value = change[key]
    return value


def weight_granularity(
    recipe: Recipe, operator: str, shape: tuple[int, ...], axis: int
) -> tuple[Granularity, int | None, int | None, str]:
    """Granularity, axis, group size and a note for a weight whose output channels lie along `axis`."""
    granularity, group, note = recipe.weight_granularity, recipe.group_size, ""
    if granularity == "tensor":
        return granularity, None, None, note
    if granularity == "group":
        if operator == "linear" and group is not None and shape[1] % group == 0:
            return granularity, 1, group, note
        note = f"per channel: groups of {group} do not fit {operator} {list(shape)}"
    return "channel", axis, None, note


def weight_quantizer(tensor: TensorPlan, recipe: Recipe, weight: Tensor) -> WeightQuantizer:
    """The quantizer for the weight `tensor` by the rule of `recipe`; a learned step starts from the values of `weight`.

    Weights that the recipe makes wider than `weight_bits` (the first and last layer) follow their largest value: at 8 bits
    there is nothing to learn.
    """
    rule, spec, shape = recipe.weight_quantizer, tensor.spec, tuple(weight.shape)
    if spec.bits > recipe.weight_bits or rule == "minmax":
        return WeightQuantizer(spec, shape)
    if rule == "ternary":
        return TernaryWeightQuantizer(spec, shape)
    if rule == "dorefa":
        return DorefaWeightQuantizer(spec, shape)
    learned = LearnedWeightQuantizer(spec, shape, rule, recipe.ewgs, recipe.first_step)  # type: ignore[arg-type]
    learned.initialize(weight)
    return learned


def activation_quantizer(
    tensor: TensorPlan, recipe: Recipe, *, model_input: bool = False
) -> ActivationQuantizer:
    """The quantizer for the activation `tensor` by the rule of `recipe`.

    Ranges known beforehand stay fixed, inputs of the model keep the range of the data, and tensors that the recipe makes
    wider than `activation_bits` keep their moving range: there is nothing to learn.
    """
    rule = recipe.activation_quantizer
    wider = tensor.spec.bits > recipe.activation_bits
    if rule == "minmax" or wider or model_input or tensor.fixed_range is not None:
        return ActivationQuantizer(tensor.spec, recipe.averaging, tensor.fixed_range)
    return LearnedActivationQuantizer(
        tensor.spec,
        "lsq" if rule == "lsq+" else rule,  # type: ignore[arg-type]
        offset=rule == "lsq+" and not tensor.symmetric,
        delta=recipe.ewgs,
    )
