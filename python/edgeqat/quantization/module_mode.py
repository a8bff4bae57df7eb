# SPDX-License-Identifier: Apache-2.0
"""Module mode: for models that cannot be captured, quantizes Linear, Conv and Embedding modules where they stand."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from edgeqat.nn.layers import QUANTIZED_LAYERS
from edgeqat.nn.quantizers import WeightQuantizer
from edgeqat.quantization.plan import LayerPlan, Plan, TensorPlan
from edgeqat.quantization.recipe import Recipe
from edgeqat.quantization.rules import (
    activation_quantizer,
    overridden,
    weight_granularity,
    weight_quantizer,
)
from edgeqat.quantization.target import Target

_OPERATORS: dict[type[nn.Module], tuple[str, int]] = {
    nn.Linear: ("linear", 0),
    nn.Conv1d: ("conv", 0),
    nn.Conv2d: ("conv", 0),
    nn.Conv3d: ("conv", 0),
    nn.ConvTranspose1d: ("conv_transpose", 1),
    nn.ConvTranspose2d: ("conv_transpose", 1),
    nn.ConvTranspose3d: ("conv_transpose", 1),
    nn.Embedding: ("embedding", 0),
}


def _reason(module: nn.Module) -> str:
    """Why module mode leaves `module` in float."""
    for kind in _OPERATORS:
        if isinstance(module, kind):
            return f"a subclass of {kind.__name__} with a forward of its own"
    return f"module mode does not see inside {type(module).__name__}"


def _weight(
    recipe: Recipe, name: str, operator: str, shape: tuple[int, ...], axis: int, least: int
) -> TensorPlan:
    """The plan of one weight; `least` bits where it is the first or last layer's."""
    plan = TensorPlan(f"{name}.weight", "float", None, shape=shape, fixed_range=None)
    bits = overridden(recipe, name, "weight_bits", max(recipe.weight_bits, least))
    if bits is None:
        plan.note = "the recipe leaves it float"
        return plan
    bits = 7 if bits == 8 and recipe.reduce_range else bits
    plan.narrow_range = bits >= 7 if recipe.narrow_range is None else recipe.narrow_range
    plan.granularity, plan.axis, plan.group_size, plan.note = weight_granularity(
        recipe, operator, shape, axis
    )
    plan.bits = bits
    return plan


def plan_modules(model: nn.Module, recipe: Recipe, target: Target) -> Plan:
    """A plan by modules: every Linear, Conv and Embedding, and a float row for every other leaf module."""
    layers: dict[str, LayerPlan] = {}
    weights: dict[int, TensorPlan] = {}
    leaves = [
        (n, m)
        for n, m in model.named_modules(remove_duplicate=True)
        if n and not list(m.children())
    ]
    weighted = [n for n, m in leaves if type(m) in _OPERATORS]
    for name, module in leaves:
        found = _OPERATORS.get(type(module))
        kind = type(module).__name__
        output = TensorPlan(
            f"{name}.input",
            "float",
            None,
            symmetric=recipe.symmetric_activations,
            note=_reason(module),
            fixed_range=None,
        )
        layer = LayerPlan(name, kind.lower() if found is None else found[0], output)
        if found is not None and target.supports(found[0]):
            operator, axis = found
            weight: Tensor = module.weight  # type: ignore[assignment]
            layer.weight = weights.get(id(weight))
            edge = recipe.first_last_bits is not None and name in (weighted[0], weighted[-1])
            least = (recipe.first_last_bits or 0) if edge else 0
            if layer.weight is None:
                layer.weight = _weight(recipe, name, operator, tuple(weight.shape), axis, least)
                weights[id(weight)] = layer.weight
            if operator == "embedding":
                output.note = "indices are integers"
            else:
                bits: int | None = max(recipe.activation_bits, least)
                for key in ("activation_bits", "input_bits"):  # its input is all that is rounded
                    bits = overridden(recipe, name, key, bits)
                output.bits, output.note = bits, "" if bits else "the recipe leaves it float"
        elif found is not None:
            output.note = f"target {target.name} runs {found[0]} in float"
        layers[name] = layer
    if not any(layer.weight is not None for layer in layers.values()):
        raise ValueError(
            "plan: the model has no Linear, Conv or Embedding module; module mode has nothing to quantize"
        )
    return Plan(recipe, target.name, layers, "module")


def prepare_modules(model: nn.Module, plan: Plan, *, inplace: bool = False) -> nn.Module:
    """Turn the modules of a module-mode plan into their quantized forms: at most two helper submodules a layer.

    Parameters keep their names; modules that share a weight share its quantizer, and with it a learned step.

    Raises:
        ValueError: the plan names a module that the model lacks, or the model was prepared before.
    """
    model = model if inplace else copy.deepcopy(model)
    quantizers: dict[int, WeightQuantizer] = {}  # id of the weight ->
    for layer in plan.layers.values():
        quantize_weight = layer.weight is not None and layer.weight.bits is not None
        if not quantize_weight and layer.output.bits is None:
            continue
        try:
            module = model.get_submodule(layer.name)
        except AttributeError as error:
            raise ValueError(
                f"prepare: the model has no module {layer.name!r}; make the plan again"
            ) from error
        if type(module) not in QUANTIZED_LAYERS:
            raise ValueError(
                f"prepare: {layer.name} is a {type(module).__name__}; module mode starts from the float model's "
                "Linear, Conv and Embedding modules"
            )
        weight: Tensor = module.weight  # type: ignore[assignment]
        for_weight = for_input = None
        if layer.weight is not None and layer.weight.bits is not None:
            for_weight = quantizers.get(id(weight))
            if for_weight is None:
                for_weight = weight_quantizer(layer.weight, plan.recipe, weight)
                quantizers[id(weight)] = for_weight
        if layer.output.bits is not None:
            for_input = activation_quantizer(layer.output, plan.recipe)
        module.__class__ = QUANTIZED_LAYERS[type(module)]
        module.add_module("weight_quantizer", for_weight)
        module.add_module("input_quantizer", for_input)
    model.__dict__["_edgeqat_plan"] = plan  # for edgeqat.save
    return model
