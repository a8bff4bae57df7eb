# SPDX-License-Identifier: Apache-2.0
"""conv, conv_transpose, linear and matmul of the integer reference against NumPy in int64 and float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeqat import _C
from graph_builder import GraphBuilder
from quantize_numpy import INT8, UINT8, dequantize, quantize, random_codes, requantize

Codes = tuple[float, int, tuple[int, int]]  # scale, zero point, bounds
ALL = slice(None)


def shifted(at: tuple[int, ...], step: list[int], tap: tuple[int, ...], reach: list[int]) -> tuple:
    """The index of all images and channels at at * step + tap * reach."""
    places = (a * s + t * r for a, s, t, r in zip(at, step, tap, reach, strict=True))
    return (ALL, ALL, *places)


def conv(
    x: np.ndarray,
    w: np.ndarray,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> np.ndarray:
    """Direct convolution of [N, C, spatial...] by [O, C/g, kernel...] in the dtype of x."""
    count = x.ndim - 2
    sides = zip(padding[:count], padding[count:], strict=True)
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    out_channels, per_group, *kernel = w.shape
    extents = [
        (x.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(count)
    ]
    y = np.zeros((x.shape[0], out_channels, *extents), x.dtype)
    for at in np.ndindex(*extents):
        for tap in np.ndindex(*kernel):
            pixel = x[shifted(at, stride, tap, dilation)]
            for o in range(out_channels):
                first = o // (out_channels // groups) * per_group
                y[(ALL, o, *at)] += pixel[:, first : first + per_group] @ w[(o, ALL, *tap)]
    return y


def conv_transpose(
    x: np.ndarray,
    w: np.ndarray,
    stride: list[int],
    padding: list[int],
    output_padding: list[int],
    dilation: list[int],
    groups: int,
) -> np.ndarray:
    """Scatters every input pixel; w is [C, O/g, kernel...]."""
    batch, channels, *extents = x.shape
    _, out_group, *kernel = w.shape
    count = len(kernel)
    full = [
        (extents[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 + output_padding[i]
        for i in range(count)
    ]
    y = np.zeros((batch, out_group * groups, *full), x.dtype)
    for at in np.ndindex(*extents):
        for tap in np.ndindex(*kernel):
            place = shifted(at, stride, tap, dilation)
            for c in range(channels):
                first = c // (channels // groups) * out_group
                pixel = x[(ALL, c, *at)][:, None]
                y[place][:, first : first + out_group] += pixel * w[(c, ALL, *tap)]
    inner = (slice(padding[i], full[i] - padding[count + i]) for i in range(count))
    return y[(ALL, ALL, *inner)]


CONVS = {
    "3x3": ((2, 5, 9, 11), (7, 5, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1], 1),
    "stride": ((1, 6, 17, 15), (4, 6, 5, 3), [2, 3], [2, 1, 2, 1], [1, 1], 1),
    "asymmetric": ((1, 3, 8, 9), (5, 3, 2, 3), [1, 2], [0, 2, 1, 0], [1, 1], 1),
    "dilation": ((1, 4, 12, 13), (6, 4, 3, 3), [1, 1], [2, 1, 2, 1], [2, 3], 1),
    "groups": ((2, 6, 7, 8), (9, 2, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1], 3),
    "depthwise": ((2, 13, 9, 10), (13, 1, 3, 3), [2, 1], [1, 0, 1, 2], [1, 2], 13),
    "multiplier": ((1, 4, 6, 6), (8, 1, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1], 4),
    "1x1": ((2, 19, 9, 9), (10, 19, 1, 1), [1, 1], [0, 0, 0, 0], [1, 1], 1),
    "one dimension": ((2, 5, 31), (6, 5, 4), [2], [3, 1], [2], 1),
    "three dimensions": ((2, 5, 5, 6, 7), (7, 5, 3, 3, 3), [1, 1, 1], [1] * 6, [1, 1, 1], 1),
    "3-D strided": ((1, 6, 7, 6, 8), (9, 2, 2, 3, 2), [2, 1, 3], [1, 0, 2, 0, 2, 1], [2, 1, 1], 3),
    "3-D depthwise": ((2, 9, 5, 4, 6), (9, 1, 3, 2, 3), [1, 2, 1], [1, 1, 0] * 2, [1, 1, 2], 9),
}


def run_conv(
    case: tuple,
    x: np.ndarray,
    xq: Codes | None,
    w: np.ndarray,
    sw: Any,
    bias: np.ndarray | None,
    out: Codes | None,
    activation: dict[str, Any] | None = None,
    wzero: Any = 0,
    threads: int = 1,
    op: str = "conv",
    axis: int = 0,
    wbounds: tuple[int, int] = INT8,
    **extra: Any,
) -> np.ndarray:
    _, _, stride, padding, dilation, groups = case
    b = GraphBuilder()
    if xq is None:
        b.input("x", (-1, *x.shape[1:]))
    else:
        b.input("x", (-1, *x.shape[1:]), scale=xq[0], zero=xq[1], bounds=xq[2])
    per_channel = np.ndim(sw) == 1
    b.constant("w", w, scale=sw, zero=wzero, axis=axis if per_channel else None, bounds=wbounds)
    names: list[str | None] = ["x", "w", None if bias is None else b.constant("b", bias)]
    y = (-1,) * x.ndim
    b.tensor("y", y, **({} if out is None else {"scale": out[0], "zero": out[1], "bounds": out[2]}))
    b.node(
        op,
        names,
        "y",
        activation=activation,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        **extra,
    )
    return b.run({"x": x}, threads=threads)


def accumulate(case: tuple, x: np.ndarray, zx: int, w: np.ndarray, zw: Any = 0) -> np.ndarray:
    _, _, stride, padding, dilation, groups = case
    wide = x.astype(np.int64) - zx
    return conv(wide, w.astype(np.int64) - zw, stride, padding, dilation, groups)


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("bounds", [INT8, UINT8])
def test_conv_in_codes(name: str, bounds: tuple[int, int]) -> None:
    case = CONVS[name]
    rng = np.random.default_rng(len(name))
    x, w = random_codes(rng, case[0], bounds), random_codes(rng, case[1], INT8)
    zero = 3 if bounds == INT8 else 131
    sw = rng.uniform(0.001, 0.006, case[1][0]).astype(np.float32)
    bias = rng.normal(size=case[1][0]).astype(np.float32)
    channel = (-1,) + (1,) * (x.ndim - 2)
    codes = np.rint(bias.astype(np.float64) / (np.float32(0.023) * sw).astype(np.float64)).astype(
        np.int64
    )
    acc = accumulate(case, x, zero, w) + codes.reshape(channel)
    sy = float(acc.std() * 0.023 * sw.mean() / 50)
    out = (sy, zero, bounds)
    want = requantize(acc, 0.023, sw.reshape(channel), *out)
    got = run_conv(case, x, (0.023, zero, bounds), w, sw, bias, out)
    assert got.dtype == want.dtype
    assert len(np.unique(want)) > 40
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(
        run_conv(case, x, (0.023, zero, bounds), w, sw, bias, out, threads=3), want
    )


@pytest.mark.parametrize(
    "activation",
    [
        {"kind": "relu"},
        {"kind": "clamp", "min": -1.0, "max": 2.5},
        {"kind": "clamp", "min": None, "max": 1.0},
    ],
)
def test_conv_activation_and_weight_zero_point(activation: dict[str, Any]) -> None:
    case = CONVS["3x3"]
    rng = np.random.default_rng(5)
    x, w = random_codes(rng, case[0], INT8), random_codes(rng, case[1], UINT8)
    got = run_conv(
        case,
        x,
        (0.05, -7, INT8),
        w,
        0.002,
        None,
        (0.06, -20, INT8),
        activation,
        wzero=119,
        wbounds=UINT8,
    )
    acc = accumulate(case, x, -7, w, 119)
    real = acc.astype(np.float32) * (np.float32(0.05) * np.float32(0.002) / np.float32(0.06))
    low, high = activation.get("min", 0.0), activation.get("max")
    codes = np.rint(real).astype(np.int64) - 20
    if low is not None:
        codes = np.maximum(codes, int(quantize(np.array(low), 0.06, -20)))
    if high is not None:
        codes = np.minimum(codes, int(quantize(np.array(high), 0.06, -20)))
    want = np.clip(codes, -128, 127)
    np.testing.assert_array_equal(got, want)
    assert len(np.unique(want)) > 8
    real_output = run_conv(
        case, x, (0.05, -7, INT8), w, 0.002, None, None, activation, wzero=119, wbounds=UINT8
    )
    want = acc.astype(np.float32) * (np.float32(0.05) * np.float32(0.002))
    want = np.clip(want, -np.inf if low is None else low, np.inf if high is None else high)
    np.testing.assert_array_equal(real_output, want)


def test_ties_round_to_even() -> None:
    x = np.arange(-8, 8, dtype=np.int8).reshape(16, 1)
    b = GraphBuilder()
    b.input("x", (-1, 1), scale=0.5)
    b.constant("w", np.ones((1, 1), np.int8), scale=1.0)
    b.tensor("y", (-1, 1), scale=1.0)
    b.node("linear", ["x", "w"], "y")
    want = [
        -4,
        -4,
        -3,
        -2,
        -2,
        -2,
        -1,
        0,
        0,
        0,
        1,
        2,
        2,
        2,
        3,
        4,
    ]  # -3.5 -> -4, -2.5 -> -2, 0.5 -> 0, 1.5 -> 2
    np.testing.assert_array_equal(b.run({"x": x})[:, 0], want)


TRANSPOSED = {
    "plain": ((2, 5, 6, 7), (5, 4, 3, 3), [1, 1], [1, 1, 1, 1], [0, 0], [1, 1], 1),
    "stride": ((1, 6, 5, 4), (6, 3, 4, 3), [2, 3], [1, 0, 1, 1], [1, 2], [1, 1], 1),
    "groups": ((1, 6, 4, 5), (6, 2, 3, 2), [2, 1], [1, 1, 0, 0], [0, 0], [2, 1], 3),
    "one dimension": ((2, 4, 9), (4, 5, 4), [2], [1, 2], [1], [2], 1),
    "3-D": (
        (1, 6, 3, 4, 3),
        (6, 4, 2, 3, 2),
        [2, 1, 3],
        [1, 0, 0, 0, 1, 1],
        [1, 0, 2],
        [1, 2, 1],
        2,
    ),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@pytest.mark.parametrize("per_channel", [False, True])
def test_conv_transpose_in_codes(name: str, per_channel: bool) -> None:
    shape, wshape, stride, padding, output_padding, dilation, groups = TRANSPOSED[name]
    rng = np.random.default_rng(11)
    x, w = random_codes(rng, shape, INT8), random_codes(rng, wshape, INT8)
    sw = (
        rng.uniform(0.001, 0.006, wshape[1]).astype(np.float32)
        if per_channel
        else np.float32(0.003)
    )
    acc = conv_transpose(
        x.astype(np.int64) - 4,
        w.astype(np.int64),
        stride,
        padding,
        output_padding,
        dilation,
        groups,
    )
    scales = np.tile(np.atleast_1d(sw), acc.shape[1] // np.size(sw))
    scales = scales.reshape(-1, *[1] * (acc.ndim - 2))
    want = requantize(acc, 0.02, scales, 0.08, 5, INT8)
    got = run_conv(
        (shape, wshape, stride, padding, dilation, groups),
        x,
        (0.02, 4, INT8),
        w,
        sw,
        None,
        (0.08, 5, INT8),
        op="conv_transpose",
        axis=1,
        output_padding=output_padding,
    )
    np.testing.assert_array_equal(got, want)
    assert len(np.unique(want)) > 40


@pytest.mark.parametrize("name", [*CONVS, *(f"transposed {name}" for name in TRANSPOSED)])
def test_conv_of_float32(name: str) -> None:
    rng = np.random.default_rng(2)
    transposed = name.startswith("transposed ")
    case = TRANSPOSED[name.removeprefix("transposed ")] if transposed else CONVS[name]
    x = rng.normal(size=case[0]).astype(np.float32)
    w = random_codes(rng, case[1], (-7, 7))
    real = dequantize(w, 0.1, 0)
    wide = x.astype(np.float64)
    if transposed:
        shape, wshape, stride, padding, output_padding, dilation, groups = case
        want = conv_transpose(
            wide, real.astype(np.float64), stride, padding, output_padding, dilation, groups
        )
        got = run_conv(
            (shape, wshape, stride, padding, dilation, groups),
            x,
            None,
            w,
            0.1,
            None,
            None,
            op="conv_transpose",
            output_padding=output_padding,
        )
    else:
        stride, padding, dilation, groups = case[2:]
        want = conv(wide, real.astype(np.float64), stride, padding, dilation, groups)
        got = run_conv(case, x, None, w, 0.1, None, None)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def linear(
    x: np.ndarray,
    xq: Codes | None,
    w: np.ndarray,
    sw: Any,
    bias: np.ndarray | None,
    out: Codes | None,
    **quant: Any,
) -> np.ndarray:
    b = GraphBuilder()
    b.input(
        "x",
        (-1, *x.shape[1:]),
        **({} if xq is None else {"scale": xq[0], "zero": xq[1], "bounds": xq[2]}),
    )
    b.constant("w", w, scale=sw, **quant)
    b.tensor(
        "y",
        (*x.shape[:-1], w.shape[0]),
        **({} if out is None else {"scale": out[0], "zero": out[1], "bounds": out[2]}),
    )
    b.node("linear", ["x", "w", None if bias is None else b.constant("b", bias)], "y")
    return b.run({"x": x}, threads=2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7, 33), (130, 64), (2, 0), (0, 5)])
def test_linear_in_codes(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x, w = random_codes(rng, shape, UINT8), random_codes(rng, (9, shape[-1]), INT8)
    sw = rng.uniform(0.001, 0.006, 9).astype(np.float32)
    bias = rng.integers(-900, 900, 9).astype(np.int32)  # codes at sx * sw already
    acc = (x.astype(np.int64) - 77) @ w.astype(np.int64).T + bias
    got = linear(x, (0.02, 77, UINT8), w, sw, bias, (0.07, 99, UINT8), axis=0)
    np.testing.assert_array_equal(got, requantize(acc, 0.02, sw, 0.07, 99, UINT8))


def test_linear_with_grouped_weights_is_float() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(5, 24)).astype(np.float32)
    w = random_codes(rng, (6, 24), (-8, 7))
    scale = rng.uniform(0.01, 0.1, (6, 3)).astype(np.float32)
    zero = rng.integers(-3, 4, (6, 3)).astype(np.int32)
    real = dequantize(w, np.repeat(scale, 8, 1), np.repeat(zero, 8, 1)).astype(np.float64)
    bias = rng.normal(size=6).astype(np.float32)
    got = linear(x, None, w, scale, bias, None, axis=1, group_size=8, bounds=(-8, 7), zero=zero)
    np.testing.assert_allclose(got, x.astype(np.float64) @ real.T + bias, rtol=1e-6, atol=1e-6)
    by_row = dequantize(w.T.copy(), np.repeat(scale.T, 8, 0), np.repeat(zero.T, 8, 0)).astype(
        np.float64
    )
    b = GraphBuilder()
    b.input("x", (-1, 6))
    b.constant(
        "w",
        w.T.copy(),
        scale=scale.T.copy(),
        zero=zero.T.copy(),
        axis=0,
        group_size=8,
        bounds=(-8, 7),
    )
    b.tensor("y", (-1, 24))
    b.node("linear", ["x", "w"], "y")
    np.testing.assert_allclose(
        b.run({"x": x[:, :6]}), x[:, :6].astype(np.float64) @ by_row.T, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((4, 5), (5, 6)),
        ((2, 3, 4, 5), (2, 3, 5, 6)),
        ((3, 4, 5), (2, 1, 5, 7)),
        ((2, 1, 70, 9), (3, 9, 4)),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_matmul(left: tuple[int, ...], right: tuple[int, ...], constant: bool) -> None:
    rng = np.random.default_rng(6)
    a, c = random_codes(rng, left, INT8), random_codes(rng, right, UINT8)
    acc = (a.astype(np.int64) + 9) @ (c.astype(np.int64) - 120)
    inputs = {"a": a}
    b = GraphBuilder()
    b.input("a", left, scale=0.02, zero=-9)
    scale = rng.uniform(0.01, 0.03, right[-1]).astype(np.float32) if constant else np.float32(0.02)
    axis = len(right) - 1 if constant else None
    if constant:
        b.constant("c", c, scale=scale, zero=120, bounds=UINT8, axis=axis)
    else:
        b.input("c", right, scale=scale, zero=120, bounds=UINT8)
        inputs["c"] = c
    b.tensor("y", acc.shape, scale=0.4, zero=2)
    b.node("matmul", ["a", "c"], "y")
    np.testing.assert_array_equal(b.run(inputs), requantize(acc, 0.02, scale, 0.4, 2, INT8))
    b.tensor("z", acc.shape)
    b.tensor("f", right)
    b.node("dequantize", ["c"], "f")
    b.node("matmul", ["a", "f"], "z")
    want = dequantize(a, 0.02, -9).astype(np.float64) @ dequantize(c, scale, 120).astype(np.float64)
    np.testing.assert_allclose(b.run(inputs), want, rtol=1e-6, atol=1e-6)


def test_bias_beyond_int32_is_added_in_float() -> None:
    x, w = np.full((1, 4), 5, np.int8), np.full((2, 4), 3, np.int8)
    bias = np.array([3.0, -2.0], np.float32)
    scales = np.array([1e-12, 0.01], np.float32)  # 3.0 / (0.1 * 1e-12) = 3e13, over 2^31
    codes, in_float = _C.quantize_bias(bias, 0.1, scales)
    assert in_float.tolist() == [True, False]
    assert codes.tolist() == [0, -2000]
    got = linear(x, (0.1, 0, INT8), w, scales, bias, (0.05, 0, INT8), axis=0)
    np.testing.assert_array_equal(
        got, [[60, quantize(np.float32(60 - 2000) * np.float32(0.001), 0.05, 0)]]
    )
    got = linear(x, (0.1, 0, INT8), w, scales, bias, None, axis=0)
    np.testing.assert_allclose(got, [[3.0, -1.94]], rtol=1e-6)


def test_sum_that_may_overflow_is_refused() -> None:
    x, w = np.zeros((1, 66100), np.int8), np.full((2, 66100), -128, np.int8)
    w[0] = 1
    with pytest.raises(
        NotImplementedError, match=r"node\.y.*linear, model\.py:1.*channel 1; use fewer bits"
    ):
        linear(x, (0.1, 127, INT8), w, 0.1, None, None)  # 66100 * 128 * 255 = 2157504000 > 2^31 - 1
    assert linear(x, (0.1, 0, INT8), w, 0.1, None, None).tolist() == [[0.0, 0.0]]
