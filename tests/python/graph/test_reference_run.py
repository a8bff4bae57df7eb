# SPDX-License-Identifier: Apache-2.0
"""What a run of the integer reference may be given, what it refuses, and what Python sees of a graph."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from edgeqat import _C
from graph_builder import GraphBuilder

RNG = np.random.default_rng(21)


def small_graph() -> GraphBuilder:
    b = GraphBuilder()
    b.input("x", (-1, 4), scale=0.1)
    b.constant("w", np.ones((2, 4), np.int8), scale=1.0)
    b.tensor("h", (-1, 2), scale=0.5)
    b.node("linear", ["x", "w"], "h")
    b.tensor("y", (-1, 2))
    b.node("relu", ["h"], "y")
    return b


def test_float_input_is_quantized_and_computed_tensors_may_be_given() -> None:
    b = small_graph()
    graph = b.graph()
    x = np.array([[1.0, 2.0, -0.5, 0.26]], np.float32)  # 0.26 / 0.1 -> 3
    want = np.full((1, 2), np.rint((10 + 20 - 5 + 3) * 0.1 / 0.5) * 0.5)
    np.testing.assert_array_equal(_C.run_reference(graph, b.constants, {"x": x})["y"], want)
    every = _C.run_reference(graph, b.constants, {"x": x}, keep_all=True)
    assert sorted(every) == ["h", "y"]
    given = {"h": np.array([[4, -4]], np.int8)}  # x is then not needed
    np.testing.assert_array_equal(_C.run_reference(graph, b.constants, given)["y"], [[2.0, 0.0]])
    assert _C.run_reference(graph, b.constants, given, keep=[]) == {}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r'tensor "x": expected it among the inputs of the run'),
        ({"x": np.zeros((1, 4))}, r'array "x": expected float32, .* found float64; convert it'),
        ({"x": np.zeros((1, 4), ">f4")}, "native byte order"),
        ({"x": np.zeros((1, 5), np.int8)}, r"expected shape \[-1, 4\] \(-1: any\), found \[1, 5\]"),
        ({"x": np.zeros((1, 4), np.uint8)}, "expected int8 codes or float32, found uint8"),
        ({"z": np.zeros(1, np.int8)}, r'tensor "z": expected the name of a tensor of the graph'),
        (
            {"w": np.zeros((2, 4), np.int8)},
            "expected an input or a computed tensor, found a constant",
        ),
    ],
)
def test_wrong_inputs(inputs: dict[str, np.ndarray], message: str) -> None:
    b = small_graph()
    with pytest.raises(ValueError, match=message):
        b.run(inputs)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("w", None, r'tensor "w": expected it among the constants'),
        ("w", np.ones((2, 5), np.int8), r"expected shape \[2, 4\]"),
        ("w", np.ones((2, 4), np.float32), "expected int8, found float32"),
        ("w.scale", np.array([0.0], np.float32), r"scale\[0\]: expected a finite number > 0"),
        ("w.scale", np.array([np.nan], np.float32), r"scale\[0\]: expected a finite number > 0"),
        (
            "w.zero_point",
            np.array([128], np.int32),
            r"zero_point\[0\]: expected -128 to 127, found 128",
        ),
    ],
)
def test_wrong_constants(name: str, value: np.ndarray | None, message: str) -> None:
    b = small_graph()
    graph = b.graph()
    constants = {key: array for key, array in b.constants.items() if key != name}
    if value is not None:
        constants[name] = value
    with pytest.raises(ValueError, match=message):
        _C.run_reference(graph, constants, {"x": np.zeros((1, 4), np.int8)})


def test_codes_outside_their_range_are_refused() -> None:
    b = GraphBuilder()
    b.input("x", (-1,), scale=0.1, bounds=(-8, 7))
    b.tensor("y", (-1,))
    b.node("dequantize", ["x"], "y")
    with pytest.raises(ValueError, match="expected codes from -8 to 7, found 0 to 9"):
        b.run({"x": np.array([9, 0], np.int8)})


def test_aten_ops_stay_and_are_refused_only_when_needed() -> None:
    b = small_graph()
    b.tensor("s", (-1, 2))
    b.node("aten.special_zeta", ["y"], "s", any_attribute=[1.5, 2], other=None)
    graph = b.graph("y", "s")
    assert [node.executable for node in graph.nodes] == [True, True, False]
    x = {"x": np.zeros((1, 4), np.int8)}
    assert "y" in _C.run_reference(graph, b.constants, x, keep=["y"])
    with pytest.raises(NotImplementedError, match=r"node\.s.*aten\.special_zeta.*left as it is"):
        _C.run_reference(graph, b.constants, x)


def test_views_equality_and_pickle() -> None:
    b = small_graph()
    graph = b.graph()
    node = graph.nodes[0]
    assert (node.name, node.op, node.inputs, node.outputs) == (
        "node.h",
        "linear",
        ["x", "w"],
        ["h"],
    )
    assert (node.source, node.attributes, node.activation) == ("model.py:1", {}, None)
    info = graph.tensors["w"]
    assert (info.shape, info.dtype, info.constant) == ([2, 4], "int8", True)
    assert (info.quant.scale, info.quant.qmin, info.quant.axis) == ("w.scale", -128, None)
    assert pickle.loads(pickle.dumps(graph)) == graph
    assert _C.Graph.parse(graph.serialize()).serialize() == graph.serialize()
    assert repr(info) == (
        "TensorInfo(shape=[2, 4], dtype='int8', constant=True, quant=QuantParams(bits=8, qmin=-128, "
        "qmax=127, axis=None, group_size=None, scale='w.scale', zero_point='w.zero_point'))"
    )
    assert repr(graph) == "<edgeqat.Graph: 2 nodes, 10 tensors>"
    with pytest.raises(AttributeError):
        node.name = "other"
    with pytest.raises(_C.FormatError, match="expected valid JSON"):
        _C.Graph.parse("{")


def test_threads_do_not_change_the_result() -> None:
    b = GraphBuilder()
    b.input("x", (-1, 3, 8, 10))
    b.constant("w", RNG.normal(size=(5, 3, 3, 3)).astype(np.float32))
    b.tensor("h", (-1, 5, 8, 10), scale=0.1)
    b.node("conv", ["x", "w"], "h", stride=[1, 1], padding=[1] * 4, dilation=[1, 1], groups=1)
    b.tensor("y", (-1, 5, 8, 10))
    b.node("softmax", ["h"], "y", axis=3)
    x = RNG.normal(size=(7, 3, 8, 10)).astype(np.float32)
    first = b.run({"x": x})
    for threads in (2, 3, 16):
        assert b.run({"x": x}, threads=threads).tobytes() == first.tobytes()
    with pytest.raises(ValueError, match="threads: expected at least 1, found 0"):
        b.run({"x": x}, threads=0)
