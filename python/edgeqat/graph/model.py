# SPDX-License-Identifier: Apache-2.0
"""`QuantizedModel`: an ordinary nn.Module that runs a captured graph over the model's own parameters."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeqat.graph import codegen, serialize
from edgeqat.graph.capture import CONSTANTS, Captured

_TABLES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_RUNTIME = ("forward", "_graph")


class QuantizedModel(nn.Module):
    """Runs a graph; parameters, buffers and submodules are the captured model's own, under their own names.

    Attributes, methods and the signature of forward are the captured model's; calling the model from one
    of its own methods runs the graph. Pickles and deep-copies as plain data and state.

    Layers inside are not called, except BatchNorm, dropout and quantizers: register hooks on the whole
    model or ask for graph outputs, and use torch.nn.utils.parametrize (not hook-based pruning) on layers.

    Args:
        captured: result of `capture`; its model becomes part of this object.
        graph: a graph to run instead of `captured.graph`, with the same inputs and outputs.
        quantizers: submodules that the graph calls as 'quantizers.<name>'.

    Raises:
        ValueError: the model already has a submodule of that name.

    Example:
        >>> from edgeqat.graph.capture import capture
        >>> model = QuantizedModel(capture(nn.Linear(4, 2), torch.ones(1, 4)))
        >>> sorted(model.state_dict()), model(torch.ones(3, 4)).shape
        (['bias', 'weight'], torch.Size([3, 2]))
    """

    def __init__(
        self,
        captured: Captured,
        graph: fx.Graph | None = None,
        quantizers: nn.Module | None = None,
    ) -> None:
        super().__init__()
        delegate = captured.model
        for name in ("quantizers", CONSTANTS):
            if hasattr(delegate, name):
                raise ValueError(
                    f"QuantizedModel: {type(delegate).__name__} already has an attribute '{name}'; rename it (was the "
                    "model prepared before?)"
                )
        self.__dict__["_delegate"] = delegate
        self.__dict__["_signature"] = captured.signature
        self.__dict__["_out_spec"] = captured.out_spec
        self.training = delegate.training
        for name in _TABLES + _STATE_HOOKS:
            self.__dict__[name] = getattr(delegate, name)
        if captured.constants:
            self.add_module(CONSTANTS, Constants(captured.constants))
        self.add_module("quantizers", nn.Module() if quantizers is None else quantizers)
        self.__dict__["_graph"] = captured.graph if graph is None else graph
        self.recompile()

    @property
    def graph(self) -> fx.Graph:
        """The graph that forward runs; call `recompile` after changing it."""
        graph: fx.Graph = self.__dict__["_graph"]
        return graph

    def recompile(self) -> None:
        """Makes forward run the present state of `graph`."""
        self.graph.lint()
        function = codegen.compile_forward(self.graph, self._signature, self._out_spec)
        forward = types.MethodType(function, self)
        self.__dict__["forward"] = forward
        self._delegate.__dict__["forward"] = forward  # methods of the model that call self(x)

    def train(self, mode: bool = True) -> QuantizedModel:
        """As nn.Module.train, also for the captured model's own methods."""
        super().train(mode)
        self._delegate.training = mode
        for path in self.__dict__.get("_frozen", ()):
            self.get_submodule(path).eval()
        return self

    def freeze_batch_norm(self, paths: Iterable[str] | None = None) -> QuantizedModel:
        """Keeps BatchNorm layers (all, or those at `paths`) on their running statistics from now on.

        gamma and beta go on training. Use it for the last epochs of training.

        Example:
            >>> from edgeqat.graph.capture import capture
            >>> model = QuantizedModel(capture(nn.Sequential(nn.Conv1d(2, 4, 1), nn.BatchNorm1d(4)), torch.ones(2, 2, 8)))
            >>> model.freeze_batch_norm().train().get_submodule("1").training
            False
        """
        if paths is None:
            paths = [n for n, m in self.named_modules() if isinstance(m, _BatchNorm)]
        self.__dict__["_frozen"] = tuple(paths)
        return self.train(self.training)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As nn.Module.state_dict; the second name of a tied tensor holds a copy.

        So `safetensors.torch.save_file` takes it, which refuses tensors that share memory.
        """
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", args[1] if len(args) > 1 else "")
        if not kwargs.get("keep_vars", False):
            for name in self._tied_names():
                if f"{prefix}{name}" in state:
                    state[f"{prefix}{name}"] = state[f"{prefix}{name}"].clone()
        return state

    def _tied_names(self) -> list[str]:
        named = [
            *self.named_parameters(remove_duplicate=False),
            *self.named_buffers(remove_duplicate=False),
        ]
        seen: set[int] = set()
        tied = []
        for name, tensor in named:
            if id(tensor) in seen:
                tied.append(name)
            seen.add(id(tensor))
        return tied

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            if table in state and name in state[table]:
                return state[table][name]
        if "_delegate" in state and not (name.startswith("__") and name.endswith("__")):
            return getattr(state["_delegate"], name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __getstate__(self) -> dict[str, Any]:
        delegate = object.__new__(type(self._delegate))
        delegate.__dict__.update(
            {k: v for k, v in self._delegate.__dict__.items() if k != "forward"}
        )
        state = {k: v for k, v in self.__dict__.items() if k not in _RUNTIME}
        return state | {"_delegate": delegate, "_graph_data": serialize.to_data(self.graph)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        graph = serialize.from_data(state.pop("_graph_data"))
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.__dict__["_graph"] = graph
        for name in _TABLES + _STATE_HOOKS:
            self._delegate.__dict__[name] = self.__dict__[name]
        self.recompile()

    def __repr__(self) -> str:
        layers = [
            f"  {name}: {module!r}"
            for name, module in self._delegate.named_modules()
            if name
            and not any(True for _ in module.children())
            and name.split(".")[0] not in ("quantizers", CONSTANTS)
        ]
        count = sum(p.numel() for p in self.parameters())
        quantizers = sum(1 for _ in self.quantizers.modules()) - 1
        head = f"{type(self).__name__}({type(self._delegate).__name__}, {count:,} parameters, {quantizers} quantizers)"
        return "\n".join([head, *layers])


class Constants(nn.Module):
    """Tensors that forward used without registering them: they follow `.to()`, not `state_dict`."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)
