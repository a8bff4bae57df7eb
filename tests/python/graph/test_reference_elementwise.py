# SPDX-License-Identifier: Apache-2.0
"""Element-wise ops of the integer reference against NumPy: float64 formulas, rounded once to float32."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np
import pytest

from edgeqat import _C
from graph_builder import GraphBuilder
from quantize_numpy import INT8, UINT8, dequantize, quantize, random_codes

UNARY: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "relu": ({}, lambda x: np.maximum(x, 0)),
    "clamp": ({"min": -0.5, "max": 1.25}, lambda x: np.clip(x, -0.5, 1.25)),
    "leaky_relu": ({"slope": 0.125}, lambda x: np.where(x < 0, x * 0.125, x)),
    "sigmoid": ({}, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": ({}, np.tanh),
    "hardswish": ({}, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "hardsigmoid": ({}, lambda x: np.clip(x + 3, 0, 6) / 6),
    "silu": ({}, lambda x: x / (1 + np.exp(-x))),
    "gelu": ({"approximate": "none"}, lambda x: x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))),
    "identity": ({}, lambda x: x),
}


@pytest.mark.parametrize("op", [*UNARY, "gelu tanh"])
def test_unary(op: str) -> None:
    attributes, formula = UNARY.get(
        op,
        (
            {"approximate": "tanh"},
            lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        ),
    )
    rng = np.random.default_rng(8)
    b = GraphBuilder()
    b.input("x", (-1, 300))
    b.input("c", (-1, 300), scale=0.04, zero=-3)
    b.tensor("y", (-1, 300))
    b.tensor("q", (-1, 300), scale=0.015, zero=-20)
    b.node(op.split()[0], ["x"], "y", **attributes)
    b.node(op.split()[0], ["c"], "q", **attributes)
    x = np.concatenate(
        [
            rng.normal(size=(2, 290)) * 3,
            np.array([[0.0, -0.0, np.inf, 90.0, -90.0, 1e-30, 3, -3, 6, 1]] * 2),
        ],
        1,
    ).astype(np.float32)
    c = random_codes(rng, (2, 300), INT8)
    got = _C.run_reference(b.graph(), b.constants, {"x": x, "c": c}, keep=["y", "q"])
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_allclose(got["y"], formula(x.astype(np.float64)), rtol=1.2e-7, atol=1e-14)
    want = quantize(formula(dequantize(c, 0.04, -3).astype(np.float64)), 0.015, -20)
    np.testing.assert_array_equal(got["q"], want)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize(
    "shapes", [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((3, 1), (2, 1, 4)), ((2, 3), ())]
)
def test_binary(op: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(9)
    a, c = random_codes(rng, shapes[0], INT8), random_codes(rng, shapes[1], UINT8)
    formula = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[op]
    with np.errstate(divide="ignore", invalid="ignore"):
        real = formula(dequantize(a, 0.03, 4), dequantize(c, 0.05, 30))
    b = GraphBuilder()
    b.input("a", shapes[0], scale=0.03, zero=4)
    b.input("c", shapes[1], scale=0.05, zero=30, bounds=UINT8)
    b.tensor("y", real.shape, scale=0.06, zero=11)
    b.tensor("z", real.shape)
    b.node(op, ["a", "c"], "y", activation={"kind": "relu"})
    b.node(op, ["a", "c"], "z")
    got = _C.run_reference(b.graph(), b.constants, {"a": a, "c": c}, keep=["y", "z"])
    np.testing.assert_array_equal(got["z"], real)
    finite = np.isfinite(real)
    np.testing.assert_array_equal(got["y"][finite], quantize(np.maximum(real, 0), 0.06, 11)[finite])


def test_nan_becomes_the_code_of_zero_and_infinity_saturates() -> None:
    b = GraphBuilder()
    b.input("x", (-1,))
    b.tensor("q", (-1,), scale=0.1, zero=7)
    b.node("quantize", ["x"], "q")
    b.tensor("y", (-1,))
    b.node("dequantize", ["q"], "y")
    x = np.array([np.nan, np.inf, -np.inf, 0.05, 0.15, 1e30, -0.0], np.float32)
    got = _C.run_reference(b.graph(), b.constants, {"x": x}, keep_all=True)
    assert got["q"].tolist() == [7, 127, -128, 7, 9, 127, 7]  # 0.05 / 0.1 = 0.5 -> 0, 1.5 -> 2
    np.testing.assert_array_equal(got["y"], dequantize(got["q"], 0.1, 7))


def test_requantize_to_fewer_bits() -> None:
    rng = np.random.default_rng(11)
    codes = random_codes(rng, (2, 400), INT8)
    b = GraphBuilder()
    b.input("wide", (-1, 400), scale=0.04, zero=-3)
    b.tensor("narrow", (-1, 400), scale=0.9, zero=-2, bounds=(-2, 1))
    b.node("quantize", ["wide"], "narrow")
    want = np.clip(np.rint(dequantize(codes, 0.04, -3) / np.float32(0.9)) - 2, -2, 1)
    np.testing.assert_array_equal(b.run({"wide": codes}), want)


def test_per_channel_activations() -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    scale = np.array([0.01, 0.02, 0.05, 0.1], np.float32)
    zero = np.array([0, 5, -9, 100], np.int32)
    b = GraphBuilder()
    b.input("x", (-1, 4, 5))
    b.tensor("q", (-1, 4, 5), scale=scale, zero=zero, axis=1)
    b.node("quantize", ["x"], "q")
    want = quantize(x, scale[:, None], zero[:, None])
    np.testing.assert_array_equal(b.run({"x": x}), want)
    b.tensor("t", (4, -1, 5), scale=0.03)
    b.node("transpose", ["q"], "t", permutation=[1, 0, 2])
    real = dequantize(want, scale[:, None], zero[:, None])
    np.testing.assert_array_equal(b.run({"x": x}), quantize(real.transpose(1, 0, 2), 0.03, 0))
