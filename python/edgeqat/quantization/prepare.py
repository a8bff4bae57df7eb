# SPDX-License-Identifier: Apache-2.0
"""prepare: puts the quantizers of a plan into a model."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from edgeqat.graph import structure
from edgeqat.graph.capture import Captured, capture
from edgeqat.graph.model import QuantizedModel
from edgeqat.graph.operators import (
    PASS_THROUGH,
    WEIGHTED,
    aten,
    fused_activation,
    operator_name,
    weight_axis,
)
from edgeqat.nn.bias import BiasRounder
from edgeqat.nn.learned import LearnedActivationQuantizer
from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer
from edgeqat.quantization.plan import LayerPlan, Plan, TensorPlan
from edgeqat.quantization.recipe import Recipe
from edgeqat.quantization.rules import activation_quantizer, weight_quantizer

QUANTIZERS = "quantizers"
BIAS_ROUNDER = "_bias_rounder"  # no layer of a model is called so


def _attach(root: nn.Module, path: str, module: nn.Module) -> None:
    """Register `module` below `root` at the dotted `path`, with plain containers on the way."""
    *parents, leaf = path.split(".")
    for part in parents:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]  # type: ignore[assignment]
    root.add_module(leaf, module)


class _Preparer:
    def __init__(self, captured: Captured, plan: Plan) -> None:
        self.plan, self.recipe = plan, plan.recipe
        self.root: nn.Module = captured.model
        self.graph, self.mapping = structure.clone_graph(captured.graph)
        self.quantizers = nn.Module()
        self.by_name = {
            str(n.meta.get("tensor_name", n.name)): n
            for n in self.graph.nodes
            if n.op not in ("get_attr", "output")
        } | {str(n.target): n for n in self.graph.nodes if n.op == "get_attr"}
        self.weights: dict[tuple[str, bool], fx.Node] = {}
        self.weighted: list[tuple[fx.Node, fx.Node | None]] = []  # with its BatchNorm

    def run(self) -> None:
        missing = [name for name in self.plan.layers if name not in self.by_name]
        if missing:
            raise ValueError(
                f"prepare: the plan has layers that the model lacks: {', '.join(missing[:5])}; make the plan again with "
                "edgeqat.plan(model, ...)"
            )
        self._check_fit()
        leader = {name: group[0] for group in self.plan.shared_groups for name in group}
        made: dict[str, str] = {}
        for layer in self.plan.layers.values():
            node = self.by_name[layer.name]
            if layer.weight is not None:
                self._weight(node, layer)
            if layer.input is not None and layer.input.bits is not None:
                self._own_input(node, layer.input)
            if layer.output.bits is not None and layer.output.status == "quantized":
                key = leader.get(layer.name, layer.name)
                if key not in made:
                    made[key] = self._module(key, layer.output)
                self._activation(node, layer, made[key])
        if self.recipe.batch_norm == "folded":
            self._drop_folded()
        for node, batch_norm in self.weighted:
            self._round_bias(node, batch_norm)
        self.graph.eliminate_dead_code(
            is_impure_node=lambda n: n.op in ("placeholder", "output", "call_module")
        )
        self.graph.lint()

    def _check_fit(self) -> None:
        """The model has the operators and weight shapes that the plan was made for."""
        for layer in self.plan.layers.values():
            node = self.by_name[layer.name]
            found: Any = structure.name_of(node, self.root)
            if found is not None and node.op != "get_attr" and found != layer.operator:
                raise ValueError(
                    f"prepare: the plan does not fit the model: {layer.name} is {layer.operator} there and {found} in the "
                    "model; make the plan again with edgeqat.plan(model, ...)"
                )
            if layer.weight is not None and found in WEIGHTED:
                shape = structure.shape_of(structure.weight_node(node))
                if shape != tuple(layer.weight.shape):
                    raise ValueError(
                        f"prepare: the plan does not fit the model: {layer.weight.name} has shape {list(layer.weight.shape)} "
                        f"there and {list(shape)} in the model; make the plan again with edgeqat.plan(model, ...)"
                    )

    def mark_shared(self) -> None:
        """Tell the quantizers that several tensors go through: one batch of one of them is no first batch for all."""
        calls = [str(n.target) for n in self.graph.nodes if n.op == "call_module"]
        for path, module in self.quantizers.named_modules():
            if isinstance(module, LearnedActivationQuantizer):
                module.shared = calls.count(f"{QUANTIZERS}.{path}") > 1

    def _module(self, name: str, tensor: TensorPlan) -> str:
        path = f"{name}.output"
        model_input = self.by_name[name].op == "placeholder"
        quantizer = activation_quantizer(tensor, self.recipe, model_input=model_input)
        _attach(self.quantizers, path, quantizer)
        return f"{QUANTIZERS}.{path}"

    def _activation(self, node: fx.Node, layer: LayerPlan, target: str) -> None:
        users = list(node.users)
        with self.graph.inserting_after(node):
            quantized = self.graph.call_module(target, (node,))
        quantized.meta = {**node.meta, "quantizes": layer.name}
        for user in users:
            if user is not quantized:
                user.replace_input_with(node, quantized)
        self._fuse(node, quantized)

    def _own_input(self, node: fx.Node, tensor: TensorPlan) -> None:
        """Round the input of one layer to fewer bits than the tensor has for its other readers."""
        _attach(self.quantizers, tensor.name, activation_quantizer(tensor, self.recipe))
        source: Any = node.args[0]
        with self.graph.inserting_before(node):
            quantized = self.graph.call_module(f"{QUANTIZERS}.{tensor.name}", (source,))
        quantized.meta = {**source.meta, "quantizes": tensor.name}
        node.update_arg(0, quantized)

    def _fuse(self, node: fx.Node, quantized: fx.Node) -> None:
        """Let the quantizer compute the activation before it: one pass, and the float result is never stored."""
        activation = fused_activation(node)
        if activation is None:
            return
        quantized.args = (node.args[0], activation)
        self.graph.erase_node(node)

    def _weight(self, node: fx.Node, layer: LayerPlan) -> None:
        tensor = layer.weight
        assert tensor is not None
        batch_norm = structure.foldable_batch_norm(node, self.root)
        if batch_norm is not None and self.recipe.batch_norm == "folded":
            self._fold(node, batch_norm)
        if tensor.bits is None:
            return
        folded = self.recipe.batch_norm == "folded"
        self.weighted.append((node, None if folded else batch_norm))
        weight = structure.weight_node(node)
        index = 0 if node.target is aten.embedding.default else 1
        gamma: str | None = None
        if batch_norm is not None and self.recipe.batch_norm != "folded":
            if tensor.granularity == "tensor" and self.recipe.batch_norm == "live":
                raise ValueError(
                    f"prepare: {tensor.name} has one scale a tensor, which cannot follow live BatchNorm; use per-channel "
                    "weights, or batch_norm='folded' or 'frozen'"
                )
            norm = structure.batch_norm_of(batch_norm, self.root)
            if norm is not None and not tensor.narrow_range:
                gamma = norm.gamma
        key = (f"{weight.name}|{gamma}", True)
        if key not in self.weights:
            path = f"{QUANTIZERS}.{tensor.name}"
            channels = weight_axis(operator_name(node) or "")
            if not self._has(tensor.name):
                values = structure.evaluate(weight, self.root)
                if (
                    gamma is not None
                ):  # a first step for what is rounded: codes -2..1 have two sides
                    factor = structure.fetch(self.root, gamma)
                    values = values * WeightQuantizer.signs(values, factor, channels)
                _attach(self.quantizers, tensor.name, weight_quantizer(tensor, self.recipe, values))
            arguments: tuple[Any, ...] = (weight,)
            with self.graph.inserting_before(node):
                if gamma is not None:
                    arguments += (self.graph.get_attr(gamma), channels)
                quantized = self.graph.call_module(path, arguments)
            quantized.meta = {**weight.meta, "quantizes": tensor.name}
            self.weights[key] = quantized
        node.update_arg(index, self.weights[key])

    def _quantizer(self, node: Any) -> nn.Module | None:
        """The quantizer that `node` calls."""
        prefix = f"{QUANTIZERS}."
        if not isinstance(node, fx.Node) or not str(node.target).startswith(prefix):
            return None
        return self.quantizers.get_submodule(str(node.target)[len(prefix) :])

    def _round_bias(self, node: fx.Node, batch_norm: fx.Node | None) -> None:
        """Behind a layer whose bias `convert` will round to int32: the same rounding, in eval mode."""
        operator = operator_name(node)
        if operator not in ("conv", "conv_transpose", "linear"):
            return
        source: Any = node.args[0]
        weight: Any = node.args[1]
        bias = node.args[2] if len(node.args) > 2 else None
        while not isinstance(self._quantizer(source), ActivationQuantizer):
            if not isinstance(source, fx.Node) or operator_name(source) not in PASS_THROUGH:
                return
            source = source.all_input_nodes[0]
        norm = None if batch_norm is None else structure.batch_norm_of(batch_norm, self.root)
        quantizer = self._quantizer(weight)
        if not isinstance(quantizer, WeightQuantizer) or quantizer.spec.group_size is not None:
            return
        if bias is None and norm is None:
            return
        last = node if norm is None or batch_norm is None else batch_norm
        users = list(last.users)
        axis = 1 - len(
            structure.shape_of(weight)
        )  # channels, also of one image without a batch axis
        if BIAS_ROUNDER not in self.quantizers._modules:
            self.quantizers.add_module(BIAS_ROUNDER, BiasRounder())
        names = [norm.gamma, norm.beta, norm.mean, norm.variance] if norm else []
        with self.graph.inserting_after(last):
            rounded = self.graph.call_module(f"{QUANTIZERS}.{BIAS_ROUNDER}")
        with self.graph.inserting_before(rounded):
            rounded.args = (
                last,
                axis,
                norm.eps if norm else 0.0,
                self.graph.get_attr(f"{source.target}.scale"),
                self.graph.get_attr(f"{weight.target}.scale"),
                bias,
                *(None if name is None else self.graph.get_attr(name) for name in names),
            )
        rounded.meta = dict(last.meta)
        for user in users:
            user.replace_input_with(last, rounded)

    def _has(self, path: str) -> bool:
        module: Any = self.quantizers
        for part in path.split("."):
            module = module._modules.get(part)
            if module is None:
                return False
        return True

    def _fold(self, node: fx.Node, batch_norm: fx.Node) -> None:
        """w * gamma / sigma and beta + (bias - mean) * gamma / sigma, as nodes over the user's own parameters."""
        norm = structure.batch_norm_of(batch_norm, self.root)
        assert norm is not None
        operator = structure.name_of(node, self.root)
        weight = structure.weight_node(node)
        dimensions = len(structure.shape_of(weight))
        axis = 1 if operator == "conv_transpose" else 0
        call = self.graph.call_function
        with self.graph.inserting_before(node):
            sigma = call(
                aten.sqrt.default,
                (call(aten.add.Scalar, (self.graph.get_attr(norm.variance), norm.eps)),),
            )
            ones = call(aten.ones_like.default, (sigma,))
            gamma = ones if norm.gamma is None else self.graph.get_attr(norm.gamma)
            factor = call(aten.div.Tensor, (gamma, sigma))
            shape = [1] * dimensions
            shape[axis] = -1
            folded = call(aten.mul.Tensor, (weight, call(aten.view.default, (factor, shape))))
            mean = self.graph.get_attr(norm.mean)
            bias = node.args[2] if len(node.args) > 2 else None
            centred = (
                call(aten.neg.default, (mean,))
                if bias is None
                else call(aten.sub.Tensor, (bias, mean))
            )
            shift = call(aten.mul.Tensor, (centred, factor))
            if norm.beta is not None:
                shift = call(aten.add.Tensor, (shift, self.graph.get_attr(norm.beta)))
        folded.meta = dict(weight.meta)
        arguments = list(node.args) + [None] * (3 - len(node.args))
        arguments[1], arguments[2] = folded, shift
        node.args = tuple(arguments)
        batch_norm.meta["folded"] = True

    def _drop_folded(self) -> None:
        for node in list(self.graph.nodes):
            if (
                node.meta.get("folded")
                and node.op == "call_module"
                and "quantizes" not in node.meta
            ):
                node.replace_all_uses_with(node.args[0])
                self.graph.erase_node(node)

    def frozen(self) -> list[str]:
        """BatchNorm modules that stay in eval mode."""
        if self.recipe.batch_norm != "frozen":
            return []
        return [
            str(n.target)
            for n in self.graph.nodes
            if n.op == "call_module" and structure.batch_norm_of(n, self.root) is not None
        ]


