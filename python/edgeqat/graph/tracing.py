# SPDX-License-Identifier: Apache-2.0
"""Runs torch.export on a model in train and eval mode and leaves the model as it was."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

from edgeqat.graph import sizes
from edgeqat.graph.errors import CaptureError
from edgeqat.graph.failures import explain

Programs = tuple[torch.export.ExportedProgram, torch.export.ExportedProgram]

_library: Any = torch.library.Library("edgeqat_graph", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define("opaque(Tensor x, str path) -> Tensor")
torch.library.register_fake("edgeqat_graph::opaque", lambda x, path: torch.empty_like(x))  # noqa: ARG005
# Stands for the call of a module that is kept whole; replaced before the graph leaves `capture`.
OPAQUE = torch.ops.edgeqat_graph.opaque.default

_UNKNOWN_TYPE = re.compile(r"<class '([\w.]+)\.(\w+)'>")


def trace(model: nn.Module, choices: list[sizes.Variant], opaque: set[str]) -> Programs:
    """Exports (train, eval) with the first of `choices` that captures and lets the batch vary.

    opaque: paths of modules to keep whole.

    Raises:
        CaptureError: none captures; the first failure, with the user's line.
    """
    failure: CaptureError | None = None
    fixed: Programs | None = None
    for bound, shapes in choices:
        try:
            with _quiet(model, opaque):
                _name_keywords(model, bound)
                programs = _export(model, bound, shapes, True), _export(model, bound, shapes, False)
        except CaptureError as error:
            failure = failure or error
            continue
        if len(choices) == 1 or sizes.batch_varies(programs[0]):
            return programs
        fixed = fixed or programs
    if fixed is not None:
        return fixed
    assert failure is not None
    raise failure


def _export(
    model: nn.Module,
    bound: inspect.BoundArguments,
    shapes: dict[str, Any] | None,
    training: bool,
) -> torch.export.ExportedProgram:
    model.train(training)
    try:
        return torch.export.export(
            model, bound.args, bound.kwargs, dynamic_shapes=shapes, strict=False
        )
    except Exception as error:
        if _register_named_dataclass(str(error)):
            return _export(model, bound, shapes, training)
        raise CaptureError(explain(model, error)) from error


def _register_named_dataclass(message: str) -> bool:
    """Registers the dataclass that torch could not return, if the message names one."""
    if "not a known type" not in message:
        return False
    for module, name in _UNKNOWN_TYPE.findall(message):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            torch.export.register_dataclass(kind)
            return True
    return False


@contextlib.contextmanager
def _quiet(model: nn.Module, opaque: set[str]) -> Iterator[None]:
    """Settings under which forward shows its plain ops; the model is as before afterwards.

    forward may keep tensors on the model (self.last = y); tracing leaves fake ones, which must go.
    """
    before = [(m, dict(m.__dict__)) for m in model.modules()]
    contents = {
        id(v): (v, v.copy())
        for _, state in before
        for v in state.values()
        if isinstance(v, dict | list | set)
    }
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for module in model.modules():
            # Cumulative averages read a counter's value; the module itself, called later, keeps them.
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.momentum is None:
                module.momentum = 0.1
        for path in opaque:
            module = model.get_submodule(path)
            module.__dict__["forward"] = _opaque_forward(module, path)
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, state in before:
            module.__dict__.clear()
            module.__dict__.update(state)
        for container, content in contents.values():
            container.clear()
            (container.extend if isinstance(container, list) else container.update)(content)


def _name_keywords(model: nn.Module, bound: inspect.BoundArguments) -> None:
    """Lists the names in **kwargs as parameters: torch.export cannot match dynamic shapes to **kwargs."""
    forward = model.forward
    parameters: list[inspect.Parameter] = []
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            names = bound.arguments.get(parameter.name, {})
            parameters += [parameter.replace(name=n, kind=parameter.KEYWORD_ONLY) for n in names]
        else:
            parameters.append(parameter)
    if parameters == [*bound.signature.parameters.values()]:
        return

    def named_forward(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    named_forward.__signature__ = bound.signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    model.__dict__["forward"] = named_forward


def _opaque_forward(module: nn.Module, path: str) -> Callable[..., Any]:
    forward: Any = types.MethodType(type(module).forward, module)

    def opaque_forward(*args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or not isinstance(args[0], torch.Tensor):
            return forward(*args, **kwargs)
        with disable_proxy_modes_tracing():
            result = forward(*args)
        x = args[0]
        alike = isinstance(result, torch.Tensor) and result.dtype == x.dtype
        return OPAQUE(x, path) if alike and result.shape == x.shape else forward(x)

    return opaque_forward
