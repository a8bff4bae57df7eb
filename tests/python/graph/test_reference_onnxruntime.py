# SPDX-License-Identifier: Apache-2.0
"""The integer reference against ONNX Runtime's integer kernels, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph_builder import GraphBuilder

REASON = "compares with ONNX Runtime; pip install 'edgeqat[onnx]'"
onnx = pytest.importorskip("onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)


def weight_limit() -> int:
    """127, or 63 where ONNX Runtime adds pairs of 8-bit products in 16 bits, which saturate (no VNNI)."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    return 127 if "avx512_vnni" in flags or "avx_vnni" in flags or "asimd" in flags else 63


def run_onnx(
    op: str,
    domain: str,
    x: np.ndarray,
    rest: list[np.ndarray | None],
    shape: tuple[int, ...],
    dtype: type,
    **attributes: Any,
) -> np.ndarray:
    """One node whose other inputs are initializers; None: absent."""
    helper = onnx.helper
    names = ["x", *("" if value is None else f"i{k}" for k, value in enumerate(rest))]
    node = helper.make_node(op, names, ["y"], domain=domain, **attributes)
    element = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", element(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", element(np.dtype(dtype)), shape)],
        [
            onnx.numpy_helper.from_array(np.asarray(v), f"i{k}")
            for k, v in enumerate(rest)
            if v is not None
        ],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


class Case:
    """Random codes and parameters of one layer."""

    def __init__(
        self,
        seed: int,
        x_shape: tuple[int, ...],
        w_shape: tuple[int, ...],
        *,
        signed: bool,
        per_channel: bool,
    ) -> None:
        rng = np.random.default_rng(seed)
        limit = weight_limit()
        self.dtype = np.int8 if signed else np.uint8
        self.bounds = (-128, 127) if signed else (0, 255)
        self.x = rng.integers(self.bounds[0], self.bounds[1] + 1, x_shape).astype(self.dtype)
        self.w = rng.integers(-limit, limit + 1, w_shape).astype(np.int8)
        self.bias = rng.integers(-3000, 3000, w_shape[0]).astype(np.int32)
        self.sx = np.float32(rng.uniform(0.01, 0.03))
        self.sw = rng.uniform(0.001, 0.006, w_shape[0] if per_channel else 1).astype(np.float32)
        self.zx = self.dtype(3 if signed else 120)
        self.zy = self.dtype(-5 if signed else 140)
        spread = np.sqrt(np.prod(w_shape[1:])) * 73 * limit * 0.58
        self.sy = np.float32(spread * self.sx * self.sw.mean() / 50)

    def run(self, op: str, out_shape: tuple[int, ...], **attributes: Any) -> np.ndarray:
        b = GraphBuilder()
        b.input("x", self.x.shape, scale=self.sx, zero=self.zx, bounds=self.bounds)
        b.constant("w", self.w, scale=self.sw, axis=0 if self.sw.size > 1 else None)
        b.constant("b", self.bias)
        b.tensor("y", out_shape, scale=self.sy, zero=self.zy, bounds=self.bounds)
        b.node(op, ["x", "w", "b"], "y", **attributes)
        return b.run({"x": self.x})

    def zeros(self) -> np.ndarray:
        return np.zeros(self.sw.size, np.int8)


