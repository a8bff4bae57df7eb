# SPDX-License-Identifier: Apache-2.0
"""Pooling, data movement, normalization and what a run may be given, against NumPy and explicit loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from edgeqat import _C
from graph_builder import GraphBuilder
from quantize_numpy import dequantize, quantize

RNG = np.random.default_rng(20)
ALL = slice(None)
CODES = RNG.integers(-128, 128, (2, 3, 8, 10)).astype(np.int8)


def real(codes: np.ndarray = CODES, scale: float = 0.05, zero: int = 7) -> np.ndarray:
    return dequantize(codes, scale, zero)


def run(
    op: str, out_shape: tuple[int, ...], codes: np.ndarray = CODES, **attributes: Any
) -> dict[str, np.ndarray]:
    """One op from codes to float32 ("y"), to other parameters ("q"), and to the same ("c")."""
    b = GraphBuilder()
    b.input("x", (-1, *codes.shape[1:]), scale=0.05, zero=7)
    b.tensor("y", out_shape)
    b.tensor("q", out_shape, scale=0.031, zero=-40)
    b.tensor("c", out_shape, scale=0.05, zero=7)
    for output in ("y", "q", "c"):
        b.node(op, ["x"], output, **attributes)
    return _C.run_reference(b.graph(), b.constants, {"x": codes}, keep=["y", "q", "c"], threads=2)


def check(got: dict[str, np.ndarray], want: np.ndarray, *, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(got["y"], want, rtol=rtol, atol=0)
    np.testing.assert_array_equal(got["q"], quantize(want, 0.031, -40))
    np.testing.assert_array_equal(got["c"], quantize(want, 0.05, 7))


POOLS = [
    ([2, 2], [2, 2], [0, 0, 0, 0], [1, 1], False),
    ([3, 3], [2, 2], [1, 1, 1, 1], [1, 1], False),
    ([3, 2], [2, 3], [1, 0, 1, 1], [1, 1], True),
    ([4, 5], [3, 4], [2, 1, 2, 1], [1, 1], True),
    ([3, 3], [2, 2], [1, 1, 1, 1], [2, 3], True),
]


def windows(
    extent: int, kernel: int, stride: int, before: int, after: int, dilation: int, ceil: bool
) -> list[range]:
    """The taps of every output, with PyTorch's rule for the last one in ceil mode."""
    span = dilation * (kernel - 1)
    taps = []
    start = -before
    while start + span < extent + after or (
        ceil and start < extent and start + span - stride < extent + after - 1
    ):
        taps.append(range(start, start + span + 1, dilation))
        start += stride
    return taps


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "ceil"), POOLS)
def test_max_pool(
    kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil: bool
) -> None:
    rows = windows(8, kernel[0], stride[0], padding[0], padding[2], dilation[0], ceil)
    columns = windows(10, kernel[1], stride[1], padding[1], padding[3], dilation[1], ceil)
    x = real()
    want = np.zeros((2, 3, len(rows), len(columns)), np.float32)
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        values = [x[:, :, r, c] for r in row for c in column if 0 <= r < 8 and 0 <= c < 10]
        want[:, :, i, j] = np.max(values, 0)
    got = run(
        "max_pool",
        (-1, 3, *want.shape[2:]),
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil,
    )
    check(got, want)
    if padding[:2] == padding[2:]:
        torch_result = torch.nn.functional.max_pool2d(
            torch.from_numpy(x), kernel, stride, padding[:2], dilation, ceil
        )
        np.testing.assert_array_equal(got["y"], torch_result.numpy())


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "ceil"), POOLS[:4])
@pytest.mark.parametrize("include", [False, True])
def test_avg_pool(
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil: bool,
    include: bool,
) -> None:
    rows = windows(8, kernel[0], stride[0], padding[0], padding[2], 1, ceil)
    columns = windows(10, kernel[1], stride[1], padding[1], padding[3], 1, ceil)
    x = real().astype(np.float64)
    want = np.zeros((2, 3, len(rows), len(columns)))
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        values = [x[:, :, r, c] for r in row for c in column if 0 <= r < 8 and 0 <= c < 10]
        padded = [1 for r in row for c in column if r < 8 + padding[2] and c < 10 + padding[3]]
        want[:, :, i, j] = np.sum(values, 0) / len(padded if include else values)
    want = want.astype(np.float32)
    got = run(
        "avg_pool",
        (-1, 3, *want.shape[2:]),
        kernel=kernel,
        stride=stride,
        padding=padding,
        ceil_mode=ceil,
        count_include_pad=include,
    )
    check(got, want, rtol=2e-7)
    if padding[:2] == padding[2:] and dilation == [1, 1]:
        torch_result = torch.nn.functional.avg_pool2d(
            torch.from_numpy(real()), kernel, stride, padding[:2], ceil, include
        )
        np.testing.assert_allclose(got["y"], torch_result.numpy(), rtol=1e-5, atol=1e-6)


