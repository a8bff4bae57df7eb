# SPDX-License-Identifier: Apache-2.0
"""convert: turns a trained model with quantizers into one whose weights are integers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeqat import functional
from edgeqat.graph import structure
from edgeqat.graph.converted import ConvertedModel
from edgeqat.graph.model import QuantizedModel
from edgeqat.graph.operators import (
    PASS_THROUGH,
    WEIGHTED,
    activation_operator,
    aten,
    weight_axis,
)
from edgeqat.nn.bias import INT32_MAX, SMALLEST_SCALE, BiasRounder
from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer
from edgeqat.quantization.calibrate import check_finite


def fold_scale(
    codes: Tensor, scale: Tensor, factor: Tensor, axis: int, group_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Multiply the scale of every channel by |factor|; where that is 0 or denormal the codes become 0 and the scale 1.

    Codes must already be those of sign(factor) * w.

    Shape: codes any, scale [C] or (with group_size, along axis 1 of a matrix) [C, K / group_size], factor [C] along `axis`.
    """
    grouped = group_size is not None
    folded = scale.double() * (factor.abs().unsqueeze(1) if grouped else factor.abs())
    dead = folded < SMALLEST_SCALE
    if group_size is not None:
        silent = dead.repeat_interleave(group_size, dim=1)
    else:
        along = [1] * codes.dim()
        along[axis] = -1
        silent = dead.reshape(along)
    return torch.where(silent, torch.zeros_like(codes), codes), torch.where(
        dead, 1.0, folded
    ).float()