def prepare(
    model: nn.Module,
    plan: Plan | str | Recipe = "int8",
    example_inputs: Any = None,
    *,
    inplace: bool = False,
) -> nn.Module:
    """The model with the quantizers of `plan` in place, ready for `calibrate` and for training.

    The result keeps the model's own parameter names, `train()`/`eval()` and attributes; `deepcopy`, `pickle`, `state_dict`,
    `torch.compile(fullgraph=True)` and `torch.export` work on it.

    Args:
        model: the float model; it is copied unless `inplace`.
        plan: from `edgeqat.plan`, or a recipe (then `example_inputs` is needed).
        example_inputs: needed when the plan was read from a file.
        inplace: share parameters with `model` instead of copying them.

    Raises:
        ValueError: the plan does not fit the model, or no example inputs are known.

    Example:
        >>> import edgeqat, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> student(torch.randn(3, 4)).shape
        torch.Size([3, 2])
    """
    if isinstance(model, QuantizedModel):
        raise ValueError(
            "prepare: expected a float model, found one that was prepared before; prepare the original model"
        )
    if not isinstance(plan, Plan):
        from edgeqat.quantization.planner import plan as make_plan

        if example_inputs is None:
            raise ValueError("prepare: give a Plan, or a recipe together with example_inputs")
        plan = make_plan(model, example_inputs, recipe=plan)
    if plan.mode == "module":
        from edgeqat.quantization.module_mode import prepare_modules

        return prepare_modules(model, plan, inplace=inplace)
    inputs = plan.example_inputs if example_inputs is None else example_inputs
    if inputs is None:
        raise ValueError(
            "prepare: the plan was read from a file and holds no example inputs; give example_inputs="
        )
    plan.check()
    captured = capture(
        model,
        inputs,
        example_kwargs=plan.example_kwargs,
        dynamic_batch=plan.dynamic_batch,
        inplace=inplace,
    )
    preparer = _Preparer(captured, plan)
    preparer.run()
    preparer.mark_shared()
    student = QuantizedModel(captured, preparer.graph, preparer.quantizers)
    student.plan = plan  # type: ignore[assignment]
    student.freeze_batch_norm(preparer.frozen())
    return student
