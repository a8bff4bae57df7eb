# SPDX-License-Identifier: Apache-2.0
"""save and load of whole models: one file holds the codes, the scales, the plan and the graph."""

from __future__ import annotations

import copy
import inspect
import json
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeqat import functional
from edgeqat._C import FormatError
from edgeqat.checkpoint.file import CheckpointData, PackedTensor, read_checkpoint, write_checkpoint
from edgeqat.graph import structure
from edgeqat.graph.converted import ConvertedModel
from edgeqat.graph.errors import CaptureError
from edgeqat.graph.lower import lower
from edgeqat.nn.quantizers import ActivationQuantizer, Quantizer, WeightQuantizer
from edgeqat.quantization.calibrate import quantizers
from edgeqat.quantization.convert import _Converter, convert
from edgeqat.quantization.plan import Plan
from edgeqat.quantization.prepare import prepare

Path = str | os.PathLike[str]


def save(student: nn.Module, path: Path) -> None:
    """Write the integer checkpoint of a trained model: packed codes, scales, plan and graph in one safetensors file.

    The file appears under its name only when it is complete, and describes itself: `load` needs nothing else than the
    float model's class. A model in module mode is saved without a graph.

    Raises:
        TypeError: the model was not made by `prepare`.
        ValueError: a quantizer has seen no data.
        OSError: the system refuses; an older file of that name is unchanged.

    Example:
        >>> import edgeqat, tempfile
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> edgeqat.save(edgeqat.calibrate(student, [torch.randn(8, 4)]), path)
        >>> type(edgeqat.load(path, model)).__name__
        'ConvertedModel'
    """
    if not os.fspath(path).endswith(".safetensors"):
        raise ValueError(
            f"save: the file is a safetensors file; expected a name in .safetensors, found {os.fspath(path)!r}"
        )
    plan = getattr(student, "_edgeqat_plan", None)
    if plan is not None:
        write_checkpoint(path, _module_data(student, plan))
        return
    converted = convert(student)
    graph, constants = lower(converted)
    tensors = json.loads(graph)["tensors"]
    packed, plain = {}, {}
    for name, value in constants.items():
        quant = tensors[name]["quant"]
        if quant is None:
            plain[name] = value
        else:
            packed[name] = PackedTensor(
                value,
                quant["bits"],
                quant["scale"],
                quant["zero_point"],
                quant["axis"],
                quant["group_size"],
            )
    write_checkpoint(path, CheckpointData(_plan_text(converted.plan), graph, plain, packed))


def _plan_text(plan: Plan) -> str:
    return plan.to_json(separators=(",", ":"))


def _module_data(student: nn.Module, plan: Plan) -> CheckpointData:
    weights = {
        n.rpartition(".")[0]: q
        for n, q in student.named_modules(remove_duplicate=False)  # each reader of a shared weight
        if isinstance(q, WeightQuantizer)
    }
    for name, quantizer in quantizers(student).items():
        if isinstance(quantizer, ActivationQuantizer) and not quantizer.ready:
            raise ValueError(
                f"save: {name} has seen no data; call edgeqat.calibrate(student, batches) first; a layer that the model never "
                "calls is left out by plan[layer].output.bits = None"
            )
    tensors = {name: value.detach().cpu().numpy() for name, value in student.state_dict().items()}
    packed = {}
    with torch.no_grad():
        for layer, quantizer in weights.items():
            name = f"{layer}.weight"
            weight = student.get_parameter(name).detach().float()
            codes, scale, zero_point = _codes(quantizer, weight)
            prefix = f"{layer}.weight_quantizer"
            tensors[f"{prefix}.scale"], tensors[f"{prefix}.zero_point"] = (
                scale.numpy(),
                zero_point.numpy(),
            )
            del tensors[name]
            spec = quantizer.spec
            packed[name] = PackedTensor(
                codes.numpy(),
                spec.bits,
                f"{prefix}.scale",
                f"{prefix}.zero_point",
                spec.axis,
                spec.group_size,
            )
    return CheckpointData(_plan_text(plan), "", tensors, packed)