class _Converter:
    def __init__(self, student: QuantizedModel) -> None:
        self.root: QuantizedModel = copy.deepcopy(student).eval()
        self.graph, _ = structure.clone_graph(self.root.graph)
        self.constants: dict[str, Tensor] = {}
        self.owners: dict[str, Any] = {}  # whose constant has a name
        self.scales: dict[fx.Node, Tensor] = {}  # dequantize node of an activation -> its scale

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if node.op == "get_attr" and str(node.target).split(".")[-1] == "training":
                self._replace_in_users(node, False)
        for node in list(self.graph.nodes):
            if structure.is_dropout(node, self.root) or node.target is aten.dropout.default:
                node.replace_all_uses_with(node.args[0])
                self.graph.erase_node(node)
        for node in list(self.graph.nodes):
            if node.op == "call_module" and isinstance(
                self.root.get_submodule(str(node.target)), BiasRounder
            ):
                node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
                self.graph.erase_node(node)
        for node in list(self.graph.nodes):
            if isinstance(self._quantizer(node), ActivationQuantizer):
                self._separate(node)
        for node in list(self.graph.nodes):
            module = self._quantizer(node)
            name = structure.name_of(node, self.root)
            if isinstance(module, ActivationQuantizer):
                self._activation(node, module)
            elif name in WEIGHTED:
                self._weighted(node, name)
            elif name == "batch_norm" and node.users:
                self._batch_norm(node)
        self.graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
        for node in self.graph.nodes:
            if node.op == "get_attr" and str(node.target) not in self.constants:
                value = structure.fetch(self.root, str(node.target))
                self.constants[str(node.target)] = value.detach().clone()
            if node.op == "call_module":
                raise ValueError(
                    f"convert: {node.target} has no integer form and cannot be left out"
                )
        self.graph.lint()

    def _separate(self, node: fx.Node) -> None:
        """Give an activation that the quantizer computes in its own pass back its node."""
        if len(node.args) < 2 or node.args[1] is None:
            return
        with self.graph.inserting_before(node):
            activation = self.graph.call_function(
                activation_operator(str(node.args[1])), (node.args[0],)
            )
        activation.meta = {k: v for k, v in node.meta.items() if k != "quantizes"}
        node.args = (activation,)

    @staticmethod
    def _replace_in_users(node: fx.Node, value: Any) -> None:
        for user in list(node.users):
            user.args = fx.map_arg(user.args, lambda n: value if n is node else n)
            user.kwargs = fx.map_arg(user.kwargs, lambda n: value if n is node else n)

    def _quantizer(self, node: Any) -> nn.Module | None:
        if not isinstance(node, fx.Node) or node.op != "call_module":
            return None
        module = self.root.get_submodule(str(node.target))
        return module if isinstance(module, (ActivationQuantizer, WeightQuantizer)) else None

    def _name(self, name: str, owner: Any) -> str:
        """`name`, with as many "_" behind it as other owners of that name came before.

        By structure, not by value: load runs the same steps on a model with other weights and must find the same names.
        """
        while self.owners.setdefault(name, owner) != owner:
            name += "_"
        return name

    def _constant(self, name: str, value: Tensor, meta: dict[str, Any]) -> fx.Node:
        self.constants[name] = value
        node = self.graph.get_attr(name)
        node.meta = {**meta, "tensor_name": name, "shape": tuple(value.shape), "dtype": value.dtype}
        return node

    def _activation(self, node: fx.Node, quantizer: ActivationQuantizer) -> None:
        name = str(node.meta["quantizes"])
        if node.args[0].op in ("placeholder", "get_attr"):  # type: ignore[union-attr]
            name += ".quantized"  # the float tensor has the name already
        if not quantizer.enabled:
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
            self.graph.erase_node(node)
            return
        if not quantizer.ready:
            raise ValueError(
                f"convert: the quantizer of {name} has seen no data; call edgeqat.calibrate(student, batches) first"
            )
        spec, prefix = (
            quantizer.spec,
            str(node.target).removeprefix("quantizers.").removesuffix(".output"),
        )
        with self.graph.inserting_before(node):
            scale = self._constant(f"{prefix}_scale", quantizer.scale.clone(), {})
            zero_point = self._constant(f"{prefix}_zero_point", quantizer.zero_point.clone(), {})
            source = node.args[0]
            if structure.is_constant(source):
                data = structure.evaluate(source, self.root).detach().float()  # type: ignore[arg-type]
                codes = self._constant(
                    f"{prefix}_codes",
                    functional.quantize(
                        data, quantizer.scale, quantizer.zero_point, spec.qmin, spec.qmax
                    ),
                    {},
                )
            else:
                codes = self.graph.call_function(
                    torch.ops.edgeqat.quantize.default,
                    (source, scale, zero_point, spec.qmin, spec.qmax),
                )
            value = self.graph.call_function(
                torch.ops.edgeqat.dequantize.default, (codes, scale, zero_point)
            )
        if codes.op == "call_function":
            codes.meta = {
                **node.meta,
                "tensor_name": name,
                "dtype": torch.int8,
                "spec": spec.to_dict(),
            }
        value.meta = {**node.meta, "tensor_name": name, "spec": spec.to_dict()}
        self.scales[value] = quantizer.scale
        node.replace_all_uses_with(value)
        self.graph.erase_node(node)

    def _weighted(self, node: fx.Node, operator: str) -> None:
        index = 0 if operator == "embedding" else 1
        source = node.args[index]
        quantizer = self._quantizer(source)
        if not isinstance(quantizer, WeightQuantizer) or not isinstance(source, fx.Node):
            return
        spec, name = quantizer.spec, str(source.meta["quantizes"])
        weight = structure.evaluate(source.args[0], self.root).detach().float()  # type: ignore[arg-type]
        batch_norm = structure.foldable_batch_norm(node, self.root)
        norm = factor = shift = None
        if batch_norm is not None:
            norm = structure.batch_norm_of(batch_norm, self.root)
            assert norm is not None
            factor, shift = norm.affine(self.root)
        if not quantizer.enabled:
            raise ValueError(
                f"convert: the quantizer of {name} is switched off, but the converted model holds its codes; call "
                "edgeqat.enable_quantizers(student) first"
            )
        axis = weight_axis(operator)
        along = [1] * weight.dim()
        along[axis] = -1
        if factor is not None:
            weight = weight * torch.where(factor < 0, -1.0, 1.0).float().reshape(along)
        codes, scale, zero_point = quantizer.codes(weight)
        if factor is not None:
            if spec.granularity == "tensor":
                scale = scale.expand(weight.shape[axis]).clone()
            codes, scale = fold_scale(codes, scale, factor, axis, spec.group_size)
            zero_point = torch.zeros_like(scale, dtype=torch.int32)
        keywords: dict[str, Any] = {}
        if scale.numel() > 1 or spec.axis is not None:
            keywords["axis"] = axis if spec.axis is None else spec.axis % weight.dim()
        if spec.group_size is not None:
            keywords["group_size"] = spec.group_size
        with self.graph.inserting_before(node):
            # a weight that two layers share has two sets of codes only where their BatchNorms differ
            unique = self._name(name, (source.name, norm))
            value = self._dequantized_weight(
                unique, codes, scale, zero_point, keywords, source, node
            )
            value.meta["spec"] = {**spec.to_dict(), "axis": keywords.get("axis")}
            bias = node.args[2] if operator != "embedding" and len(node.args) > 2 else None
            offset = None if bias is None else structure.evaluate(bias, self.root).detach().double()  # type: ignore[arg-type]
            if factor is not None:
                offset = shift if offset is None else shift + offset * factor  # type: ignore[operator]
            arguments = list(node.args)
            arguments[index] = value
            if offset is not None:
                rounded = self._round_bias(node, offset, scale, spec.group_size)
                bias_name = (
                    str(bias.target) if isinstance(bias, fx.Node) and bias.op == "get_attr" else ""
                )
                bias_name = bias_name or f"{name.rpartition('.')[0] or name}.bias"
                bias_name = self._name(
                    bias_name, node.name
                )  # each call of a layer rounds to its input's grid
                arguments += [None] * (3 - len(arguments))
                arguments[2] = self._constant(bias_name, rounded, {})
        node.args = tuple(arguments)
        if batch_norm is not None:
            node.meta["batch_norm"] = (
                str(batch_norm.target) if batch_norm.op == "call_module" else ""
            )
            batch_norm.replace_all_uses_with(node)
            self.graph.erase_node(batch_norm)

    def _dequantized_weight(
        self,
        unique: str,
        codes: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        keywords: dict[str, Any],
        source: fx.Node,
        node: fx.Node,
    ) -> fx.Node:
        meta = {"source": node.meta.get("source", "")}
        arguments = (
            self._constant(unique, codes, meta),
            self._constant(f"{unique}_scale", scale, meta),
            self._constant(f"{unique}_zero_point", zero_point, meta),
        )
        value = self.graph.call_function(torch.ops.edgeqat.dequantize.default, arguments, keywords)
        value.meta = {**source.meta, "tensor_name": unique}
        return value

    def _round_bias(
        self, node: fx.Node, bias: Tensor, scale: Tensor, group_size: int | None
    ) -> Tensor:
        """The bias on the grid of the int32 accumulator, sx * sw; as it is where that grid cannot hold it."""
        source: Any = node.args[0]
        while source not in self.scales and structure.name_of(source, self.root) in PASS_THROUGH:
            source = source.all_input_nodes[0]
        if source not in self.scales or group_size is not None:
            return bias.float()
        if (
            scale.numel() > 1
        ):  # a grouped transposed convolution: every group has the same out / groups scales
            scale = scale.repeat(bias.numel() // scale.numel())
        step = self.scales[source].double() * scale.double()
        codes = torch.round(bias / step)
        if bool((codes.abs() > INT32_MAX).any()):
            return bias.float()
        return (codes * step).float()

    def _batch_norm(self, node: fx.Node) -> None:
        """A BatchNorm that no weight can absorb: factor * x + shift in float."""
        norm = structure.batch_norm_of(node, self.root)
        assert norm is not None
        factor, shift = norm.affine(self.root)
        shape = [1, -1] + [1] * (len(structure.shape_of(node)) - 2)
        with self.graph.inserting_before(node):
            path = str(node.meta["tensor_name"])
            scaled = self.graph.call_function(
                aten.mul.Tensor,
                (node.args[0], self._constant(f"{path}.factor", factor.float().reshape(shape), {})),
            )
            value = self.graph.call_function(
                aten.add.Tensor,
                (scaled, self._constant(f"{path}.shift", shift.float().reshape(shape), {})),
            )
        scaled.meta = {**node.meta, "tensor_name": f"{node.meta.get('tensor_name', path)}.scaled"}
        value.meta = dict(node.meta)
        node.replace_all_uses_with(value)
        self.graph.erase_node(node)


def convert(student: nn.Module) -> ConvertedModel:
    """The integer model: weights become codes, BatchNorm moves into scales and biases.

    `save`, `export` and `verify` call it; the student is not changed. A converted model is returned as it is.

    Raises:
        TypeError: the model was not made by `prepare`.
        ValueError: a quantizer has seen no data, or saw NaN or infinity.

    Example:
        >>> import edgeqat
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> converted = edgeqat.convert(edgeqat.calibrate(student, [torch.randn(8, 4)]))
        >>> converted.state_dict()["0.weight"].dtype
        torch.int8
    """
    if isinstance(student, ConvertedModel):
        return student
    if not isinstance(student, QuantizedModel) and "_edgeqat_plan" in student.__dict__:
        raise TypeError(
            "convert: the model was prepared in module mode, which trains, saves and loads; converting and exporting need the "
            "graph: plan it without mode='module'"
        )
    if not isinstance(student, QuantizedModel):
        raise TypeError(
            f"convert: expected a model from edgeqat.prepare, found {type(student).__name__}; call edgeqat.prepare(model, plan)"
        )
    check_finite(student, "convert")
    with torch.no_grad():
        converter = _Converter(student)
        converter.run()
    return ConvertedModel.from_student(student, converter.graph, converter.constants)
