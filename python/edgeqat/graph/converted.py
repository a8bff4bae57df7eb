# SPDX-License-Identifier: Apache-2.0
"""`ConvertedModel`: the integer model; codes, scales and biases are buffers, forward is a graph of quantize and dequantize."""

from __future__ import annotations

import types
from typing import Any

from torch import Tensor, fx, nn

from edgeqat.graph import codegen, serialize
from edgeqat.graph.arguments import Signature, Structure
from edgeqat.graph.model import QuantizedModel


class ConvertedModel(nn.Module):
    """What `convert` returns. It computes in float what an integer runtime computes in integers.

    Buffers: ``<weight>`` int8 codes, ``<weight>_scale``, ``<weight>_zero_point``, ``<activation>_scale``, ...; biases and
    what stayed float under the model's own names. There are no parameters: it is not trained further.

    Attributes:
        graph: the fx graph; node.meta["tensor_name"] is the name in the plan, in `edgeqat::Graph` and in exported files.
        plan: the plan it was made with.

    Example:
        >>> import torch, edgeqat
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> converted = edgeqat.convert(edgeqat.calibrate(student, [torch.randn(8, 4)]))
        >>> converted.state_dict()["0.weight"].dtype, converted(torch.randn(3, 4)).shape
        (torch.int8, torch.Size([3, 2]))
    """

    plan: Any

    def __init__(
        self,
        graph: fx.Graph,
        constants: dict[str, Tensor],
        signature: Signature,
        out_spec: Structure,
        plan: Any,
    ) -> None:
        super().__init__()
        for name, tensor in constants.items():
            *path, leaf = name.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]  # type: ignore[assignment]
            module.register_buffer(leaf, tensor)
        self.__dict__.update(_graph=graph, _signature=signature, _out_spec=out_spec, plan=plan)
        self.eval()
        self.recompile()

    @staticmethod
    def from_student(
        student: QuantizedModel, graph: fx.Graph, constants: dict[str, Tensor]
    ) -> ConvertedModel:
        """With the signature and the plan of `student`."""
        state = student.__dict__
        return ConvertedModel(
            graph, constants, state["_signature"], state["_out_spec"], state.get("plan")
        )

    @property
    def graph(self) -> fx.Graph:
        """The graph that forward runs."""
        graph: fx.Graph = self.__dict__["_graph"]
        return graph

    def recompile(self) -> None:
        """Makes forward run the present state of `graph`."""
        state = self.__dict__
        function = codegen.compile_forward(self.graph, state["_signature"], state["_out_spec"])
        state["forward"] = types.MethodType(function, self)

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k not in ("forward", "_graph")}
        return state | {"_graph_data": serialize.to_data(self.graph)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        graph = serialize.from_data(state.pop("_graph_data"))
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.__dict__["_graph"] = graph
        self.recompile()

    def __repr__(self) -> str:
        codes = sum(b.numel() for n, b in self.named_buffers() if str(b.dtype) == "torch.int8")
        return f"ConvertedModel({codes:,} integer weights, {len(self.graph.nodes)} nodes)"