def _codes(quantizer: WeightQuantizer, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and zero point; of a model that `load` made with the scale of the file, which the weights lie on."""
    if quantizer.enabled:
        return quantizer.codes(weight)
    spec = quantizer.spec
    codes, scale, zero_point = quantizer.codes_on(weight, quantizer.scale, quantizer.zero_point)
    value = functional.dequantize(
        codes, scale, zero_point, axis=spec.axis, group_size=spec.group_size
    )
    if not torch.equal(value, weight):
        raise ValueError(
            "save: a weight quantizer is switched off and its weight does not lie on its grid; call "
            "edgeqat.enable_quantizers(student) first"
        )
    return codes, scale, zero_point


def load(
    path: Path, model: nn.Module, *, dequantize: bool = False, verify: bool = True
) -> nn.Module:
    """Rebuild the quantized model from a file and the untouched float model.

    Args:
        path: a file that `save` wrote.
        model: the float model; its architecture is used, not its weights, and it is not changed.
        dequantize: return the float twin instead: a copy of `model` whose weights are the dequantized ones (its BatchNorms
            only add what is left of them), for runtimes and analyses that know nothing of integers.
        verify: compare the checksums of the data.

    Returns:
        The converted model (or, from module mode, the model with quantizers and rounded weights), in eval mode. The weights
        of the latter are on the grid of the file and their quantizers off: to train on, load the student's `state_dict`.

    Raises:
        FormatError: the file is damaged, truncated or contradicts itself, or fits another architecture; the message names
            the field.
        OSError: the file cannot be read.

    Example:
        >>> import edgeqat, tempfile
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> edgeqat.save(edgeqat.calibrate(student, [torch.randn(8, 4)]), path)
        >>> integers, x = edgeqat.load(path, model), torch.randn(3, 4)
        >>> torch.equal(integers(x), edgeqat.convert(student)(x))
        True
    """
    data = read_checkpoint(path, verify=verify)
    if not data.plan:
        raise FormatError(
            f"{os.fspath(path)}: holds no plan; expected a file written by edgeqat.save"
        )
    try:
        plan = Plan.from_json(data.plan)
    except ValueError as error:
        raise FormatError(f"{os.fspath(path)}: plan: {error}") from error
    if plan.mode == "module":
        return _load_module(path, model, plan, data, dequantize)
    converted = _rebuild(path, model, plan, data)
    return _float_twin(path, model, converted) if dequantize else converted


def _example_inputs(graph: dict[str, Any]) -> dict[str, Tensor]:
    """Zeros of the recorded shapes and types; sizes that may change become 2."""
    inputs = {}
    for name in graph["inputs"]:
        tensor = graph["tensors"][name]
        shape = [2 if size < 0 else size for size in tensor["shape"]]
        inputs[name] = torch.zeros(shape, dtype=getattr(torch, tensor["dtype"]))
    return inputs


def _rebuild(path: Path, model: nn.Module, plan: Plan, data: CheckpointData) -> ConvertedModel:
    document = json.loads(data.graph)
    inputs = _example_inputs(document)
    try:
        named = inputs.keys() <= inspect.signature(model.forward).parameters.keys()
        student = prepare(model, plan, inputs if named else tuple(inputs.values()))
    except (ValueError, TypeError, CaptureError) as error:
        raise FormatError(
            f"{os.fspath(path)}: does not fit {type(model).__name__}: {error}"
        ) from error
    for quantizer in quantizers(student).values():
        if isinstance(quantizer, ActivationQuantizer):
            quantizer.count[0] = 1  # its range comes from the file
    with torch.no_grad():
        converter = _Converter(student)  # type: ignore[arg-type]
        converter.run()
    stored = {name: torch.from_numpy(np.array(value)) for name, value in data.tensors.items()}
    stored |= {name: torch.from_numpy(np.array(entry.codes)) for name, entry in data.packed.items()}
    for name, value in converter.constants.items():
        found = stored.get(name)
        if found is None or found.shape != value.shape or found.dtype != value.dtype:
            have = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise FormatError(
                f"{os.fspath(path)}: tensor {name}: expected {value.dtype} {list(value.shape)} for {type(model).__name__}, "
                f"found {have}; give load the model that was saved"
            )
        converter.constants[name] = found
    return ConvertedModel.from_student(student, converter.graph, converter.constants)  # type: ignore[arg-type]


def _float_twin(path: Path, model: nn.Module, converted: ConvertedModel) -> nn.Module:
    """A copy of `model` with dequantized weights; BatchNorm layers become y = x + shift."""
    twin = copy.deepcopy(model).eval()
    names = dict(twin.named_parameters(remove_duplicate=False))
    buffers = dict(converted.named_buffers())
    layers = {
        layer.weight.name: name for name, layer in converted.plan.layers.items() if layer.weight
    }
    with torch.no_grad():
        for node in converted.graph.nodes:
            index = 0 if "embedding" in str(node.target) else 1
            source = node.args[index] if len(node.args) > index else None
            name = str(source.meta.get("tensor_name")) if isinstance(source, torch.fx.Node) else ""
            if name not in layers and name.rstrip("_") in layers:
                raise FormatError(
                    f"{os.fspath(path)}: {name.rstrip('_')} is read by several layers, each with codes of its own: one "
                    "float weight cannot hold them, so there is no float twin"
                )
            if name not in layers or structure.name_of(node, converted) not in (
                "conv",
                "conv_transpose",
                "linear",
                "embedding",
            ):
                continue
            if name not in names:
                raise FormatError(
                    f"{os.fspath(path)}: {name} is no parameter of {type(model).__name__}: it has no float twin"
                )
            names[name].copy_(structure.evaluate(source, converted))  # type: ignore[arg-type]
            bias = node.args[2] if index == 1 and len(node.args) > 2 else None
            value = None if bias is None else structure.evaluate(bias, converted)  # type: ignore[arg-type]
            own = names.get(name.removesuffix("weight") + "bias")
            norm = node.meta.get("batch_norm")
            if own is not None and value is not None:
                own.copy_(value)
                value = None
            if norm:
                _set_affine(twin.get_submodule(norm), None, value)
        for name, module in twin.named_modules():
            if (
                isinstance(module, _BatchNorm) and f"{name}.factor" in buffers
            ):  # one that no weight absorbed
                _set_affine(
                    module, buffers[f"{name}.factor"].flatten(), buffers[f"{name}.shift"].flatten()
                )
    return twin


def _set_affine(norm: nn.Module, factor: Tensor | None, shift: Tensor | None) -> None:
    """y = factor * x + shift (None: 1 and 0); without gamma all of it is in the statistics, of which eps is a part."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    one, zero = torch.ones_like(norm.running_mean), torch.zeros_like(norm.running_mean)
    factor, shift = one if factor is None else factor, zero if shift is None else shift
    if norm.affine:
        norm.running_var.copy_(one - norm.eps)
        norm.running_mean.zero_()
        norm.weight.copy_(factor)
        norm.bias.copy_(shift)
    else:
        norm.running_var.copy_(1 / factor.square() - norm.eps)
        norm.running_mean.copy_(-shift / factor)


def _load_module(
    path: Path, model: nn.Module, plan: Plan, data: CheckpointData, dequantize: bool
) -> nn.Module:
    try:
        student = prepare(model, plan)
    except ValueError as error:
        raise FormatError(
            f"{os.fspath(path)}: does not fit {type(model).__name__}: {error}"
        ) from error
    state = {name: torch.from_numpy(np.array(value)) for name, value in data.tensors.items()}
    with torch.no_grad():
        for name, entry in data.packed.items():
            state[name] = torch.ops.edgeqat.dequantize(
                torch.from_numpy(np.array(entry.codes)),
                state[entry.scale],
                state[entry.zero_point],
                axis=entry.axis,
                group_size=entry.group_size,
            )
    target = copy.deepcopy(model) if dequantize else student
    keys = target.state_dict().keys()
    wrong = set(keys) ^ {k for k in state if k in keys or not dequantize}
    if wrong:
        raise FormatError(
            f"{os.fspath(path)}: does not fit {type(model).__name__}: {sorted(wrong)[:3]} differ"
        )
    target.load_state_dict({k: v for k, v in state.items() if k in keys})
    for quantizer in target.modules():
        if isinstance(quantizer, Quantizer):
            # the weights are on the grid already; a scale chosen again from -8..7 codes would be another one
            quantizer.set_flags(enabled=isinstance(quantizer, ActivationQuantizer), observing=False)
    return target.eval()
