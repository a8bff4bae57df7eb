# SPDX-License-Identifier: Apache-2.0
"""The attributes of every operator of `edgeqat::Graph`, read from the arguments of its ATen node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from edgeqat.graph import structure
from edgeqat.graph.operators import aten, clamp_limits

Attributes = dict[str, Any]


class NotLowerable(Exception):
    """The operator has no form in edgeqat::Graph; the node is written as aten.<name>."""


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def _list(value: Any, count: int) -> list[int]:
    values = [int(value)] * count if isinstance(value, int) else [int(v) for v in value]
    return values * count if len(values) == 1 else values


def axis_of(axis: int, rank: int) -> int:
    return int(axis) % rank


def rank_of(node: Any) -> int:
    return len(structure.shape_of(node))


def _spatial(node: fx.Node) -> int:
    """Spatial dimensions of a convolution or pooling: 3 for aten.conv3d on [N, C, D, H, W]."""
    count = rank_of(node) - 2
    if f"{count}d" not in str(node.target):
        raise NotLowerable  # one image without a batch axis
    return count


def _conv(node: fx.Node) -> Attributes:
    count = _spatial(node)
    padding = argument(node, 4, "padding", 0)
    dilation = _list(argument(node, 5, "dilation", 1), count)
    if isinstance(padding, str):
        kernel = structure.shape_of(structure.weight_node(node))[2:]
        total = [
            d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)
        ]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = _list(padding, count) * 2
    return {
        "stride": _list(argument(node, 3, "stride", 1), count),
        "padding": pads,
        "dilation": dilation,
        "groups": int(argument(node, 6, "groups", 1)),
    }


def _conv_transpose(node: fx.Node) -> Attributes:
    count = _spatial(node)
    return {
        "stride": _list(argument(node, 3, "stride", 1), count),
        "padding": _list(argument(node, 4, "padding", 0), count) * 2,
        "output_padding": _list(argument(node, 5, "output_padding", 0), count),
        "groups": int(argument(node, 6, "groups", 1)),
        "dilation": _list(argument(node, 7, "dilation", 1), count),
    }


def _max_pool(node: fx.Node) -> Attributes:
    count = _spatial(node)
    kernel = _list(node.args[1], count)
    return {
        "kernel": kernel,
        "stride": _list(argument(node, 2, "stride") or kernel, count),
        "padding": _list(argument(node, 3, "padding", 0), count) * 2,
        "dilation": _list(argument(node, 4, "dilation", 1), count),
        "ceil_mode": bool(argument(node, 5, "ceil_mode", False)),
    }


def _avg_pool(node: fx.Node) -> Attributes:
    count = _spatial(node)
    kernel = _list(node.args[1], count)
    if argument(node, 6, "divisor_override") is not None:
        raise NotLowerable
    return {
        "kernel": kernel,
        "stride": _list(argument(node, 2, "stride") or kernel, count),
        "padding": _list(argument(node, 3, "padding", 0), count) * 2,
        "ceil_mode": bool(argument(node, 4, "ceil_mode", False)),
        "count_include_pad": bool(argument(node, 5, "count_include_pad", True)),
    }


def _mean(node: fx.Node) -> Attributes:
    rank = rank_of(node.args[0])
    axes = argument(node, 1, "dim")
    axes = list(range(rank)) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    return {
        "axes": sorted(axis_of(a, rank) for a in axes),
        "keepdim": bool(argument(node, 2, "keepdim", False)),
    }


def reshape_attributes(node: fx.Node) -> Attributes:
    shape = list(structure.shape_of(node))
    if shape.count(-1) > 1:
        raise NotLowerable
    return {"shape": shape}


def _transpose(node: fx.Node) -> Attributes:
    rank = rank_of(node.args[0])
    if node.target is aten.permute.default:
        return {"permutation": [axis_of(a, rank) for a in node.args[1]]}  # type: ignore[union-attr, arg-type]
    first, second = (0, 1) if node.target is aten.t.default else (node.args[1], node.args[2])
    order = list(range(rank))
    if rank > 1:
        a, b = axis_of(first, rank), axis_of(second, rank)  # type: ignore[arg-type]
        order[a], order[b] = order[b], order[a]
    return {"permutation": order}


def _slice(node: fx.Node) -> Attributes:
    rank = rank_of(node.args[0])
    end = argument(node, 3, "end")
    start = argument(node, 2, "start")
    if not isinstance(start or 0, int) or not isinstance(end if end is not None else 0, int):
        raise NotLowerable
    return {
        "axis": axis_of(argument(node, 1, "dim", 0), rank),
        "start": int(start or 0),
        "end": 2**31 - 1 if end is None else min(int(end), 2**31 - 1),
        "step": int(argument(node, 4, "step", 1)),
    }


def _pad(node: fx.Node) -> Attributes:
    rank = rank_of(node.args[0])
    if node.target is aten.pad.default and argument(node, 2, "mode", "constant") != "constant":
        raise NotLowerable
    given: Any = node.args[1]
    begin, end = [0] * rank, [0] * rank
    for i in range(len(given) // 2):
        begin[rank - 1 - i], end[rank - 1 - i] = int(given[2 * i]), int(given[2 * i + 1])
    return {"pads": begin + end, "value": 0.0}


def _softmax(node: fx.Node) -> Attributes:
    return {"axis": axis_of(node.args[1], rank_of(node))}  # type: ignore[arg-type]


def _layer_norm(node: fx.Node) -> Attributes:
    return {"axes_count": len(node.args[1]), "eps": float(argument(node, 4, "eps", 1e-5))}  # type: ignore[arg-type]


def clamp_attributes(node: fx.Node) -> Attributes:
    low, high = clamp_limits(node)
    if any(isinstance(a, fx.Node) for a in node.args[1:]):
        raise NotLowerable
    return {
        "min": -3.4028234663852886e38 if low is None else low,
        "max": 3.4028234663852886e38 if high is None else high,
    }


def _binary(node: fx.Node) -> Attributes:
    if argument(node, 2, "alpha", 1) != 1:
        raise NotLowerable
    return {}


ATTRIBUTES: dict[str, Callable[[fx.Node], Attributes]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_avg_pool": lambda n: {"output_size": _list(n.args[1], _spatial(n))},
    "mean": _mean,
    "reshape": reshape_attributes,
    "transpose": _transpose,
    "slice": _slice,
    "expand": lambda n: reshape_attributes(n),
    "pad": _pad,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "clamp": clamp_attributes,
    "leaky_relu": lambda n: {"slope": float(argument(n, 1, "negative_slope", 0.01))},
    "gelu": lambda n: {"approximate": str(n.kwargs.get("approximate", "none"))},
    "cat": lambda n: {"axis": axis_of(argument(n, 1, "dim", 0), rank_of(n))},
    "add": _binary,
    "sub": _binary,
}
