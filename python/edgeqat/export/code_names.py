# SPDX-License-Identifier: Apache-2.0
"""Which tensor of the lowered graph holds the codes that a quantize node makes: the name it gets in exported files."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeqat.graph.lower import Lowering


def code_names(converted: Any, graph: fx.Graph | None = None) -> dict[fx.Node, str]:
    """The quantize nodes of a converted model -> the tensor of the lowered graph that holds their codes."""
    lowering = Lowering(converted)
    lowering.run(converted.graph if graph is None else graph)
    op = torch.ops.edgeqat.quantize.default
    return {node: name for node, name in lowering.names.items() if node.target is op}
