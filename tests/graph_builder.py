# SPDX-License-Identifier: Apache-2.0
"""Builds lowered graphs for tests, one call per tensor and per node."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from edgeqat import _C


class GraphBuilder:
    """Collects tensors, constants and nodes; ``graph()`` parses the JSON, ``run()`` executes it."""

    def __init__(self) -> None:
        self.tensors: dict[str, dict[str, Any]] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[dict[str, Any]] = []
        self.inputs: list[str] = []

    def _quant(
        self,
        name: str,
        scale: Any,
        zero: Any,
        bounds: tuple[int, int],
        axis: int | None,
        group_size: int | None,
    ) -> dict[str, Any]:
        self.constant(f"{name}.scale", np.atleast_1d(np.asarray(scale, np.float32)))
        shape = self.constants[f"{name}.scale"].shape
        self.constant(
            f"{name}.zero_point", np.broadcast_to(np.asarray(zero, np.int32), shape).copy()
        )
        bits = max(1, int(bounds[1] - bounds[0]).bit_length())
        return {
            "bits": bits,
            "qmin": bounds[0],
            "qmax": bounds[1],
            "axis": axis,
            "group_size": group_size,
            "scale": f"{name}.scale",
            "zero_point": f"{name}.zero_point",
        }

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        scale: Any = None,
        zero: Any = 0,
        bounds: tuple[int, int] = (-128, 127),
        axis: int | None = None,
        group_size: int | None = None,
        dtype: str = "float32",
    ) -> str:
        """A computed tensor; with ``scale`` it holds codes."""
        quant = None
        if scale is not None:
            quant = self._quant(name, scale, zero, bounds, axis, group_size)
            dtype = "int8" if bounds[0] < 0 else "uint8"
        self.tensors[name] = {
            "shape": list(shape),
            "dtype": dtype,
            "constant": False,
            "quant": quant,
        }
        return name

    def input(self, name: str, shape: tuple[int, ...], **options: Any) -> str:
        """A tensor that is an input of the graph."""
        self.inputs.append(name)
        return self.tensor(name, shape, **options)

    def constant(
        self,
        name: str,
        array: np.ndarray,
        *,
        scale: Any = None,
        zero: Any = 0,
        bounds: tuple[int, int] = (-128, 127),
        axis: int | None = None,
        group_size: int | None = None,
    ) -> str:
        """A constant; with ``scale`` it holds codes."""
        quant = None if scale is None else self._quant(name, scale, zero, bounds, axis, group_size)
        self.constants[name] = array
        self.tensors[name] = {
            "shape": list(array.shape),
            "dtype": array.dtype.name,
            "constant": True,
            "quant": quant,
        }
        return name

    def node(
        self,
        op: str,
        inputs: list[str | None],
        output: str,
        *,
        activation: dict[str, Any] | None = None,
        **attributes: Any,
    ) -> str:
        """A node named after its output."""
        self.nodes.append(
            {
                "name": f"node.{output}",
                "op": op,
                "inputs": inputs,
                "outputs": [output],
                "attributes": attributes,
                "activation": activation,
                "source": "model.py:1",
            }
        )
        return output

    def graph(self, *outputs: str) -> _C.Graph:
        """The parsed graph; by default the last node's output is the graph's."""
        names = list(outputs) or [self.nodes[-1]["outputs"][0]]
        return _C.Graph.parse(
            json.dumps(
                {
                    "format": "edgeqat.graph",
                    "version": 1,
                    "inputs": self.inputs,
                    "outputs": names,
                    "tensors": self.tensors,
                    "nodes": self.nodes,
                }
            )
        )

    def run(self, inputs: dict[str, np.ndarray], **options: Any) -> np.ndarray:
        """The value of the last node's output."""
        output = self.nodes[-1]["outputs"][0]
        return _C.run_reference(self.graph(), self.constants, inputs, **options)[output]
