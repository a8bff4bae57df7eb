# SPDX-License-Identifier: Apache-2.0
"""Translates average pooling where the exporter of torch, or ONNX Runtime's integer kernel, would give other numbers.

- `divisor_override` is left out by the exporter.
- A window that `ceil_mode` lets reach over the end divides by what lies inside. ONNX Runtime 1.31 does so in float; its
  QLinearAveragePool with `count_include_pad` divides by the whole window, which was up to 42 codes off. Without padding
  there is nothing to include; with padding such a pooling stays float.
- Adaptive pooling of volumes is missing in the exporter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from onnxscript import opset18 as op


def avg_pool(count: int) -> Callable[..., Any]:
    """The translation of `aten.avg_pool<count>d`."""

    def translate(
        x: Any,
        kernel_size: Sequence[int],
        stride: Sequence[int] = (),
        padding: Sequence[int] = (0,),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        kernel, pads = _list(kernel_size, count), _list(padding, count)
        strides = _list(stride, count) or kernel
        extents, batched = list(x.shape)[-count:], len(x.shape) == count + 2
        x = x if batched else op.Unsqueeze(x, _constant(0))
        windows: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
        if divisor_override is not None:
            zeros = [*pads, *_ends(extents, windows, pads, ceil_mode)]
            factor = op.Constant(value_float=math.prod(kernel) / divisor_override)
            y: Any = op.Mul(op.AveragePool(_pad(x, zeros), **windows), factor)
        else:
            over_the_end = ceil_mode and count_include_pad
            counted = int(count_include_pad and (any(pads) or not ceil_mode))
            ends = pads
            if ceil_mode and any(pads):
                # no window begins behind the input, which shape inference before opset 22 does not know
                reached = _ends(extents, windows, pads, ceil_mode)
                ends = [min(pair) for pair in zip(pads, reached, strict=True)]
            windows |= {"ceil_mode": int(ceil_mode), "count_include_pad": counted}
            y = op.AveragePool(x, **windows, pads=[*pads, *ends])
            if over_the_end and counted:
                y = op.Sum(y)  # the identity, behind which ONNX Runtime pools in float
        return y if batched else op.Squeeze(y, _constant(0))

    return translate


def adaptive_avg_pool3d(x: Any, output_size: Sequence[int]) -> Any:
    """AveragePool where every window has the same size; else one mean for each output index, axis by axis.

    Output index i of o reads the inputs floor(i * n / o) to ceil((i + 1) * n / o). A window is a box, so its mean is the mean
    over width of the mean over height of the mean over depth.

    Raises:
        ValueError: an extent is known only at run time, and with it the windows.
    """
    first = len(x.shape) - 3
    pairs = list(zip(_known(list(x.shape)[first:]), output_size, strict=True))
    if first == 2 and all(extent % outputs == 0 for extent, outputs in pairs):
        kernel = [extent // outputs for extent, outputs in pairs]
        return op.AveragePool(x, kernel_shape=kernel, strides=kernel)
    for axis, (extent, outputs) in enumerate(pairs, first):
        if extent != outputs:
            x = op.Concat(*_means(x, axis, extent, outputs), axis=axis)
    return x


def _means(x: Any, axis: int, extent: int, outputs: int) -> list[Any]:
    results = []
    for i in range(outputs):
        begin, end = i * extent // outputs, -(-(i + 1) * extent // outputs)
        window = op.Slice(x, _constant(begin), _constant(end), _constant(axis))
        results.append(op.ReduceMean(window, _constant(axis), keepdims=1))
    return results


def _ends(
    extents: list[Any], windows: dict[str, list[int]], pads: list[int], ceil_mode: bool
) -> list[int]:
    """How far the last window of every dimension reaches over the end of the input."""
    ends = []
    known, kernel, strides = _known(extents), windows["kernel_shape"], windows["strides"]
    for extent, k, stride, pad in zip(known, kernel, strides, pads, strict=True):
        slack = extent + 2 * pad - k
        last = (slack + (stride - 1 if ceil_mode else 0)) // stride
        if ceil_mode and last * stride >= extent + pad:
            last -= 1  # a window that begins behind the input and the padding before it is left out
        ends.append(max(last * stride + k - extent - pad, 0))
    return ends


def _pad(x: Any, zeros: list[int]) -> Any:
    """`x` with zeros written out around its spatial dimensions."""
    if not any(zeros):
        return x
    half = len(zeros) // 2
    amounts = _constant(0, 0, *zeros[:half], 0, 0, *zeros[half:])
    return op.Pad(x, amounts, op.Constant(value_float=0.0))


def _known(extents: list[Any]) -> list[int]:
    if not all(isinstance(extent, int) for extent in extents):
        raise ValueError(
            f"export_onnx: this pooling needs extents that are known, found {extents}; give the model inputs of one size"
        )
    return extents


def _list(value: Any, count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def _constant(*values: int) -> Any:
    return op.Constant(value_ints=list(values))
