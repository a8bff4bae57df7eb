# SPDX-License-Identifier: Apache-2.0
"""The NumPy twins of the operators in edgeqat._C, against formulas in NumPy."""

from __future__ import annotations

import doctest
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from edgeqat import _C

Array = np.ndarray[Any, Any]


def codes_of(x: Array, scale: Array, zero_point: Array, qmin: int, qmax: int) -> Array:
    """The definition; the quotient is float32, np.rint rounds half to even."""
    quotient = x.astype(np.float32) / scale
    codes: Array = np.clip(np.rint(quotient.astype(np.float64)) + zero_point, qmin, qmax)
    return codes


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(("qmin", "qmax"), [(-8, 7), (-128, 127), (0, 255)])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_quantize_round_trip(dtype: Any, qmin: int, qmax: int, axis: int | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 5, (6, 4, 10)).astype(dtype)
    channels = 1 if axis is None else x.shape[axis]
    scale = rng.uniform(0.01, 0.2, channels).astype(np.float32)
    zero_point = rng.integers(qmin, qmax + 1, channels).astype(np.int32)
    shape = [1] * 3
    if axis is not None:
        shape[axis] = channels
    scales, zeros = scale.reshape(shape), zero_point.reshape(shape)

    expected = codes_of(x, scales, zeros, qmin, qmax)
    codes = _C.quantize(x, scale, zero_point, qmin, qmax, axis=axis)
    assert codes.dtype == (np.int8 if qmin < 0 else np.uint8)
    np.testing.assert_array_equal(codes.astype(np.float64), expected)

    values = (expected - zeros).astype(np.float32) * scales
    np.testing.assert_array_equal(_C.dequantize(codes, scale, zero_point, axis=axis), values)
    simulated = _C.fake_quantize(x, scale, zero_point, qmin, qmax, axis=axis)
    assert simulated.dtype == dtype
    np.testing.assert_array_equal(simulated, values.astype(dtype))


def test_learned_step() -> None:
    scale = np.array([[0.3, -0.25], [0.0, 5.0]], np.float32)
    np.testing.assert_array_equal(
        _C.learned_step(scale, -8, 7), np.maximum(np.abs(scale), np.float32(2.0**-100))
    )
    powers = _C.learned_step(scale, -8, 7, rule="power_of_two")
    assert powers.tolist() == [[0.5, 0.25], [2.0**-100, 8.0]]
    pact = _C.learned_step(np.float32([6.0]), 0, 15, "pact")
    np.testing.assert_array_equal(pact, np.float32([6.0]) / np.float32(15))
    with pytest.raises(ValueError, match="scale must be finite, found nan at position 1"):
        _C.learned_step([1.0, np.nan], -8, 7)
    with pytest.raises(ValueError, match="rule must be 'lsq'"):
        _C.learned_step([1.0], -8, 7, "cubic")


def test_groups_and_mask() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 8)).astype(np.float32)
    scale = rng.uniform(0.1, 0.3, (3, 2)).astype(np.float32)
    zero_point = np.zeros((3, 2), np.int32)
    mask = rng.random((3, 8)) < 0.5
    scales = np.repeat(scale, 4, axis=1)
    expected = codes_of(x, scales, np.zeros((3, 8)), -8, 7).astype(np.float32) * scales
    y = _C.fake_quantize(x, scale, zero_point, -8, 7, axis=1, group_size=4, mask=mask)
    np.testing.assert_array_equal(y, np.where(mask, expected, np.float32(0)))


def test_strided_input_is_read_in_logical_order() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::-1]
    np.testing.assert_array_equal(_C.quantize(x, 1.0, 0, -128, 127), x.astype(np.int8))


def test_observe_and_choose() -> None:
    x = np.array([[-1.0, 3.0, np.nan], [0.5, np.inf, 2.0]], np.float32)
    low, high, skipped = _C.observe_minmax(x, axis=0)
    assert (low.tolist(), high.tolist(), skipped) == ([-1.0, 0.5], [3.0, 2.0], 2)
    keep = np.array([[True, False, False], [True, False, True]])
    survivors = _C.observe_minmax(x, axis=0, mask=keep)
    assert [np.asarray(part).tolist() for part in survivors] == [[-1.0, 0.5], [-1.0, 2.0], 0]
    with pytest.raises(ValueError, match=r"observe_minmax: mask must be of x's shape"):
        _C.observe_minmax(x, mask=keep[0])
    scale, zero_point = _C.choose_qparams(low, high, -128, 127, symmetric=False)
    np.testing.assert_array_equal(scale, np.array([4 / 255, 2 / 255], np.float32))
    assert zero_point.tolist() == [-64, -128]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_pack_round_trip(bits: int, signed: bool) -> None:
    rng = np.random.default_rng(bits)
    low = -(1 << (bits - 1)) if signed else 0
    dtype = np.int8 if signed else np.uint8
    for count in range(20):
        codes = rng.integers(low, low + (1 << bits), count).astype(dtype)
        stream = [(int(code) >> bit) & 1 for code in codes for bit in range(bits)]
        packed = _C.pack(codes, bits)
        np.testing.assert_array_equal(
            packed, np.packbits(np.array(stream, np.uint8), bitorder="little")
        )
        np.testing.assert_array_equal(_C.unpack(packed, bits, (count,), signed), codes)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: _C.quantize(x.astype(np.float64), 0.1, 0, -8, 7), ValueError, "float64"),
        (lambda x: _C.quantize(x, 0.0, 0, -8, 7), ValueError, "scale must be finite and above 0"),
        (lambda x: _C.quantize(x, np.nan, 0, -8, 7), ValueError, "position 0"),
        (lambda x: _C.quantize(x, 0.1, 9, -8, 7), ValueError, "zero_point"),
        (lambda x: _C.quantize(x, 0.1, 0.5, -8, 7), ValueError, "an integer"),
        (lambda x: _C.quantize(x, 0.1, 0, 7, -8), ValueError, "qmin, qmax"),
        (lambda x: _C.quantize(x, 0.1, 0, -200, 0), ValueError, "qmin, qmax"),
        (lambda x: _C.quantize(x, [0.1, 0.2], [0, 0], -8, 7), ValueError, "scale must be 1 values"),
        (lambda x: _C.quantize(x, 0.1, 0, -8, 7, axis=2), IndexError, "axis"),
        (lambda x: _C.quantize(x, 0.1, 0, -8, 7, group_size=2), ValueError, "axis"),
        (lambda x: _C.quantize(x, 0.1, 0, -8, 7, axis=0, group_size=2), ValueError, "group_size"),
        (lambda x: _C.dequantize(x, 0.1, 0), ValueError, "int8 or uint8"),
        (lambda _: _C.pack(np.array([8], np.int8), 4), ValueError, "8 at position 0"),
        (lambda _: _C.unpack(np.zeros(2, np.uint8), 4, (5,), True), ValueError, r"\(3,\)"),
    ],
)
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(np.ones((3, 3), np.float32))


def test_isas() -> None:
    assert _C.available_isas()[0] == "baseline"
    assert _C.active_isa() in _C.available_isas()


@pytest.mark.parametrize(
    "name",
    [
        "choose_qparams",
        "dequantize",
        "fake_quantize",
        "observe_minmax",
        "pack",
        "quantize",
        "unpack",
    ],
)
def test_docstring_examples(name: str) -> None:
    text = getattr(_C, name).__doc__
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
