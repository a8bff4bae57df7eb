# SPDX-License-Identifier: Apache-2.0
"""fake_quantize equals ONNX Runtime's QuantizeLinear -> DequantizeLinear, bit for bit, on random bits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

# name: (ONNX type, qmin, qmax, first opset that has it)
TYPES = {
    "INT8": (-128, 127, 19),
    "UINT8": (0, 255, 19),
    "INT4": (-8, 7, 21),
    "UINT4": (0, 15, 21),
    "INT2": (-2, 1, 25),
    "UINT2": (0, 3, 25),
}
SPECIAL = np.array(
    [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        1e-45,
        -1e-45,
        1e-39,
        -1e-39,
        1.1754944e-38,
        3.4028235e38,
        -3.4028235e38,
    ],
    dtype=np.float32,
)
CHUNK = 250_000


def session(name: str, scale: Any, zero_point: Any, axis: int | None) -> Any:
    """A graph of the two nodes with constant parameters."""
    kind = getattr(onnx.TensorProto, name)
    shape = [] if axis is None else [len(scale)]
    helper = onnx.helper
    parameters = [
        helper.make_tensor("scale", onnx.TensorProto.FLOAT, shape, np.ravel(scale)),
        helper.make_tensor("zero_point", kind, shape, np.ravel(zero_point)),
    ]
    options = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"], **options),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["y"], **options),
    ]
    float_type = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "pair",
        [helper.make_tensor_value_info("x", float_type, None)],
        [helper.make_tensor_value_info("y", float_type, None)],
        parameters,
    )
    opset = TYPES[name][2]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = {19: 9, 21: 10, 25: 13}[opset]
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


def inputs(scale: float, qmin: int, qmax: int, seed: int) -> np.ndarray[Any, Any]:
    """Random bits (without NaN), values around the range, ties k + 0.5 and their neighbours."""
    generator = np.random.default_rng(seed)
    quarter = CHUNK // 4
    bits = generator.integers(0, 2**32, quarter, dtype=np.uint32).view(np.float32)
    bits = np.where(np.isnan(bits), np.float32(1e-42), bits)
    width = qmax - qmin
    near = generator.uniform(-1.5 * width * scale, 1.5 * width * scale, quarter).astype(np.float32)
    halves = generator.integers(-2 * width, 2 * width, quarter).astype(np.float32) + np.float32(0.5)
    ties = halves * np.float32(scale)
    direction = np.float32(np.inf) * generator.choice([-1, 1], quarter).astype(np.float32)
    beside = np.nextafter(ties, direction)
    x = np.concatenate([bits, near, ties, beside])
    x[: len(SPECIAL)] = SPECIAL
    return x


def samples(name: str) -> Iterator[tuple[str, Any, np.ndarray[Any, Any], float, int]]:
    qmin, qmax, _ = TYPES[name]
    generator = np.random.default_rng(qmax)
    for index in itertools.count():
        # power-of-two scales make every tie exact, the others put quotients beside ties
        scale = np.float32(
            2.0 ** generator.integers(-12, 6) if index % 2 else generator.uniform(1e-4, 2)
        )
        zero_point = int(generator.integers(qmin, qmax + 1)) if index % 3 else max(qmin, 0)
        x = inputs(float(scale), qmin, qmax, seed=index)
        if name.endswith("INT2"):
            # ONNX Runtime converts to int32 before it clamps: beyond 2^31 its result is undefined
            with np.errstate(over="ignore"):
                x = x[np.abs(x / scale) < 2.0**31]
        yield f"{name} scale {scale} zero point {zero_point}", scale, x, float(scale), zero_point


@pytest.mark.parametrize("total", [1_000_000, pytest.param(10_000_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", TYPES)
def test_per_tensor(name: str, total: int) -> None:
    qmin, qmax, _ = TYPES[name]
    compared = 0
    for label, scale, x, number, zero_point in samples(name):
        (expected,) = session(name, [scale], [zero_point], None).run(None, {"x": x})
        actual = functional.fake_quantize(torch.from_numpy(x), number, zero_point, qmin, qmax)
        assert_bit_equal(actual, torch.from_numpy(expected), label)
        compared += x.size
        if compared >= total:
            return


@pytest.mark.parametrize("name", ["INT8", "UINT8", "INT4", "UINT4"])
def test_per_channel(name: str) -> None:
    qmin, qmax, _ = TYPES[name]
    generator = np.random.default_rng(0)
    scale = generator.uniform(1e-3, 1.0, 16).astype(np.float32)
    zero_point = generator.integers(qmin, qmax + 1, 16).astype(np.int32)
    x = inputs(0.1, qmin, qmax, seed=9)[: 16 * 15_000].reshape(50, 16, 300)
    (expected,) = session(name, scale, zero_point, 1).run(None, {"x": x})
    parameters = torch.from_numpy(scale), torch.from_numpy(zero_point), qmin, qmax
    actual = functional.fake_quantize(torch.from_numpy(x), *parameters, axis=1)
    assert_bit_equal(actual, torch.from_numpy(expected))
