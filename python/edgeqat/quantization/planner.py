# SPDX-License-Identifier: Apache-2.0
"""Resolves a recipe on a captured graph: which tensors get a scale, how wide, and why the others do not."""

from __future__ import annotations

import operator as operator_module
from fnmatch import fnmatchcase
from typing import Any

from torch import fx, nn

from edgeqat.graph import structure
from edgeqat.graph.converted import ConvertedModel
from edgeqat.graph.model import QuantizedModel
from edgeqat.graph.operators import COMPUTE, FIXED_RANGES, WEIGHTED, weight_axis
from edgeqat.quantization.plan import LayerPlan, Plan, TensorPlan
from edgeqat.quantization.recipe import Recipe
from edgeqat.quantization.rules import overridden, weight_granularity
from edgeqat.quantization.target import Target, find_target


class Planner:
    """One pass over a graph; `layers` is the result."""

    def __init__(self, graph: fx.Graph, root: nn.Module, recipe: Recipe, target: Target) -> None:
        self.graph, self.root, self.recipe, self.target = graph, root, recipe, target
        self.nodes = [
            n for n in graph.nodes if n.op in ("placeholder", "call_function", "call_module")
        ]
        self.weighted = [
            n for n in self.nodes if self._operator(n) in WEIGHTED and self._float_reason(n) is None
        ]
        self.tails: dict[fx.Node, fx.Node] = {}  # operator -> the node whose value leaves it
        self.merged: dict[fx.Node, fx.Node] = {}  # merged node that is not a tail -> the tail
        self.weights: dict[str, TensorPlan] = {}
        self.layers: dict[str, LayerPlan] = {}
        self.shared_groups: list[list[str]] = []

    def _operator(self, node: fx.Node) -> str | None:
        return structure.name_of(node, self.root)

    @staticmethod
    def _label(node: fx.Node) -> str:
        """How a report calls the operator: aten.lstm.input; for one result of several, the operator that made it."""
        if node.target is operator_module.getitem:
            node = node.all_input_nodes[0]
        return str(node.target).removesuffix(".default")

    def _float_reason(self, node: fx.Node) -> str | None:
        """Why the operator `node` computes in float; None if it can run on integers."""
        operator = self._operator(node)
        if operator is None:
            return f"edgeqat has no integer form of {self._label(node)}"
        if not self.target.supports(operator):
            return f"target {self.target.name} runs {operator} in float"
        if operator in WEIGHTED and not structure.is_constant(structure.weight_node(node)):
            return "its weight depends on the input"
        return None

    def run(self) -> dict[str, LayerPlan]:
        """Decide about every float tensor of the graph, in its order."""
        needed = self._needed()
        for node in self.graph.nodes:
            if node.op == "get_attr" and node in needed:
                self._constant(node)
        for node in self.nodes:
            if structure.is_float(node) or self._operator(node) in ("split",):
                self._decide(node, node in needed)
        for node in self.graph.nodes:
            if (
                node.op == "get_attr"
                and structure.is_float(node)
                and str(node.target) not in self.layers
            ):
                self._parameter(node)
        if self.target.shared_scale_operators:
            self._share()
        return self.layers

    def _needed(self) -> set[fx.Node]:
        """The nodes whose values integer operators read or write."""
        needed: set[fx.Node] = set()
        for node in self.nodes:
            operator = self._operator(node)
            if node in self.merged or node in self.tails.values():
                continue
            if operator not in WEIGHTED and operator not in COMPUTE and operator != "batch_norm":
                continue
            if not structure.is_float(node) or self._float_reason(node) is not None:
                continue
            last, chain = structure.tail(node, self.root)
            self.tails[node] = last
            for inner in chain:
                self.merged[inner] = last
            needed.add(last)
            needed.update(
                structure.origin(source, self.root)
                for source in structure.data_inputs(node, self.root)
            )
        return {n for n in needed if structure.is_float(n) and n.users}

    def _decide(self, node: fx.Node, needed: bool) -> None:
        operator = self._operator(node) or (
            "input" if node.op == "placeholder" else self._label(node)
        )
        output = TensorPlan(
            self._name(node),
            "float",
            None,
            shape=structure.shape_of(node),
            source=node.meta.get("source", ""),
            fixed_range=None,
        )
        layer = LayerPlan(output.name, operator, output)
        reason = None if node.op == "placeholder" else self._float_reason(node)
        if self.merged.get(node, node) is not node:
            output.status, output.note = "fused", f"into {self._name(self.merged[node])}"
        elif structure.passes_through(node, self.root):
            self._pass(node, output)
        elif needed:
            self._quantize(node, output, reason)
        elif reason is not None:
            output.note = reason
        else:
            output.note = "no integer operator reads it"
        if operator in WEIGHTED and reason is None:
            layer.weight = self._weight(node, operator)
            layer.input = self._input(node)
        self.layers[layer.name] = layer

    def _name(self, node: fx.Node) -> str:
        return str(node.meta.get("tensor_name", node.name))

    def _pass(self, node: fx.Node, output: TensorPlan) -> None:
        source = structure.origin(node, self.root)
        producer = self.layers.get(self._name(source))
        if producer is not None and producer.output.status == "quantized":
            output.status, output.note = "shared", f"with {producer.name}"
        else:
            output.note = f"carries {self._name(source)}, which stays float"

    def _quantize(self, node: fx.Node, output: TensorPlan, reason: str | None) -> None:
        recipe = self.recipe
        bits: int | None = recipe.activation_bits
        if node.op == "placeholder":
            bits = recipe.input_bits
        elif structure.users_are_outputs(node, self.root):
            bits = recipe.output_bits
        else:
            if recipe.first_last_bits is not None and self._feeds_edge(node):
                bits = max(recipe.activation_bits, recipe.first_last_bits)
            if recipe.elementwise_bits is not None and self._feeds_elementwise(node):
                bits = max(bits or 0, recipe.elementwise_bits)
        bits = overridden(self.recipe, self._name(node), "activation_bits", bits)
        if bits is None:
            output.note = "the recipe leaves it float"
            return
        output.symmetric = recipe.symmetric_activations
        output.fixed_range = (
            FIXED_RANGES.get(self._operator(node) or "")
            if not recipe.symmetric_activations
            else None
        )
        output.bits, output.status = bits, "quantized"
        if reason is not None:
            output.note = f"computed in float: {reason}"

    def _feeds_edge(self, node: fx.Node) -> bool:
        """Whether the first or last weighted operator reads this value."""
        edges = self.weighted[:1] + self.weighted[-1:]
        return any(
            structure.origin(source, self.root) is node
            for edge in edges
            for source in structure.data_inputs(edge, self.root)
        )

    def _feeds_elementwise(self, node: fx.Node) -> bool:
        """Whether an operator without weights computes with this value: a residual sum, a mean, an activation of its own."""
        for user in node.users:
            operator = self._operator(user)
            if operator in COMPUTE and operator != "matmul":
                return True
            if structure.passes_through(user, self.root) and self._feeds_elementwise(user):
                return True
        return False

    def _input(self, node: fx.Node) -> TensorPlan | None:
        """The rounding of a layer's input to the layer's own width, where the tensor is wider for its other readers."""
        recipe = self.recipe
        source = next(iter(structure.data_inputs(node, self.root)), None)
        origin = None if source is None else structure.origin(source, self.root)
        if source is None or origin is None or origin.op not in ("call_function", "call_module"):
            return None  # indices, or the model's own input, which has a width of its own
        given = self.layers[self._name(origin)].output.bits
        bits: int | None = recipe.activation_bits
        if recipe.first_last_bits is not None and node in (self.weighted[0], self.weighted[-1]):
            bits = max(recipe.activation_bits, recipe.first_last_bits)
        bits = overridden(self.recipe, self._name(node), "input_bits", bits)
        if given is None or bits is None or bits >= given:
            return None
        plan = TensorPlan(
            f"{self._name(node)}.input",
            "float",
            None,
            symmetric=recipe.symmetric_activations,
            shape=structure.shape_of(source),
            source=node.meta.get("source", ""),
            note=f"{self._name(origin)} with fewer bits",
        )
        plan.bits = bits
        return plan

    def _weight(self, node: fx.Node, operator: str) -> TensorPlan:
        recipe, weight = self.recipe, structure.weight_node(node)
        name = str(weight.target) if weight.op == "get_attr" else f"{self._name(node)}.weight"
        if name in self.weights:
            shared = self.weights[name]
            if shared.bits is not None:
                # two readers may carry BatchNorms with different signs: only a symmetric range serves both
                shared.narrow_range = True
            return shared
        bits: int | None = recipe.weight_bits
        if recipe.first_last_bits is not None and node in (self.weighted[0], self.weighted[-1]):
            bits = max(recipe.weight_bits, recipe.first_last_bits)
        bits = overridden(self.recipe, self._name(node), "weight_bits", bits)
        if bits == 8 and recipe.reduce_range:
            bits = 7
        shape = structure.shape_of(weight)
        plan = TensorPlan(
            name, "float", None, shape=shape, source=node.meta.get("source", ""), fixed_range=None
        )
        self.weights[name] = plan
        if bits is None:
            plan.note = "the recipe leaves it float"
            return plan
        plan.narrow_range = bits >= 7 if recipe.narrow_range is None else recipe.narrow_range
        # no bits yet: the three are checked together when they come
        plan.granularity, plan.axis, plan.group_size, plan.note = weight_granularity(
            recipe, operator, tuple(shape), weight_axis(operator)
        )
        plan.bits, plan.status = bits, "quantized"
        return plan

    def _constant(self, node: fx.Node) -> None:
        """A parameter or buffer that an operator reads as data, such as a positional embedding that is added."""
        name = str(node.target)
        output = TensorPlan(
            name,
            "float",
            None,
            symmetric=self.recipe.symmetric_activations,
            shape=structure.shape_of(node),
            note="constant operand",
            fixed_range=None,
        )
        output.bits, output.status = max(8, self.recipe.activation_bits), "quantized"
        self.layers[name] = LayerPlan(name, "constant", output)

    def _parameter(self, node: fx.Node) -> None:
        """A parameter that is no weight: a bias, a gain, the matrices of a recurrent layer."""
        name = str(node.target)
        if name in self.weights or not node.users:
            return
        user = next(iter(node.users))
        output = TensorPlan(name, "float", None, shape=structure.shape_of(node), fixed_range=None)
        output.source = user.meta.get("source", "")
        reason = self._float_reason(user)
        if reason is not None:
            output.note = f"{self._label(user)} reads it: {reason}"
        elif self._operator(user) in WEIGHTED:
            output.status, output.note = "fused", f"int32 accumulator of {self._name(user)}"
        else:
            output.status, output.note = "fused", f"float32 inside {self._name(user)}"
        self.layers[name] = LayerPlan(name, "parameter", output)

    def _share(self) -> None:
        """One scale for the inputs and the output of operators where the target wants that."""
        group_of: dict[str, list[str]] = {}
        for node in self.nodes:
            if self._operator(
                node
            ) not in self.target.shared_scale_operators or structure.passes_through(
                node, self.root
            ):
                continue
            members = [
                structure.origin(n, self.root) for n in structure.data_inputs(node, self.root)
            ]
            members.append(self.tails.get(node, node))
            names = [
                n for n in map(self._name, members) if self.layers[n].output.status == "quantized"
            ]
            merged: list[str] = []
            for name in names:
                merged += group_of.get(name, [name])
            merged = list(dict.fromkeys(merged))
            for name in merged:
                group_of[name] = merged
        unique = {id(group): group for group in group_of.values() if len(group) > 1}
        self.shared_groups = list(unique.values())
        for group in self.shared_groups:
            bits = min(self.layers[name].output.bits or 8 for name in group)
            for name in group:
                tensor = self.layers[name].output
                tensor.bits, tensor.fixed_range = bits, None
                tensor.note = f"one scale with {', '.join(n for n in group if n != name)}"