VOLUME = RNG.integers(-128, 128, (2, 2, 5, 6, 7)).astype(np.int8)
VOLUME_POOLS = [
    ([2, 2, 2], [2, 2, 2], [0, 0, 0], [1, 1, 1], False),
    ([3, 2, 3], [2, 1, 3], [1, 0, 1], [1, 1, 1], True),
    ([2, 3, 4], [1, 2, 2], [0, 1, 2], [1, 1, 1], False),
    ([2, 2, 3], [1, 3, 2], [1, 1, 1], [3, 2, 2], True),
]


@pytest.mark.parametrize("op", ["max_pool", "avg_pool, padding counts", "avg_pool"])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "ceil"), VOLUME_POOLS)
def test_pool_in_three_dimensions(
    op: str,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil: bool,
) -> None:
    extents = VOLUME.shape[2:]
    average, counted = op.startswith("avg_pool"), "counts" in op
    dilation = [1, 1, 1] if average else dilation
    taps = [
        windows(extents[i], kernel[i], stride[i], padding[i], padding[i], dilation[i], ceil)
        for i in range(3)
    ]
    x = real(VOLUME).astype(np.float64)
    want = np.zeros((2, 2, *map(len, taps)))
    for at in np.ndindex(*want.shape[2:]):
        box = [taps[i][at[i]] for i in range(3)]
        inside = [[t for t in box[i] if 0 <= t < extents[i]] for i in range(3)]
        values = x[(ALL, ALL, *np.ix_(*inside))].reshape(2, 2, -1)
        padded = [[t for t in box[i] if t < extents[i] + padding[i]] for i in range(3)]
        divisor = np.prod([len(side) for side in (padded if counted else inside)])
        want[(ALL, ALL, *at)] = values.sum(-1) / divisor if average else values.max(-1)
    attributes = {"count_include_pad": counted} if average else {"dilation": dilation}
    got = run(
        op.split(",")[0],
        (-1, *want.shape[1:]),
        VOLUME,
        kernel=kernel,
        stride=stride,
        padding=padding * 2,
        ceil_mode=ceil,
        **attributes,
    )
    check(got, want.astype(np.float32), rtol=2e-7 if average else 0.0)
    pool, option = (
        (torch.nn.functional.avg_pool3d, {"count_include_pad": counted})
        if average
        else (torch.nn.functional.max_pool3d, {"dilation": dilation})
    )
    expected = pool(
        torch.from_numpy(real(VOLUME)), kernel, stride, padding, ceil_mode=ceil, **option
    )
    np.testing.assert_allclose(got["y"], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_pool_in_one_dimension_and_nan() -> None:
    b = GraphBuilder()
    b.input("x", (-1, 1, 6))
    b.tensor("y", (-1, 1, 3))
    b.node("max_pool", ["x"], "y", kernel=[2], stride=[2], padding=[0, 0], dilation=[1])
    x = np.array([[[1, np.nan, 3, 2, -np.inf, -5]]], np.float32)
    np.testing.assert_array_equal(b.run({"x": x}), [[[np.nan, 3, -5]]])


@pytest.mark.parametrize("size", [[1, 1], [3, 4], [8, 10], [11, 13]])
def test_adaptive_avg_pool(size: list[int]) -> None:
    x = real().astype(np.float64)
    want = np.zeros((2, 3, *size))
    for i, j in product(range(size[0]), range(size[1])):
        rows = slice(i * 8 // size[0], -(-(i + 1) * 8 // size[0]))
        columns = slice(j * 10 // size[1], -(-(j + 1) * 10 // size[1]))
        want[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    check(
        run("adaptive_avg_pool", (-1, 3, *size), output_size=size),
        want.astype(np.float32),
        rtol=2e-7,
    )


@pytest.mark.parametrize("size", [[1, 1, 1], [2, 6, 3], [7, 4, 7]])
def test_adaptive_avg_pool_in_three_dimensions(size: list[int]) -> None:
    x = real(VOLUME).astype(np.float64)
    want = np.zeros((2, 2, *size))
    for at in np.ndindex(*size):
        box = (
            slice(k * n // o, -(-(k + 1) * n // o))
            for k, n, o in zip(at, x.shape[2:], size, strict=True)
        )
        want[(ALL, ALL, *at)] = x[(ALL, ALL, *box)].mean((2, 3, 4))
    got = run("adaptive_avg_pool", (-1, 2, *size), VOLUME, output_size=size)
    check(got, want.astype(np.float32), rtol=2e-7)


@pytest.mark.parametrize("axes", [[2, 3], [1], [3, 0], [0, 1, 2, 3]])
@pytest.mark.parametrize("keepdim", [False, True])
def test_mean(axes: list[int], keepdim: bool) -> None:
    want = real().astype(np.float64).mean(tuple(axes), keepdims=keepdim).astype(np.float32)
    check(run("mean", (-1,) * want.ndim, axes=axes, keepdim=keepdim), want, rtol=2e-7)


MOVEMENTS: list[tuple[str, dict[str, Any], np.ndarray]] = [
    ("reshape", {"shape": [2, -1, 5]}, real().reshape(2, -1, 5)),
    ("transpose", {"permutation": [2, 0, 3, 1]}, real().transpose(2, 0, 3, 1)),
    ("slice", {"axis": 3, "start": 1, "end": 9, "step": 3}, real()[..., 1:9:3]),
    ("slice", {"axis": 2, "start": -3, "end": 2**62}, real()[:, :, -3:]),
    ("slice", {"axis": 1, "start": 2, "end": 1}, real()[:, 2:1]),
    ("pad", {"pads": [0, 1, 2, 0, 1, 0, 0, 3]}, np.pad(real(), ((0, 1), (1, 0), (2, 0), (0, 3)))),
    (
        "pad",
        {"pads": [0] * 7 + [2], "value": -1.5},
        np.pad(real(), ((0, 0), (0, 0), (0, 0), (0, 2)), constant_values=-1.5),
    ),
    ("expand", {"shape": [4, -1, -1, 8, 10]}, np.broadcast_to(real(), (4, 2, 3, 8, 10))),
    ("identity", {}, real()),
    (
        "softmax",
        {"axis": 1},
        np.exp(real().astype(np.float64)) / np.exp(real().astype(np.float64)).sum(1, keepdims=True),
    ),
]


@pytest.mark.parametrize(("op", "attributes", "want"), MOVEMENTS)
def test_movement_and_softmax(op: str, attributes: dict[str, Any], want: np.ndarray) -> None:
    got = run(op, (-1,) * want.ndim, **attributes)
    check(got, want.astype(np.float32), rtol=2e-7 if op == "softmax" else 0.0)


def test_movement_keeps_integers() -> None:
    b = GraphBuilder()
    b.input("i", (-1, 3), dtype="int64")
    b.tensor("y", (3, -1), dtype="int64")
    b.node("transpose", ["i"], "y", permutation=[1, 0])
    i = np.array([[2**60 + 1, -5, 3], [1, 2, 3]])
    np.testing.assert_array_equal(b.run({"i": i}), i.T)


@pytest.mark.parametrize("same", [False, True])
def test_cat(same: bool) -> None:
    b = GraphBuilder()
    scales = [(0.05, 7), (0.05, 7) if same else (0.02, -3)]
    parts = [CODES, CODES[:, :2, ::-1]]
    for name, part, (scale, zero) in zip("ab", parts, scales, strict=True):
        b.input(name, part.shape, scale=scale, zero=zero)
    b.tensor("y", (2, 5, 8, 10), scale=0.05, zero=7)
    b.node("cat", ["a", "b"], "y", axis=1)
    want = np.concatenate([real(p, *s) for p, s in zip(parts, scales, strict=True)], 1)
    np.testing.assert_array_equal(
        b.run(dict(zip("ab", parts, strict=True))), quantize(want, 0.05, 7)
    )


@pytest.mark.parametrize("index_type", [np.int32, np.int64])
def test_embedding(index_type: type) -> None:
    table = RNG.integers(-8, 8, (11, 6)).astype(np.int8)
    scale = RNG.uniform(0.01, 0.1, 11).astype(np.float32)
    b = GraphBuilder()
    b.input("i", (-1, -1), dtype=np.dtype(index_type).name)
    b.constant("w", table, scale=scale, axis=0, bounds=(-8, 7))
    b.constant("v", table, scale=0.05, zero=7)
    for name, source, options in (("y", "w", {}), ("c", "v", {"scale": 0.05, "zero": 7})):
        b.tensor(name, (-1, -1, 6), **options)
        b.node("embedding", ["i", source], name)
    i = RNG.integers(0, 11, (3, 5)).astype(index_type)
    got = _C.run_reference(b.graph(), b.constants, {"i": i}, keep=["y", "c"])
    np.testing.assert_array_equal(got["y"], (table * scale[:, None])[i])
    np.testing.assert_array_equal(got["c"], table[i])
    with pytest.raises(IndexError, match="expected indices from 0 to 10, found 11"):
        _C.run_reference(b.graph(), b.constants, {"i": i * 0 + 11})


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm(count: int, affine: bool) -> None:
    shape = CODES.shape[-count:]
    weight, bias = RNG.normal(size=(2, *shape)).astype(np.float32)
    x = real().astype(np.float64)
    axes = tuple(range(4 - count, 4))
    want = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    b = GraphBuilder()
    b.input("x", CODES.shape, scale=0.05, zero=7)
    b.tensor("y", CODES.shape)
    inputs: list[str | None] = ["x"]
    if affine:
        want = want * weight + bias
        inputs += [b.constant("weight", weight), b.constant("bias", bias)]
    b.node("layer_norm", inputs, "y", axes_count=count, eps=1e-5)
    np.testing.assert_allclose(b.run({"x": CODES}), want, rtol=2e-6, atol=1e-6)
