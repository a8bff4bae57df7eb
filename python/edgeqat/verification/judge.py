# SPDX-License-Identifier: Apache-2.0
"""Runs the integer reference: from the inputs on, and layer by layer on what the file itself computed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from edgeqat import _C

Array = np.ndarray[Any, Any]


class Judge:
    """The lowered graph of a converted model, ready for the integer reference.

    Args:
        document: JSON of the lowered graph.
        constants: its constants by name.
        threads: threads of the reference; the result does not depend on it.
    """

    def __init__(self, document: str, constants: Mapping[str, Array], threads: int = 1) -> None:
        self.constants, self.threads = dict(constants), threads
        self.refusal: str | None = None
        try:
            self.parsed = _C.Graph.parse(document)
        except ValueError as error:
            self.refusal = f"the integer reference refuses the model: {error}"
        self.graph: dict[str, Any] = json.loads(document)
        self.tensors: dict[str, dict[str, Any]] = self.graph["tensors"]
        self.producers: dict[str, dict[str, Any]] = {
            name: node for node in self.graph["nodes"] for name in node["outputs"]
        }

    def quantized(self) -> list[str]:
        """Computed tensors that are codes, in the order of the graph."""
        return [name for name in self.producers if self.tensors[name]["quant"] is not None]

    def segment(self, name: str, given: Collection[str]) -> tuple[set[str], list[dict[str, Any]]]:
        """(tensors of `given` or inputs, nodes) from which `name` is computed."""
        border: set[str] = set()
        nodes: list[dict[str, Any]] = []
        seen: set[str] = set()
        open_ends = [name]
        while open_ends:
            node = self.producers[open_ends.pop()]
            if node["name"] in seen:
                continue
            seen.add(node["name"])
            nodes.append(node)
            for source in node["inputs"]:
                if source is None or self.tensors[source]["constant"]:
                    continue
                if source in given or source in self.graph["inputs"]:
                    border.add(source)
                else:
                    open_ends.append(source)
        return border, nodes

    @staticmethod
    def obstacle(nodes: list[dict[str, Any]]) -> str | None:
        """Why the reference cannot run `nodes`; None if it can."""
        left = sorted(
            {
                f"{node['op']} {node['source']}".strip()
                for node in nodes
                if node["op"].startswith("aten.")
            }
        )
        return f"the integer reference does not run {', '.join(left)}" if left else None

    def local(self, name: str, given: Mapping[str, Array]) -> Array | str:
        """`name` computed from the nearest tensors of `given`, or the reason why it cannot be."""
        border, nodes = self.segment(name, given.keys())
        reason = self.refusal or self.obstacle(nodes)
        if reason is not None:
            return reason
        try:
            return self._run({source: given[source] for source in border}, [name], nodes)[name]
        except (ValueError, NotImplementedError) as error:
            return str(error)

    def whole(self, inputs: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        """Those of `names` that can be computed from the inputs on."""
        if self.refusal is not None:
            return {}
        parts = {name: self.segment(name, ())[1] for name in names}
        possible = [name for name, nodes in parts.items() if self.obstacle(nodes) is None]
        try:
            return self._run(inputs, possible, self.graph["nodes"]) if possible else {}
        except (ValueError, NotImplementedError):
            return {}  # `local` has named the layer

    def _run(
        self, inputs: Mapping[str, Array], keep: list[str], nodes: list[dict[str, Any]]
    ) -> dict[str, Array]:
        mentioned = {
            name
            for node in nodes
            for name in (*node["inputs"], *node["outputs"])
            if name is not None
        } | set(inputs)
        for name in tuple(mentioned):
            quant = self.tensors[name]["quant"]
            if quant is not None:
                mentioned |= {quant["scale"], quant["zero_point"]}
        constants = {name: value for name, value in self.constants.items() if name in mentioned}
        given = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        result: dict[str, Array] = _C.run_reference(
            self.parsed, constants, given, keep, threads=self.threads
        )
        return result