def plan(
    model: nn.Module,
    example_inputs: Any,
    *,
    example_kwargs: dict[str, Any] | None = None,
    recipe: str | Recipe = "int8",
    target: str | Target = "onnxruntime",
    mode: str = "graph",
    dynamic_batch: bool = True,
    strict: bool = False,
) -> Plan:
    """Decide for every tensor of `model` how it is quantized, or why it stays float.

    Args:
        model: any module; it is not changed.
        example_inputs: a tensor, a tuple (positional arguments) or a dict (keyword arguments) that `model` accepts.
        example_kwargs: keyword arguments beside a tuple.
        recipe: "int8", "int4", "w<bits>a<bits>", a YAML file or a `Recipe`.
        target: the runtime, by name or as a `Target`.
        mode: "graph" captures the model with `torch.export`; "module" only sees Linear, Conv and Embedding modules and works
            for models that cannot be captured.
        dynamic_batch: the first axis of the inputs may have any size.
        strict: raise if a tensor stays float.

    Returns:
        A `Plan`: print it, edit it (``plan["layer3.*"].weight.bits = 4``), give it to `prepare`.

    Raises:
        ValueError: unknown recipe, target or mode, or a width that the target does not have.
        CaptureError: `torch.export` cannot capture the model; the message names the line.
        CoverageError: `strict` and a tensor stays float.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        >>> resolved = plan(model, torch.randn(2, 3, 8, 8), recipe="w4a8")
        >>> [t.name for t in resolved.tensors if t.status == "quantized"]
        ['input', '0.weight', '2']
    """
    from edgeqat.graph.capture import capture
    from edgeqat.quantization.module_mode import plan_modules

    chosen, runtime = Recipe.named(recipe), find_target(target)
    if isinstance(model, (QuantizedModel, ConvertedModel)):
        raise ValueError(
            f"plan: expected a float model, found a {type(model).__name__}; it was prepared before"
        )
    if mode == "module":
        resolved = plan_modules(model, chosen, runtime)
    elif mode == "graph":
        captured = capture(
            model, example_inputs, example_kwargs=example_kwargs, dynamic_batch=dynamic_batch
        )
        planner = Planner(captured.graph, captured.model, chosen, runtime)
        layers = planner.run()
        resolved = Plan(
            chosen,
            runtime.name,
            layers,
            "graph",
            planner.shared_groups,
            dynamic_batch=dynamic_batch,
        )
    else:
        raise ValueError(f"plan: mode must be 'graph' or 'module', found {mode!r}")
    for pattern, _ in chosen.overrides:
        if not any(fnmatchcase(name, pattern) for name in resolved.layers):
            raise ValueError(
                f"plan: the override {pattern!r} of the recipe matches no layer; layers: "
                f"{', '.join(list(resolved.layers)[:8])}, ..."
            )
    resolved.example_inputs, resolved.example_kwargs = example_inputs, example_kwargs
    resolved.check(strict=strict, target=runtime)
    return resolved
