# SPDX-License-Identifier: Apache-2.0
"""Captures a model as one ATen graph that keeps the model's own names, modes and source lines.

`Captured` holds:
  graph        fx.Graph: placeholder = tensor inputs; get_attr = parameters and buffers under their own names,
               and '<module>.training' (a bool read at run time); call_function = ATen ops, all functional
               except updates of the model's own buffers, plus getattr(x, 'device' or 'dtype') and
               arithmetic on sizes; call_module = the user's own BatchNorm and Dropout, and layers without
               state that do something else in training (stochastic depth)
  model        the module that owns the parameters (a copy unless inplace=True)
  signature    arguments of forward (see edgeqat.graph.arguments.Signature)
  out_spec     edgeqat.graph.arguments.Structure: nesting of the result
  constants    tensors that forward uses but does not register: the graph reads '_constants.<key>'
  input_names  one name per placeholder;  output_names  tensor name of every output leaf

Node meta (plain data, survives pickle and deepcopy):
  tensor_name  stable and unique: 'layer1.0.conv1' for a torch.nn layer, else 'layer1.0.add'
  path         path of the module whose forward made the node ('' = the model)
  source       'model.py:12', the user's line ('' when unknown)
  shape, dtype of a tensor result (-1 = varies); None for anything else
The fx node name is the tensor name with '.' as '_'.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from edgeqat.graph import arguments, cleanup, guards, modes, naming, sizes
from edgeqat.graph.attention import expand_attention
from edgeqat.graph.errors import CaptureError
from edgeqat.graph.folding import fold_constants
from edgeqat.graph.functionalize import functionalize
from edgeqat.graph.tracing import Programs, trace

# Submodule of a QuantizedModel that owns Captured.constants.
CONSTANTS = "_constants"


@dataclass(frozen=True)
class Captured:
    """A model and its graph.

    Attributes:
        graph: fx.Graph over ATen operators and the model's own BatchNorm and dropout modules.
        model: the module that owns the parameters (a copy unless ``inplace=True``).
        signature: the arguments of forward.
        out_spec: nesting of the result.
        constants: tensors that forward uses but does not register.
        input_names: one name a tensor input.
        output_names: the tensor name of every output leaf.

    Example:
        >>> captured = capture(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.ones(2, 4))
        >>> [node.meta["tensor_name"] for node in captured.graph.nodes if node.op == "call_function"]
        ['0', '1']
    """

    graph: fx.Graph
    model: nn.Module
    signature: arguments.Signature
    out_spec: arguments.Structure
    constants: dict[str, torch.Tensor]
    input_names: tuple[str, ...]
    output_names: tuple[str | None, ...]


def capture(
    model: nn.Module,
    example_inputs: Any,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    dynamic_batch: bool = True,
    dynamic_shapes: Mapping[str, Any] | None = None,
    inplace: bool = False,
) -> Captured:
    """Captures `model` in train and eval mode as one graph.

    Args:
        model: left untouched, unless inplace=True, where the graph refers to `model` itself.
        example_inputs: a tensor (first argument), tuple (positional) or dict (by name).
        example_kwargs: further arguments by name.
        dynamic_batch: let dimension 0 of every tensor argument vary.
        dynamic_shapes: as for torch.export.export, by argument name; replaces dynamic_batch.
        inplace: do not copy the model.

    Raises:
        CaptureError: forward cannot be one graph; names the source line and the next step.
        TypeError: the example inputs do not fit forward.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> captured = capture(model, torch.ones(1, 4))
        >>> captured.input_names, captured.output_names
        (('input',), ('1',))
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"capture: model must be an nn.Module, found {type(model).__name__}")
    bound = arguments.bind(model, example_inputs, example_kwargs)
    signature = arguments.describe(bound)
    owner = model if inplace else _copy(model)
    choices = sizes.variants(bound, dynamic_batch, dynamic_shapes)
    programs = trace(owner, choices, set())
    try:
        graph = _join(programs, owner)
    except CaptureError:
        # A layer without parameters that does something else in training (stochastic depth, noise).
        opaque = modes.unlike(programs[0].graph, programs[1].graph, owner.get_submodule)
        if not opaque:
            raise
        programs = trace(owner, choices, opaque)
        graph = _join(programs, owner)
    signature = replace(signature, guards=guards.conditions(programs, signature))
    constants = dict(programs[0].constants)
    functionalize(graph, owner.get_submodule)
    expand_attention(graph)
    fold_constants(graph, constants)
    cleanup.tidy(graph, owner)
    return _finish(graph, owner, signature, constants, programs[0].call_spec.out_spec)


def _join(programs: Programs, owner: nn.Module) -> fx.Graph:
    """One graph that follows the mode, from the (train, eval) programs."""
    train, evaluation = (program.module() for program in programs)
    for exported in (train, evaluation):
        cleanup.prepare(exported.graph, exported)
    modes.join(train.graph, evaluation.graph, owner.get_submodule)
    return train.graph


def _finish(
    old: fx.Graph,
    model: nn.Module,
    signature: arguments.Signature,
    constants: dict[str, torch.Tensor],
    out_spec: pytree.TreeSpec,
) -> Captured:
    """Copies `old` node by node under its final names, with plain meta."""
    inputs = [n for n in old.nodes if n.op == "placeholder"]
    for node, leaf in zip(inputs, signature.leaves, strict=True):
        node.target = leaf.name
    kept: dict[str, torch.Tensor] = {}
    for node in old.nodes:
        if node.op == "get_attr" and node.target in constants:
            key = naming.unique(naming.identifier(str(node.target).lstrip("#")), set(kept))
            kept[key] = constants[str(node.target)].detach().clone()
            node.target = f"{CONSTANTS}.{key}"
    names = naming.tensor_names(old, model.get_submodule)
    graph = fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    taken: set[str] = set()
    for node, leaf in zip(inputs, signature.leaves, strict=True):
        if not leaf.tensor and node.users:
            raise CaptureError(
                f"argument '{leaf.name}' must be a tensor to be an input of the graph"
            )
    skipped = {n for n, leaf in zip(inputs, signature.leaves, strict=True) if not leaf.tensor}
    for node in old.nodes:
        if node in skipped:
            continue
        if node.op == "output":
            graph.output(fx.node.map_arg(node.args[0], new.__getitem__))
            continue
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), new.__getitem__)
        target = naming.identifier(node.target) if node.op == "placeholder" else node.target
        name = naming.unique(naming.identifier(names[node]), taken)
        made = graph.create_node(node.op, target, args, kwargs, name)
        shape, dtype = cleanup.shape_and_dtype(node.meta.get("val"))
        made.meta = {
            "tensor_name": names[node],
            "path": naming.path(node),
            "source": naming.source(node),
            "shape": shape,
            "dtype": dtype,
        }
        new[node] = made
    graph.lint()
    outputs = next(n for n in reversed(graph.nodes) if n.op == "output").args[0]
    shapes = {n.meta["tensor_name"]: n.meta["shape"] for n in graph.nodes if n.op == "placeholder"}
    return Captured(
        graph=graph,
        model=model,
        signature=signature.with_shapes(shapes),
        out_spec=arguments.Structure(pytree.tree_unflatten(range(out_spec.num_leaves), out_spec)),
        constants=kept,
        input_names=signature.tensor_names,
        output_names=tuple(
            n.meta["tensor_name"] if isinstance(n, fx.Node) else None for n in outputs
        ),
    )


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}); give the part that cannot a "
            "__deepcopy__ method, or create it in forward"
        ) from error