CONVS = {
    "3x3": ((2, 16, 17, 15), (32, 16, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1], 1),
    "strided": ((1, 9, 32, 32), (24, 9, 5, 3), [2, 3], [2, 1, 1, 0], [1, 1], 1),
    "depthwise": ((1, 32, 16, 16), (32, 1, 3, 3), [2, 2], [0, 0, 1, 1], [1, 1], 32),
    "1x1": ((1, 64, 16, 16), (48, 64, 1, 1), [1, 1], [0, 0, 0, 0], [1, 1], 1),
    "groups": ((1, 12, 10, 10), (18, 4, 3, 3), [1, 1], [2, 2, 2, 2], [2, 2], 3),
    "one dimension": ((2, 8, 40), (16, 8, 5), [2], [2, 1], [1], 1),
    "three dimensions": ((2, 6, 7, 8, 9), (16, 6, 3, 3, 3), [1, 1, 1], [1] * 6, [1, 1, 1], 1),
    "3-D strided": ((1, 6, 9, 8, 10), (9, 2, 2, 3, 2), [2, 1, 3], [1, 2, 1] * 2, [2, 1, 2], 3),
    "3-D depthwise": ((1, 12, 8, 9, 7), (12, 1, 3, 3, 3), [1, 2, 1], [1] * 6, [1, 1, 1], 12),
}


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_conv_is_qlinearconv(name: str, signed: bool, per_channel: bool) -> None:
    x_shape, w_shape, stride, padding, dilation, groups = CONVS[name]
    case = Case(len(name), x_shape, w_shape, signed=signed, per_channel=per_channel)
    got = case.run(
        "conv",
        (-1,) * len(x_shape),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    w_scale, w_zero = (case.sw, case.zeros()) if per_channel else (case.sw[0], np.int8(0))
    want = run_onnx(
        "QLinearConv",
        "",
        case.x,
        [case.sx, case.zx, case.w, w_scale, w_zero, case.sy, case.zy, case.bias],
        got.shape,
        case.dtype,
        strides=stride,
        pads=padding,
        dilations=dilation,
        group=groups,
    )
    np.testing.assert_array_equal(got, want)
    assert len(np.unique(want)) > 100


@pytest.mark.parametrize(
    ("rows", "columns", "outputs"), [(64, 512, 128), (5, 33, 10), (1, 1, 3), (130, 64, 7)]
)
@pytest.mark.parametrize("signed", [True, False])
def test_linear_is_qgemm(rows: int, columns: int, outputs: int, signed: bool) -> None:
    case = Case(rows, (rows, columns), (outputs, columns), signed=signed, per_channel=True)
    got = case.run("linear", (rows, outputs))
    want = run_onnx(
        "QGemm",
        "com.microsoft",
        case.x,
        [case.sx, case.zx, case.w, case.sw, case.zeros(), case.bias, case.sy, case.zy],
        got.shape,
        case.dtype,
        transB=1,
    )
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("signed", [True, False])
def test_matmul_is_qlinearmatmul(signed: bool) -> None:
    case = Case(3, (4, 50, 65), (4, 65, 31), signed=signed, per_channel=False)
    sy = np.float32(np.sqrt(65) * 73 * 70 * case.sx * case.sw[0] / 50)
    b = GraphBuilder()
    b.input("x", case.x.shape, scale=case.sx, zero=case.zx, bounds=case.bounds)
    b.constant("w", case.w, scale=case.sw[0])
    b.tensor("y", (4, 50, 31), scale=sy, zero=case.zy, bounds=case.bounds)
    b.node("matmul", ["x", "w"], "y")
    got = b.run({"x": case.x})
    want = run_onnx(
        "QLinearMatMul",
        "",
        case.x,
        [case.sx, case.zx, case.w, case.sw[0], np.int8(0), sy, case.zy],
        got.shape,
        case.dtype,
    )
    np.testing.assert_array_equal(got, want)


def test_outputs_on_a_tie_follow_the_multiplier_in_float32() -> None:
    """Scales chosen so that acc * sx * sw / sy is k + 1/2: a multiplier in float64 differs in hundreds of them."""
    rng = np.random.default_rng(0)
    count = 4096
    sx, sy = np.float32(0.0213), np.float32(0.0178)
    x = np.array([[127, 1]], np.int8)
    w = np.stack([rng.integers(1, 64, count), rng.integers(-63, 64, count)], 1).astype(np.int8)
    acc = w.astype(np.int64) @ x[0].astype(np.int64)
    sw = (sy * (rng.integers(0, 100, count) + 0.5) / (acc * np.float64(sx))).astype(np.float32)
    b = GraphBuilder()
    b.input("x", (-1, 2), scale=sx)
    b.constant("w", w, scale=sw, axis=0)
    b.tensor("y", (-1, count), scale=sy)
    b.node("linear", ["x", "w"], "y")
    got = b.run({"x": x})
    want = run_onnx(
        "QGemm",
        "com.microsoft",
        x,
        [sx, np.int8(0), w, sw, np.zeros(count, np.int8), None, sy, np.int8(0)],
        got.shape,
        np.int8,
        transB=1,
    )
    np.testing.assert_array_equal(got, want)
    in_float64 = (sx.astype(np.float64) * sw.astype(np.float64) / sy.astype(np.float64)).astype(
        np.float32
    )
    other = np.clip(np.rint(acc.astype(np.float32) * in_float64), -128, 127)
    assert (other != want[0]).sum() > 100
